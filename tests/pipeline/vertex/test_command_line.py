"""vertex_runner.py as users type it, against a cloud on this machine."""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings

import pytest

import vertex_runner
from pipeline.fingerprint import ROOT
from pipeline.vertex import doctor
from pipeline.vertex.prices import load_prices
from pipeline.vertex.started import labels_of
from tests.pipeline.lineage.fake_vertex import LOCATION
from tests.pipeline.vertex.fake_cloud import IMAGE, PARENT

ACCOUNT = "runner@my-project.iam.gserviceaccount.com"
PROJECT = ["--project", "my-project", "--set", "vertex.api_transport=rest"]
PIPELINE = [
    *("--preset", "demo", "--data", "gs://my-bucket/data", "--bucket", "my-bucket"),
    *("--pipeline-image", IMAGE.format("pipeline")),
    *("--trainer-image", IMAGE.format("tpu-trainer")),
    *("--set", "data.images=images", "--set", "data.annotations=annotations/xmls"),
]
DEVICE = {"blessed": True, "reasons": [], "latency": {"median_ms": 4.25}}
EXAMPLES = {
    "num_train": 80, "num_eval": 20, "num_negatives": 3, "num_set_aside": 0,
    "set_aside_reasons": "{}", "num_ignored": 0, "leaked_images": 0, "data_fingerprint": "da7a",
}  # fmt: skip
SHA256 = "5a" * 32
METADATA = "vertex://my-project/us-central1"
GATE = {
    "metrics": {"mAP50": 0.91, "mAP": 0.6},
    "baseline_metrics": None,
    "thresholds": [{"metric": "mAP50", "passed": True}],
    "blessed": True,
}


