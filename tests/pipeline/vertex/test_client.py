import pytest
from google.cloud import aiplatform_v1 as gca

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.vertex import client as client_module
from pipeline.vertex.client import VertexClient, id_of, pipeline_job, result_of
from pipeline.vertex.compilation import fill_in
from pipeline.vertex.connection import connect
from pipeline.vertex.schedules import Schedules

JOB = {
    "displayName": "demo",
    "labels": {"tfx_version": "1-16-0"},
    "pipelineSpec": {
        "schemaVersion": "2.0.0",
        "sdkVersion": "tfx-1.16.0",
        "pipelineInfo": {"name": "demo"},
        "deploymentSpec": {"executors": {}},
        "components": {},
        "root": {"dag": {"tasks": {"Trainer": {"cachingOptions": {"enableCache": True}}}}},
    },
    "runtimeConfig": {"gcsOutputDirectory": "gs://my-bucket/pipeline_root/demo"},
}


@pytest.fixture
def complete(config, transport):
    config = override(
        config,
        {
            **transport,
            "vertex.service_account": "runner@my-project.iam.gserviceaccount.com",
            "vertex.network": "projects/1/global/networks/vpc",
            "vertex.encryption_key": ("projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"),
            "vertex.labels": ["team=vision"],
            "vertex.caching": False,
        },
    )
    return fill_in(config, "gs://my-bucket", ())


@pytest.fixture
def client(complete):
    return VertexClient(connect(complete.vertex))


@pytest.fixture
def schedules(complete):
    return Schedules(connect(complete.vertex))


def task(name, state, message=""):
    detail = {
        "taskName": name,
        "state": state,
        "startTime": "2026-11-23T10:00:00Z",
        "endTime": "2026-11-23T10:02:00Z",
        "executorDetail": {
            "containerDetail": {"mainJob": "projects/1/locations/us-central1/customJobs/77"}
        },
    }
    if message:
        detail["error"] = {"code": 3, "message": message}
    return detail


def test_submits_every_setting(client, complete, cloud, capsys, monkeypatch):
    origin = {"commit": "not in git", "host": "Farm.local", "user": "ann"}
    monkeypatch.setattr(client_module, "read_origin", lambda **_: origin)
    run = client.submit(complete, JOB)
    (job,) = cloud.jobs.values()
    assert job["serviceAccount"] == "runner@my-project.iam.gserviceaccount.com"
    assert job["network"] == "projects/1/global/networks/vpc"
    assert job["encryptionSpec"]["kmsKeyName"].endswith("cryptoKeys/k")
    assert job["labels"] == {
        "tfx_version": "1-16-0", "tfx_runner": "vertex", "team": "vision",
        "commit": "not-in-git", "host": "farm-local", "user": "ann",
    }  # fmt: skip
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://my-bucket/pipeline_root/demo"
    assert job["pipelineSpec"]["pipelineInfo"] == {"name": "demo"}
    trainer = job["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]
    assert trainer["cachingOptions"] == {"enableCache": False}
    assert JOB["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]["cachingOptions"]["enableCache"]
    assert ("my-bucket", f"pipeline_specs/{id_of(run)}.json") in cloud.objects
    place = f"locations/us-central1/pipelines/runs/{id_of(run)}?project=my-project"
    assert f"https://console.cloud.google.com/vertex-ai/{place}" in capsys.readouterr().out


def test_a_setting_leaves_out_host_and_user(complete):
    private = override(complete, {"execution.record_host_and_user": False})
    labels = pipeline_job(private, JOB).labels
    assert "commit" in labels
    assert not {"host", "user"} & labels.keys()


def test_follows_a_run_to_success(client, complete, cloud, capsys):
    cloud.tasks = [task("ExampleGen", "SKIPPED"), task("Trainer", "SUCCEEDED")]
    results = client.wait(client.submit(complete, JOB).name)
    assert [(one.name, one.state) for one in results] == [
        ("ExampleGen", "cached"),
        ("Trainer", "complete"),
    ]
    assert results[1].finished - results[1].started == 120
    assert "Trainer: succeeded" in capsys.readouterr().out.splitlines()


def test_names_the_task_that_failed_and_its_log(client, complete, cloud):
    cloud.script = ["PIPELINE_STATE_FAILED"]
    cloud.tasks = [task("Trainer", "FAILED", "out of memory")]
    run = client.submit(complete, JOB)
    with pytest.raises(UserError, match=r"Trainer failed: out of memory .*logs/query.*77"):
        client.wait(run.name)


def test_cancels_a_run(client, complete, cloud):
    run = client.submit(complete, JOB)
    client.cancel(id_of(run))
    with pytest.raises(UserError, match="was cancelled"):
        client.wait(run.name)


def test_repeats_while_the_service_is_busy(client, complete, cloud):
    cloud.failures = [(503, "try later"), (503, "try later")]
    client.submit(complete, JOB)
    assert len(cloud.jobs) == 1


def test_retrying_after_a_lost_answer_starts_no_second_run(client, complete, cloud):
    request = pipeline_job(complete, JOB)
    run = client._create(request, "demo-1")
    again = client._create(request, "demo-1")
    assert len(cloud.jobs) == 1
    assert again.name == run.name


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, r"No permission to submit.*project my-project.*no way.*doctor"),
        (429, r"No quota to submit.*no way.*iam-admin/quotas"),
        (404, r"Could not submit.*no way.*Check --project, --region"),
        (400, r"Vertex AI rejected the request to submit.*no way"),
    ],
)
def test_an_error_of_the_service_becomes_one_line(client, complete, cloud, status, expected):
    cloud.failures = [(status, "no way")]
    with pytest.raises(UserError, match=expected) as caught:
        client.submit(complete, JOB)
    assert "\n" not in str(caught.value)


