"""The last task ends what the others left running, and tells how the run ended."""

import json
import os
import subprocess
import sys

import pytest

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.vertex.compilation import compile_job, for_vertex
from pipeline.vertex.finish import finish
from pipeline.vertex.job_spec import needs_of
from pipeline.vertex.limits import Limits
from pipeline.vertex.started import labels_of
from tests.pipeline.vertex.fake_cloud import PARENT

RUN = f"{PARENT}/pipelineJobs/demo-1"


@pytest.fixture
def cloud(cloud):
    """With a run whose custom job still runs."""
    cloud.jobs[RUN] = {"name": RUN, "displayName": "demo"}
    cloud.script = ["PIPELINE_STATE_RUNNING"]
    name = f"{PARENT}/customJobs/1"
    cloud.custom_jobs[name] = {"name": name, "displayName": "demo-trainer",
                               "labels": labels_of("demo-1", "Trainer_7"),
                               "state": "JOB_STATE_RUNNING"}  # fmt: skip
    return cloud


@pytest.fixture
def notified(settings, cloud):
    return settings.model_copy(update={"notify_webhook": f"{cloud.url}/webhook"})


def status(state: str) -> str:
    """As Vertex AI hands it to an exit handler."""
    return json.dumps(
        {"state": state, "pipelineJobResourceName": RUN, "pipelineTaskName": "tfx-dag",
         "error": {"message": "a task failed"}, "somethingNew": 1}
    )  # fmt: skip


def pusher(pushed: int) -> dict:
    facts = {"pushed": pushed, "pushed_destination": "gs://my-bucket/pushed/demo/3"}
    artifact = {"name": "a", "uri": "u", "metadata": facts}
    return {"taskName": "Pusher", "state": "SUCCEEDED",
            "outputs": {"pushed_model": {"artifacts": [artifact]}}}  # fmt: skip


FAILED = {"taskName": "Trainer", "state": "FAILED", "error": {"code": 3, "message": "no TPU"}}


@pytest.mark.parametrize(
    ("state", "task", "expected", "text"),
    [
        ("SUCCEEDED", pusher(1), "pushed", "demo-1 pushed gs://my-bucket/pushed/demo/3\n"),
        ("SUCCEEDED", pusher(0), "not_blessed", "demo-1 finished, but not blessed: nothing"),
        ("FAILED", FAILED, "failed", "demo-1 Trainer failed: no TPU (log: https://console"),
        ("FAILED", pusher(1), "failed", "demo-1 failed: a task failed\n"),
        ("CANCELLED", FAILED, "cancelled", "demo-1 was cancelled\n"),
    ],
)
def test_every_end_is_told_and_nothing_is_left_running(
    cloud, notified, state, task, expected, text
):
    cloud.tasks = [task]
    finish(status(state), notified)
    (message,) = cloud.received
    assert message["status"] == expected
    assert message["text"].startswith(text)
    assert message["text"].endswith(message["link"])
    assert (message["run"], message["pipeline"]) == ("demo-1", "demo")
    (job,) = cloud.custom_jobs.values()
    assert job["state"] == "JOB_STATE_CANCELLED"


def test_a_webhook_that_does_not_answer_changes_nothing(cloud, settings):
    cloud.tasks = [pusher(1)]
    finish(
        status("SUCCEEDED"), settings.model_copy(update={"notify_webhook": "http://127.0.0.1:1"})
    )


def test_a_job_that_cannot_be_ended_is_told_and_fails_the_run(cloud, notified):
    cloud.tasks = [FAILED]
    cloud.denied = "customJobs/1:cancel"
    with pytest.raises(UserError, match="end custom job 1"):
        finish(status("FAILED"), notified)
    (message,) = cloud.received
    assert "STILL RUNNING: No permission to end custom job 1 (demo-trainer)" in message["text"]


def test_it_runs_whatever_happened_to_the_other_tasks(config):
    emails = {"vertex.notify_emails": ["me@example.com", "you@example.com"]}
    job = compile_job(for_vertex(override(config, emails)))
    root = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert set(root) == {"tfx-dag", "Finish", "Email"}
    for name in ("Finish", "Email"):
        assert root[name]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        assert "cachingOptions" not in root[name]
        assert {"Pusher", "Trainer"} <= needs_of(job)[name]
        (final,) = [
            value for value in root[name]["inputs"]["parameters"].values()
            if "taskFinalStatus" in value
        ]  # fmt: skip
        assert final == {"taskFinalStatus": {"producerTask": "tfx-dag"}}
    recipients = root["Email"]["inputs"]["parameters"]["recipients"]["runtimeValue"]
    assert json.loads(recipients["constantValue"]["stringValue"]) == [
        "me@example.com", "you@example.com",
    ]  # fmt: skip
    assert set(compile_job(for_vertex(config))["pipelineSpec"]["root"]["dag"]["tasks"]) == {
        "tfx-dag", "Finish",
    }  # fmt: skip


@pytest.mark.slow
def test_its_container_does_all_that(cloud, config, tmp_path):
    """The command of the compiled job, as Vertex AI would fill it in."""
    webhook = {"vertex.notify_webhook": f"{cloud.url}/webhook", "vertex.api_endpoint": cloud.url}
    spec = compile_job(for_vertex(override(config, webhook)))["pipelineSpec"]
    inputs = spec["root"]["dag"]["tasks"]["Finish"]["inputs"]["parameters"]
    container = spec["deploymentSpec"]["executors"]["Finish_executor"]["container"]
    settings = inputs["settings"]["runtimeValue"]["constantValue"]
    results = tmp_path / "123456" / "demo-1" / "Finish_-42" / "executor_output.json"
    invocation = {
        "inputs": {
            "parameters": {
                "final_status": {"stringValue": status("SUCCEEDED")},
                "settings": settings,
            }
        },
        "outputs": {"outputFile": str(results)},
    }
    cloud.jobs[RUN]["labels"] = Limits(task=500, training=1, dataflow=1).labels()
    cloud.tasks = [pusher(1)]
    words = [*container["command"], *container["args"]]
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *(word.replace("{{$}}", json.dumps(invocation)) for word in words[1:])],
        cwd=ROOT,
        env=os.environ | cloud.open_proxy(tmp_path).environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Finish_-42 of run demo-1 is ended after 500 s" in done.stdout
    assert [message["status"] for message in cloud.received] == ["pushed"]
    (job,) = cloud.custom_jobs.values()
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert results.exists()


def test_an_address_must_look_like_one(config):
    with pytest.raises(UserError, match=r"vertex\.notify_emails"):
        override(config, {"vertex.notify_emails": ["nobody"]})