@pytest.fixture(autouse=True)
def here(cloud, monkeypatch, tmp_path):
    """Runs in an empty folder, without waiting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def run(cloud, capsys):
    """Runs a command; returns the exit code, standard output and standard error."""

    def type_(command: str, *arguments: str):
        endpoint = ["--set", f"vertex.api_endpoint={cloud.url}"]
        code = vertex_runner.main([command, *arguments, *PROJECT, *endpoint])
        return code, *capsys.readouterr()

    return type_


def task(name, outputs=None, state="SUCCEEDED", message=""):
    detail = {
        "taskName": name,
        "state": state,
        "startTime": "2026-11-23T10:00:00Z",
        "endTime": "2026-11-23T10:02:00Z",
        "executorDetail": {
            "containerDetail": {"mainJob": "projects/1/locations/us-central1/customJobs/77"}
        },
        "outputs": {
            key: {"artifacts": [{"name": f"artifacts/{name}", "uri": uri, "metadata": metadata}]}
            for key, (uri, metadata) in (outputs or {}).items()
        },
    }
    return detail | ({"error": {"code": 3, "message": message}} if message else {})


def finished(tmp_path, pushed: int = 1):
    """The tasks of a run whose reports are in local folders."""
    (tmp_path / "device").mkdir()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text('{"version": 1}')
    (tmp_path / "device" / "device_check.json").write_text(json.dumps(DEVICE))
    facts = {"pushed": pushed, "pushed_destination": "gs://my-bucket/pushed/demo/3"}
    return [
        task("ExampleGen", {"examples": ("gs://my-bucket/x", EXAMPLES)}, state="SKIPPED"),
        task("Trainer", {"model_run": ("gs://my-bucket/logs", {})}),
        task("TFLiteRewriter", {"shipping_model": ("gs://my-bucket/m",
                                                   {"size_bytes": 1_234_567, "sha256": SHA256})}),
        task("Evaluator", {"evaluation": (str(tmp_path / "device"), {})}),
        task("DeviceCheck", {"blessing": (str(tmp_path / "device"), {})}),
        task("Pusher", {"pushed_model": ("gs://my-bucket/p", facts)}),
        task("Report", {"report": (str(tmp_path / "report"), {})}),
        task("ModelRegistrar", {"registered_model": ("gs://my-bucket/r",
                                                     {"pushed_destination": "models/d@1"})}),
    ]  # fmt: skip


def test_compile_writes_a_file(run, tmp_path):
    code, out, _ = run("compile", *PIPELINE, "--output", "job.json")
    assert code == 0
    assert out.endswith("wrote job.json: 14 tasks\n")
    assert "found: no --warm-start: from random weights" in out
    assert "chosen:" not in out  # --preset has decided
    job = json.loads((tmp_path / "job.json").read_text())
    assert job["pipelineSpec"]
    assert int(job["labels"]["limit-training"]) > 0
    assert run("compile", *PIPELINE, "--output", "no/such/job.json")[0] == 1


def test_submit_says_how_to_follow_and_status_does(run, cloud):
    code, out, _ = run("submit", *PIPELINE)
    (name,) = cloud.jobs
    job_id = name.rpartition("/")[2]
    assert code == 0
    follow = re.search(r"\.venv/bin/python vertex_runner\.py (status .+)", out)[1]
    assert follow.startswith(f"status {job_id} --project my-project --region us-central1")
    # As it is printed, it finds the same endpoint.
    assert vertex_runner.main(shlex.split(follow)) == 0
    assert "https://console.cloud.google.com/" in out
    cloud.tasks = [task("Trainer", state="FAILED", message="out of memory")]
    code, out, _ = run("status", job_id)
    assert code == 0
    assert f"{job_id}: PIPELINE_STATE_RUNNING" in out
    assert "  Trainer failed: out of memory (log: https://console.cloud" in out


@pytest.mark.parametrize(("pushed", "expected"), [(1, 0), (0, 3)])
def test_submit_and_wait_ends_with_the_local_summary(
    run, cloud, tmp_path, monkeypatch, pushed, expected
):
    from pipeline.report import page as page_module
    from pipeline.shipping import gate

    class Read:
        thresholds = ("mAP50 0.9100, at least 0.8000: passed",)

        def to_json(self):
            return dict(GATE)

    monkeypatch.setattr(gate, "read_evaluation", lambda uri: Read())
    pages = []

    def render(*arguments):
        pages.append(arguments)
        return "the page"

    monkeypatch.setattr(page_module, "render", render)
    cloud.tasks = finished(tmp_path, pushed)
    code, out, error = run("submit", *PIPELINE, "--wait")
    assert code == expected, error
    assert "ExampleGen: skipped" in out
    assert "mAP@.5 0.910" in out
    assert "registered as models/d@1" in out
    assert ("gs://my-bucket/pushed/demo/3" in out) == bool(pushed)
    beside = "https://storage.cloud.google.com/my-bucket/pushed/demo/3/report.html"
    assert (f"report  {beside}" in out) == bool(pushed)
    (page,) = (tmp_path / "vertex_runs").glob("*/report.html")
    assert page.read_text() == "the page"
    [(facts, known)] = pages
    assert facts == {"version": 1}
    assert known["cost"] > 0
    assert known["summary"]["status"] == ("pushed" if pushed else "not_blessed")
    assert {"component": "Trainer", "channel": "model_run", "uri": "gs://my-bucket/logs"} in known[
        "artifacts"
    ]
    folder = "gs://my-bucket/pushed/demo/3" if pushed else "gs://my-bucket/m/Format-Serving"
    file = "detector" if pushed else "detector/tflite"
    lines = [line.strip() for line in out.splitlines()]
    assert lines[lines.index("next") + 1 :][:4] == [
        f"mkdir -p detector && gcloud storage rsync -r {folder} detector",
        f".venv/bin/python -m pipeline.detect {file} PICTURE_OR_FOLDER --out detections",
        ".venv/bin/tensorboard --logdir gs://my-bucket/logs",
        f".venv/bin/python -m pipeline.lineage trace {SHA256} --metadata {METADATA}",
    ]
    assert METADATA == LOCATION  # which `pipeline.lineage` opens in its own tests
    (summary,) = (tmp_path / "vertex_runs").glob("*/summary.json")
    assert json.loads(summary.read_text())["status"] == ("pushed" if pushed else "not_blessed")


def test_a_failed_task_is_named_with_its_log(run, cloud):
    cloud.script = ["PIPELINE_STATE_RUNNING", "PIPELINE_STATE_FAILED"]
    cloud.tasks = [task("Transform"), task("Trainer", state="FAILED", message="out of memory")]
    code, _, error = run("submit", *PIPELINE, "--wait")
    assert code == 1
    assert error.startswith("error: Trainer failed: out of memory (log: https://console.cloud")
    assert "job_id%3D%2277%22" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([(403, "Permission denied")], "No permission to submit"),
        ([(429, "Quota exceeded")], "No quota to submit"),
        ([(503, "later"), (503, "later")], None),
    ],
)
def test_errors_are_one_line_and_a_busy_service_is_asked_again(run, cloud, failures, expected):
    cloud.failures = list(failures)
    code, _, error = run("submit", *PIPELINE)
    assert code == (1 if expected else 0)
    assert expected is None or (expected in error and error.count("\n") == 1)
    assert len(cloud.jobs) == (0 if expected else 1)


def test_a_submit_checks_the_bucket_once(run, cloud):
    run("submit", *PIPELINE)
    assert [path for _, path in cloud.requests].count("/storage/v1/b/my-bucket") == 1


def test_a_command_leaves_the_warning_filters_as_they_were(run, cloud):
    before = list(warnings.filters)
    run("submit", *PIPELINE, "--dry-run")
    assert warnings.filters == before


def running_jobs(cloud) -> list[str]:
    """The custom jobs that run."""
    return [name for name, job in cloud.custom_jobs.items() if job["state"].endswith("RUNNING")]


@pytest.fixture
def submitted(run, cloud):
    """The id of a submitted run whose Trainer has started a custom job."""
    run("submit", *PIPELINE)
    (name,) = cloud.jobs
    job_id = name.rpartition("/")[2]
    for number, owner in ((1, job_id), (2, "another-run")):
        name = f"{PARENT}/customJobs/{number}"
        cloud.custom_jobs[name] = {"name": name, "displayName": "data-trainer",
                                   "labels": labels_of(owner, "Trainer_7"),
                                   "state": "JOB_STATE_RUNNING"}  # fmt: skip
    return job_id


def test_cancel_also_ends_what_the_run_has_started(run, cloud, submitted):
    name = f"{PARENT}/pipelineJobs/{submitted}"
    assert "  custom job 1 (data-trainer): job_state_running\n" in run("status", submitted)[1]
    cloud.script = ["PIPELINE_STATE_RUNNING"]
    assert run("cancel", submitted)[:2] == (
        0,
        f"asked Vertex AI to cancel {submitted}\nended custom job 1 (data-trainer)\n"
        f"{submitted}: PIPELINE_STATE_CANCELLED\n",
    )
    assert cloud.jobs[name]["state"] == "PIPELINE_STATE_CANCELLED"
    assert running_jobs(cloud) == [f"{PARENT}/customJobs/2"]
    assert "PIPELINE_STATE_CANCELLED" in run("status", submitted)[1]
    code, out, _ = run("cancel", submitted)
    assert code == 0
    assert out.endswith("has ended: PIPELINE_STATE_CANCELLED\nits tasks had no jobs running\n")
    code, _, error = run("cancel", "no-such-run")
    assert code == 1
    assert "no-such-run" in error


def test_what_a_failed_run_has_left_running_is_shown_and_ended(run, cloud, submitted):
    cloud.script = ["PIPELINE_STATE_FAILED"]
    out = run("status", submitted)[1]
    (line,) = [line for line in out.splitlines() if "left running" in line]
    assert f"vertex_runner.py cancel {submitted} --project my-project" in line
    assert run("cancel", submitted)[0] == 0
    assert running_jobs(cloud) == [f"{PARENT}/customJobs/2"]


@pytest.fixture
def with_job(cloud, monkeypatch):
    """Every submitted run has started a custom job; calls what is given before it is followed."""
    from pipeline.vertex.client import VertexClient

    create = VertexClient._create

    def arrange(before_it_is_followed=lambda: None):
        def create_with_job(self, request, run_id):
            name = f"{PARENT}/customJobs/1"
            cloud.custom_jobs[name] = {"name": name, "displayName": "data-trainer",
                                       "labels": labels_of(run_id, "Trainer_7"),
                                       "state": "JOB_STATE_RUNNING"}  # fmt: skip
            run = create(self, request, run_id)
            before_it_is_followed()
            return run

        monkeypatch.setattr(VertexClient, "_create", create_with_job)

    return arrange


def test_waiting_for_a_run_that_fails_ends_what_it_left_running(run, cloud, with_job):
    with_job()
    cloud.script = ["PIPELINE_STATE_FAILED"]
    code, out, _ = run("submit", *PIPELINE, "--wait")
    assert code == 1
    assert "ended custom job 1 (data-trainer)" in out
    assert not running_jobs(cloud)


def test_a_run_that_can_no_longer_be_followed_continues(run, cloud, with_job):
    with_job(lambda: setattr(cloud, "denied", "/pipelineJobs/data-"))
    code, _, error = run("submit", *PIPELINE, "--wait")
    assert code == 1
    assert "No permission to look up run" in error
    assert len(running_jobs(cloud)) == 1


def test_schedules_are_created_listed_and_deleted(run, cloud):
    code, out, _ = run("schedule", *PIPELINE, "--cron", "TZ=Europe/Berlin 0 3 * * 1")
    assert code == 0
    assert "created schedule 1" in out
    assert f"unschedule 1 {' '.join(PROJECT[:2])}" in out
    (schedule,) = cloud.schedules.values()
    assert "limit-training" in schedule["createPipelineJobRequest"]["pipelineJob"]["labels"]
    code, out, _ = run("schedules")
    assert (code, out) == (0, "1  data  'TZ=Europe/Berlin 0 3 * * 1'  active  0 runs\n")
    assert run("unschedule", "1")[:2] == (0, "deleted schedule 1\n")
    assert not cloud.schedules
    assert run("schedules")[:2] == (0, "no schedules in my-project, us-central1\n")
    code, _, error = run("unschedule", "1")
    assert code == 1
    assert error.count("\n") == 1


def test_a_dry_run_shows_the_plan_and_the_cost_limit_holds(run, cloud, tmp_path):
    code, out, _ = run("submit", *PIPELINE, "--dry-run")
    assert code == 0
    for expected in ("Trainer: custom job", "ct5lp-hightpu-8t (tpu-v5e-8)",
                     "up to 8 x n1-standard-4", "hours a run, for 10,000 images", "prices of 20",
                     IMAGE.format("tpu-trainer")):  # fmt: skip
        assert expected in out
    code, _, error = run("submit", *PIPELINE, "--max-cost", "0.5")
    assert code == 1
    assert "nothing was submitted" in error
    prices = load_prices(None).model_dump()
    (tmp_path / "free.json").write_text(
        json.dumps(prices | {"run": 0, "machine_hour": dict.fromkeys(prices["machine_hour"], 0),
                             "dataflow_worker_hour": {"n1-standard-4": 0}})
    )  # fmt: skip
    code, out, error = run("submit", *PIPELINE, "--max-cost", "0.5", "--prices", "free.json")
    assert code == 0, error
    assert "at most 0.00 USD: each step is ended at 4.0 times its estimate\n" in out
    (job,) = cloud.jobs.values()
    assert {"limit-task", "limit-training", "limit-dataflow"} <= set(job["labels"])


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--region", "europe-north1"], 2, "a region with tpu-v5e-8"),
        (["--region", "europe-west4"], 1, "gs://my-bucket in europe-west4. Received: us-central1"),
        (["--bucket", "elsewhere"], 1, "gcloud storage buckets create gs://elsewhere"),
        (["--pipeline-image", "gcr.io/p/i:latest"], 2, "container image by digest"),
        (["--accelerator", "tpu-v9"], 2, "vertex.accelerator"),
        (["--set", "training.batch_size=12"], 2, "divide by the 8 replicas"),
        (["--prices", "none.json"], 2, "Could not read the price table none.json"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_submitted(run, cloud, arguments, code, expected):
    received, _, error = run("submit", *PIPELINE, *arguments)
    assert received == code
    assert expected in error
    assert error.count("\n") == 1
    assert not cloud.jobs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["submit", "--max-cost", "nan"], "--max-cost: invalid positive float value: 'nan'"),
        (["submit", "--images", "0"], "--images: invalid positive int value: '0'"),
        (["schedule", "--cron", "0 3 * * 1", "--max-runs", "-1"], "invalid positive int value"),
        (["status", "run", "--bucket", "b"], "unrecognized arguments: --bucket b"),
    ],
)
def test_meaningless_flags_are_rejected(arguments, expected, capsys):
    with pytest.raises(SystemExit, match="2"):
        vertex_runner.main(arguments)
    assert expected in capsys.readouterr().err


def test_missing_credentials_and_unreachable_endpoints_are_one_line(
    run, cloud, monkeypatch, capsys
):
    code = vertex_runner.main(
        ["submit", *PIPELINE, *PROJECT, "--set", "vertex.api_endpoint=http://127.0.0.1:1"]
    )
    error = capsys.readouterr().err
    assert code == 1
    assert "Check the network, the proxy and vertex.api_endpoint" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    code, _, error = run("submit", *PIPELINE)
    assert code == 1
    assert error.endswith("Run: gcloud auth application-default login\n")
    assert not cloud.jobs


EXPERIMENT = ["--set", "vertex.experiment=detectors"]
NOWHERE = ["--set", "vertex.api_endpoint=http://127.0.0.1:1"]
LOG_IN = "Run: gcloud auth application-default login\n"
PROGRAM = """
import sys
import vertex_runner