@pytest.fixture
def in_an_experiment(settings):
    return VertexClient(connect(settings.model_copy(update={"experiment": "detectors"})))


EXPERIMENT = "projects/my-project/locations/us-central1/metadataStores/default/contexts/detectors"


def test_runs_are_added_to_their_experiment(in_an_experiment, config, cloud):
    config = fill_in(config, "gs://my-bucket", ())
    run = in_an_experiment.submit(config, JOB)
    assert cloud.contexts[EXPERIMENT]["schemaTitle"] == "system.Experiment"
    (child,) = cloud.children[EXPERIMENT]
    assert child.endswith(f"/contexts/{id_of(run)}")
    cloud.children.clear()
    in_an_experiment.submit(config.model_copy(update={"name": "another"}), JOB)
    assert len(cloud.contexts) == len(cloud.children[EXPERIMENT]) == 1


def test_an_unusable_experiment_is_reported_before_anything_is_submitted(
    in_an_experiment, config, cloud
):
    config = fill_in(config, "gs://my-bucket", ())
    cloud.denied = "/contexts"
    with pytest.raises(UserError, match="No permission to add runs to experiment detectors"):
        in_an_experiment.submit(config, JOB)
    assert not cloud.jobs
    cloud.denied = None
    cloud.contexts[EXPERIMENT] = {"name": EXPERIMENT, "schemaTitle": "system.PipelineRun"}
    with pytest.raises(UserError, match=r"Expected vertex\.experiment to name an experiment"):
        in_an_experiment.submit(config, JOB)
    assert not cloud.jobs


def test_a_submitted_run_is_reported_even_if_its_experiment_fails(
    in_an_experiment, config, cloud, capsys
):
    cloud.denied = ":addContextChildren"
    run = in_an_experiment.submit(fill_in(config, "gs://my-bucket", ()), JOB)
    assert len(cloud.jobs) == 1
    submitted, _, last = capsys.readouterr().out.splitlines()
    assert id_of(run) in submitted
    assert last.startswith("the run continues, but is not in experiment detectors: No permission")


def test_the_bucket_must_exist_in_the_region(settings, cloud):
    connection = connect(settings)
    connection.check_bucket()
    cloud.buckets["my-bucket"] = "EUROPE-WEST4"
    with pytest.raises(UserError, match=r"gs://my-bucket in us-central1\. Received: europe-west4"):
        connection.check_bucket()
    del cloud.buckets["my-bucket"]
    with pytest.raises(UserError, match="gcloud storage buckets create"):
        connection.check_bucket()


def test_missing_credentials_are_one_line(complete, monkeypatch, cloud):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        connect(complete.vertex)


def test_schedules_are_created_listed_and_deleted(schedules, complete, cloud):
    created = schedules.create(complete, JOB, "0 3 * * 1", max_runs=5)
    (schedule,) = cloud.schedules.values()
    assert schedule["cron"] == "0 3 * * 1"
    assert schedule["maxRunCount"] == "5"
    request = schedule["createPipelineJobRequest"]
    assert request["pipelineJob"]["serviceAccount"].startswith("runner@")
    assert request["pipelineJob"]["labels"]["team"] == "vision"
    assert schedule["maxConcurrentRunCount"] == "1"
    (line,) = schedules.list()
    assert (line.id, line.cron, line.state) == (created, "0 3 * * 1", "active")
    cloud.failures = [(503, "later")]
    schedules.delete(created)
    assert not cloud.schedules


def test_creating_a_schedule_is_not_retried(schedules, complete, cloud):
    cloud.failures = [(503, "later")]
    with pytest.raises(UserError, match=r"later\. .*`vertex_runner\.py schedules` shows"):
        schedules.create(complete, JOB, "0 3 * * 1")
    cloud.failures = [(403, "no way")]
    with pytest.raises(UserError, match="No permission to create the schedule") as caught:
        schedules.create(complete, JOB, "0 3 * * 1")
    assert "after all" not in str(caught.value)
    assert not cloud.schedules


def test_a_result_holds_the_artifacts():
    detail = gca.PipelineTaskDetail(
        task_name="Pusher",
        state="SUCCEEDED",
        outputs={
            "pushed_model": {
                "artifacts": [
                    {
                        "name": "projects/1/locations/r/metadataStores/default/artifacts/9",
                        "uri": "gs://b/x",
                        "schema_title": "tfx.PushedModel",
                        "metadata": {"pushed": 1.0},
                    }
                ]
            }
        },
    )
    (artifact,) = result_of(detail).outputs["pushed_model"]
    assert artifact["uri"] == "gs://b/x"
    assert artifact["metadata"] == {"pushed": 1.0}
