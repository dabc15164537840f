import pytest
from google.cloud.aiplatform_v1.types import PipelineTaskDetail

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.vertex import schedules
from pipeline.vertex.client import VertexClient, result_of
from pipeline.vertex.compilation import fill_in

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
def said():
    return []


@pytest.fixture
def client(complete, said):
    return VertexClient(complete.vertex, said.append, poll_seconds=0.0, retry_seconds=0.01)


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


def test_submits_every_setting(client, complete, cloud, said):
    run = client.submit(complete, JOB)
    (job,) = cloud.jobs.values()
    assert job["serviceAccount"] == "runner@my-project.iam.gserviceaccount.com"
    assert job["network"] == "projects/1/global/networks/vpc"
    assert job["encryptionSpec"]["kmsKeyName"].endswith("cryptoKeys/k")
    assert job["labels"] == {"tfx_version": "1-16-0", "tfx_runner": "vertex", "team": "vision"}
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://my-bucket/pipeline_root/demo"
    assert job["pipelineSpec"]["pipelineInfo"] == {"name": "demo"}
    trainer = job["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]
    assert trainer["cachingOptions"] == {"enableCache": False}
    assert ("my-bucket", f"pipeline_specs/{run.job_id}.json") in cloud.objects
    assert "console.cloud.google.com" in said[0]


def test_follows_to_success(client, complete, cloud, said):
    cloud.tasks = [task("ExampleGen", "SKIPPED"), task("Trainer", "SUCCEEDED")]
    results = client.wait(client.submit(complete, JOB).resource_name)
    assert [(one.name, one.state) for one in results] == [
        ("ExampleGen", "cached"),
        ("Trainer", "complete"),
    ]
    assert results[1].finished - results[1].started == 120
    assert "Trainer: succeeded" in said


def test_names_the_task_that_failed_and_its_log(client, complete, cloud):
    cloud.script = ["PIPELINE_STATE_FAILED"]
    cloud.tasks = [task("Trainer", "FAILED", "out of memory")]
    run = client.submit(complete, JOB)
    with pytest.raises(UserError, match=r"Trainer failed: out of memory .*logs/query.*77"):
        client.wait(run.resource_name)


def test_cancels(client, complete, cloud):
    run = client.submit(complete, JOB)
    client.cancel(run.job_id)
    with pytest.raises(UserError, match="was cancelled"):
        client.wait(run.resource_name)


def test_repeats_while_the_service_is_busy(client, complete, cloud):
    cloud.failures = [(503, "try later"), (503, "try later")]
    client.submit(complete, JOB)
    assert len(cloud.jobs) == 1


def test_an_answer_that_got_lost_starts_no_second_run(client, complete, cloud):
    run = client.prepare(complete, JOB)
    client._create(run)
    again = client.prepare(complete, JOB)
    again.job_id = run.job_id
    client._create(again)
    assert len(cloud.jobs) == 1
    assert again.resource_name == run.resource_name


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, r"Expected the permission to submit.*project my-project.*no way.*doctor"),
        (429, r"Expected quota to submit.*no way.*iam-admin/quotas"),
        (404, r"to exist .*no way.*Check --project, --region"),
        (400, r"Expected a request that Vertex AI takes.*no way"),
    ],
)
def test_refusals_are_one_line(client, complete, cloud, status, expected):
    cloud.failures = [(status, "no way")]
    with pytest.raises(UserError, match=expected) as caught:
        client.submit(complete, JOB)
    assert "\n" not in str(caught.value)


@pytest.fixture
def in_an_experiment(settings, said):
    settings = settings.model_copy(update={"experiment": "detectors"})
    return VertexClient(settings, said.append, retry_seconds=0.01)


EXPERIMENT = "projects/my-project/locations/us-central1/metadataStores/default/contexts/detectors"