code = vertex_runner.main(sys.argv[1:])
slow = {"tfx", "tensorflow", "apache_beam", "google.cloud.aiplatform_v1"} & set(sys.modules)
print(*slow)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["submit", *PIPELINE, *PROJECT], 1, LOG_IN),
        (["schedule", *PIPELINE, *PROJECT, "--cron", "0 3 * * 1"], 1, LOG_IN),
        (["submit", *PIPELINE[2:], *PROJECT], 1, LOG_IN),  # without --preset
        (["status", "run", *PROJECT], 1, LOG_IN),
        (["submit", *PIPELINE, *PROJECT, *NOWHERE], 1, "the proxy and vertex.api_endpoint"),
        (["unschedule", "1", *PROJECT, *NOWHERE], 1, "the proxy and vertex.api_endpoint"),
        (["cancel", "run"], 2, "Name your Google Cloud project with --project.\n"),
        (["doctor", *PIPELINE], 2, "Name your Google Cloud project with --project.\n"),
        (["schedule", *PIPELINE, *PROJECT, "--cron", "0 3"], 2, "Expected five fields"),
        (["schedule", *PIPELINE, *PROJECT, "--cron", "0 3 * * 1", *EXPERIMENT], 2,
         "Leave out vertex.experiment (detectors)"),
        (["submit", *PIPELINE, "--trainer-image", "gcr.io/p/i:latest"], 2, "with --project.\n"),
        (["rehearse", "--set", "evaluation.min_map50=0.0"], 2, "evaluation.min_map50"),
        (["rehearse", "--set", "evaluation.min_map50=null"], 2, "Expected a threshold"),
        (["rehearse", "--set", "training.batch_size=12"], 2, "divide by the 8 replicas"),
        (["compile", *PIPELINE, *PROJECT, "--set", "training.batch_size=12"], 2,
         "divide by the 8 replicas"),
        (["submit", *PIPELINE, *PROJECT, "--set", "vertex.max_overrun=0.5"], 2,
         "vertex.max_overrun"),
        (["submit", *PIPELINE, *PROJECT, "--set", "vertex.notify_webhook=hooks.example.com"], 2,
         "vertex.notify_webhook"),
        (["rehearse", "--data", "/nowhere"], 1, "There is no data at /nowhere"),
        (["rehearse", "--warm-start", "/nowhere"], 1, "/nowhere, which does not exist"),
        (["compile", *PIPELINE, *PROJECT, "--schema", "/nowhere"], 1, "Received: /nowhere"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_before_anything_slow_is_loaded(cloud, arguments, code, expected):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if expected == LOG_IN:
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = "/nowhere.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == "\n"  # nothing slow was loaded
    assert not cloud.jobs


@pytest.fixture
def examined(cloud, monkeypatch):
    """`doctor` asks the cloud on this machine, where everything is in order."""
    for name in (*doctor.ENDPOINTS, "registry"):
        monkeypatch.setitem(doctor.ENDPOINTS, name, cloud.url)
    cloud.enabled_apis = set(doctor.APIS)
    cloud.quotas = {"custom_model_training_tpu_v5e": 8}
    cloud.images = {IMAGE.format(name).partition("/")[2] for name in ("pipeline", "tpu-trainer")}
    of_account = (doctor.PROJECT_PERMISSIONS, doctor.ACCOUNT_PERMISSIONS)
    cloud.permissions = {
        "runner": set().union(*doctor._USER_PERMISSIONS.values(), ["iam.serviceAccounts.actAs"]),
        "account": {one for group in of_account for listed in group.values() for one in listed},
    }
    return cloud


def test_doctor_passes_a_complete_project(run, examined):
    code, out, error = run("doctor", *PIPELINE, "--service-account", ACCOUNT)
    assert code == 0, out + error
    assert out.count("ok    ") == len(out.splitlines()) >= 16


def test_a_quota_without_a_limit_is_enough(run, examined):
    examined.quotas = {"custom_model_training_tpu_v5e": -1}
    code, out, _ = run("doctor", *PIPELINE, "--service-account", ACCOUNT)
    assert code == 0
    assert "custom_model_training_tpu_v5e in us-central1: unlimited of the 8 needed" in out


@pytest.mark.parametrize(
    ("break_it", "finding", "fix"),
    [
        (lambda cloud: cloud.enabled_apis.discard("dataflow"), "API dataflow.googleapis.com",
         "gcloud services enable dataflow.googleapis.com --project my-project"),
        (lambda cloud: cloud.buckets.clear(), "bucket gs://my-bucket exists",
         "gcloud storage buckets create gs://my-bucket --location=us-central1"),
        (lambda cloud: cloud.buckets.update({"my-bucket": "EU"}), "in us-central1 (it is in eu)",
         "choose another --bucket or --region"),
        (lambda cloud: cloud.storage.permissions.discard("storage.objects.list"),
         f"{ACCOUNT}, on gs://my-bucket: what roles/storage.objectAdmin allows (not "
         "storage.objects.list)",
         f"--member=serviceAccount:{ACCOUNT} --role=roles/storage.objectAdmin"),
        (lambda cloud: cloud.storage.permissions.discard("storage.buckets.get"),
         "bucket gs://my-bucket can be looked at",
         "--member=user:YOU --role=roles/storage.legacyBucketReader"),
        (lambda cloud: cloud.storage.permissions.discard("storage.buckets.get"),
         f"{ACCOUNT}, on gs://my-bucket: what roles/storage.legacyBucketReader allows",
         f"--member=serviceAccount:{ACCOUNT} --role=roles/storage.legacyBucketReader"),
        (lambda cloud: cloud.images.clear(), "trainer_image", "--trainer-image"),
        (lambda cloud: cloud.quotas.clear(), "custom_model_training_tpu_v5e in us-central1: 0 of",
         "iam-admin/quotas?project=my-project"),
        (lambda cloud: cloud.permissions["account"].discard("dataflow.workItems.lease"),
         f"{ACCOUNT}: what roles/dataflow.worker allows (not dataflow.workItems.lease)",
         "--role=roles/dataflow.worker"),
        (lambda cloud: cloud.permissions["account"].discard("iam.serviceAccounts.actAs"),
         f"{ACCOUNT}, on itself", "--role=roles/iam.serviceAccountUser"),
        (lambda cloud: cloud.permissions["runner"].discard("aiplatform.pipelineJobs.create"),
         "you: what roles/aiplatform.user allows",
         "--member=user:YOU --role=roles/aiplatform.user"),
        (lambda cloud: cloud.permissions["runner"].discard("iam.serviceAccounts.actAs"),
         f"you, on {ACCOUNT}", "--member=user:YOU --role=roles/iam.serviceAccountUser"),
        # What `doctor` may not look at is not reported as missing.
        (lambda cloud: setattr(cloud, "denied", "generateAccessToken"),
         f"what {ACCOUNT} may do can be asked", "roles/iam.serviceAccountTokenCreator"),
        (lambda cloud: setattr(cloud, "denied", "QuotaMetrics"), "tpu_v5e can be read",
         "your own account lacks roles/serviceusage.serviceUsageViewer"),
        (lambda cloud: setattr(cloud, "denied", "/manifests/"), "trainer_image",
         "your own account lacks roles/artifactregistry.reader"),
    ],
)  # fmt: skip
def test_doctor_reports_what_is_missing_and_how_to_fix_it(run, examined, break_it, finding, fix):
    break_it(examined)
    code, out, error = run("doctor", *PIPELINE, "--service-account", ACCOUNT)
    assert code == 1
    failed = out.split("FAIL  ")[1:]
    assert any(finding in text and fix in text for text in failed), out
    assert f"{len(failed)} of " in error