def test_runs_are_filed_under_their_experiment(in_an_experiment, config, cloud):
    config = fill_in(config, "gs://my-bucket", ())
    run = in_an_experiment.submit(config, JOB)
    assert cloud.contexts[EXPERIMENT]["schemaTitle"] == "system.Experiment"
    (child,) = cloud.children[EXPERIMENT]
    assert child.endswith(f"/contexts/{run.job_id}")


def test_an_experiment_that_cannot_be_is_found_before_anything_is_submitted(
    in_an_experiment, config, cloud
):
    config = fill_in(config, "gs://my-bucket", ())
    cloud.denied = "/contexts"
    with pytest.raises(UserError, match="permission to file runs under experiment detectors"):
        in_an_experiment.submit(config, JOB)
    assert not cloud.jobs
    cloud.denied = None
    cloud.contexts[EXPERIMENT] = {"name": EXPERIMENT, "schemaTitle": "system.PipelineRun"}
    with pytest.raises(UserError, match=r"Expected vertex\.experiment to name an experiment"):
        in_an_experiment.submit(config, JOB)
    assert not cloud.jobs


def test_a_run_that_costs_money_is_told_of_whatever_becomes_of_its_experiment(
    in_an_experiment, config, cloud, said
):
    cloud.denied = ":addContextChildren"
    run = in_an_experiment.submit(fill_in(config, "gs://my-bucket", ()), JOB)
    assert len(cloud.jobs) == 1
    assert run.job_id in said[0]
    assert said[1].startswith("the run goes on, but is not in experiment detectors: Expected the")


def test_a_bucket_elsewhere_is_refused_before_anything_is_submitted(client, complete, cloud):
    cloud.buckets["my-bucket"] = "EUROPE-WEST4"
    with pytest.raises(UserError, match=r"gs://my-bucket in us-central1\. Received: europe-west4"):
        client.submit(complete, JOB)
    del cloud.buckets["my-bucket"]
    with pytest.raises(UserError, match="gcloud storage buckets create"):
        client.submit(complete, JOB)
    assert not cloud.jobs


def test_missing_credentials_are_one_line(complete, monkeypatch, cloud):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        VertexClient(complete.vertex).get("run")


def test_schedules_are_made_listed_and_deleted(client, complete, cloud):
    made = schedules.create_schedule(client, complete, JOB, "0 3 * * 1", max_runs=5)
    (schedule,) = cloud.schedules.values()
    assert schedule["cron"] == "0 3 * * 1"
    assert schedule["maxRunCount"] == "5"
    request = schedule["createPipelineJobRequest"]
    assert request["pipelineJob"]["serviceAccount"].startswith("runner@")
    (line,) = schedules.list_schedules(complete.vertex)
    assert (line.id, line.cron, line.state) == (made, "0 3 * * 1", "active")
    cloud.failures = [(503, "later")]
    schedules.delete_schedule(complete.vertex, made)
    assert not cloud.schedules


def test_a_schedule_is_asked_for_once_and_not_with_an_experiment(client, complete, cloud):
    cloud.failures = [(503, "later")]
    with pytest.raises(UserError, match=r"later\. .*`vertex_runner\.py schedules` says"):
        schedules.create_schedule(client, complete, JOB, "0 3 * * 1")
    cloud.failures = [(403, "no way")]
    with pytest.raises(UserError, match="permission to create the schedule") as caught:
        schedules.create_schedule(client, complete, JOB, "0 3 * * 1")
    assert "after all" not in str(caught.value)
    assert not cloud.schedules
    filed = override(complete, {"vertex.experiment": "detectors"})
    with pytest.raises(UserError, match=r"Expected no vertex\.experiment for a schedule"):
        schedules.create_schedule(client, filed, JOB, "0 3 * * 1")


def test_a_cron_line_has_five_fields(client, complete):
    with pytest.raises(UserError, match="five fields"):
        schedules.create_schedule(client, complete, JOB, "3 * *")


def test_a_result_holds_the_artifacts():
    detail = PipelineTaskDetail(
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
