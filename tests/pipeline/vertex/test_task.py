"""A task of a run keeps within the run's limits, and leaves nothing running."""

import json
import os
import subprocess
import sys
import time

import pytest

from pipeline import lane
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.vertex import task
from pipeline.vertex.compilation import compile_job, for_vertex
from pipeline.vertex.job_spec import tasks_of
from pipeline.vertex.limits import Limits
from pipeline.vertex.started import dataflow_name, labels_of
from tests.pipeline.vertex.fake_cloud import PARENT

RUN = "demo-20261128-101500"
LIMITS = Limits(task=900, training=3600, dataflow=1200)


def invocation(name: str, **parameters: str) -> list[str]:
    """TFX's arguments, as Vertex AI fills them in."""
    folder = f"gs://my-bucket/pipeline_root/demo/123456/{RUN}/{name}"
    return [
        "--executor_class_path", "x.Executor",
        "--json_serialized_invocation_args",
        json.dumps({
            "inputs": {"parameters": {k: {"stringValue": v} for k, v in parameters.items()}},
            "outputs": {"outputFile": f"{folder}/executor_output.json"},
        }),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def job():
    from tests.pipeline.vertex import conftest

    return compile_job(for_vertex(conftest.config.__wrapped__()))


def test_run_and_task_are_read_from_where_vertex_ai_puts_the_results():
    assert task.place_of(invocation("Transform_-837")) == (RUN, "Transform_-837")
    assert task.name_of("Transform_-837") == "Transform"


def test_every_task_of_a_job_runs_within_limits(job, config):
    spec = job["pipelineSpec"]
    containers = [
        executor["container"]
        for executor in spec["deploymentSpec"]["executors"].values()
        if "container" in executor
    ]
    assert len(containers) == 12
    for container in containers:
        assert container["command"][:3] == ["python", "-m", "pipeline.vertex.task"]
        assert f"--vertex_tfx={lane.TFX}" in container["command"]
        assert "--vertex_project=my-project" in container["command"]
        assert "--vertex_region=us-central1" in container["command"]
    drivers = [one["lifecycle"]["preCacheCheck"] for one in containers if "lifecycle" in one]
    assert [driver["command"][:2] for driver in drivers] == [["timeout", "3600"]]


def test_the_custom_job_gets_the_limit_and_the_labels_of_its_run(job):
    from google.cloud.aiplatform_v1.types import CustomJob

    parameters = tasks_of(job["pipelineSpec"])["Trainer"]["inputs"]["parameters"]
    text = parameters["custom_config"]["runtimeValue"]["constantValue"]["stringValue"]
    arguments = invocation("Trainer_5", custom_config=text)
    changed = task.within_limits(arguments, RUN, "Trainer_5", LIMITS)
    sent = json.loads(changed[3])["inputs"]["parameters"]["custom_config"]["stringValue"]
    training = json.loads(sent)["ai_platform_training_args"]
    del training["project"]
    custom = CustomJob(training)
    assert custom.job_spec.scheduling.timeout.total_seconds() == 3600
    assert custom.job_spec.scheduling.restart_job_on_worker_restart
    assert dict(custom.labels) == {"run": RUN, "task": "trainer_5"}
    assert json.loads(changed[3])["outputs"] == json.loads(arguments[3])["outputs"]
    # The cache key of the Trainer is in the job, which knows neither run nor limit.
    assert "timeout" not in text


def test_a_dataflow_job_gets_the_limit_the_name_and_the_labels_of_its_run():
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

    arguments = [*invocation("Transform_-8"), "--runner=DataflowRunner", "--labels=team=vision"]
    changed = task.within_limits(arguments, RUN, "Transform_-8", LIMITS)
    options = PipelineOptions(changed[4:]).view_as(GoogleCloudOptions)
    assert options.dataflow_service_options == ["max_workflow_runtime_walltime_seconds=1200"]
    assert options.job_name == f"{RUN}-transform-8"
    assert set(options.labels) == {"team=vision", f"run={RUN}", "task=transform_-8"}
    assert task.within_limits(arguments[:4], RUN, "Transform_-8", LIMITS) == arguments[:4]


def test_a_run_without_limits_does_not_start():
    assert Limits.from_labels({"team": "x", **LIMITS.labels()}) == LIMITS
    with pytest.raises(UserError, match=r"limit-task.*Submit it with vertex_runner\.py"):
        Limits.from_labels({"limit-task": "900"})


def test_a_container_may_take_as_long_as_the_job_that_it_waits_for():
    names = ("Trainer", "Transform", "Pusher", "Finish")
    assert [LIMITS.of_task(name) for name in names] == [4500, 2100, 900, 900]


def test_a_job_that_another_tfx_compiled_is_refused_in_one_line():
    with pytest.raises(SystemExit) as caught:
        task.main(["--vertex_tfx=1.2.3", *invocation("Pusher_7")])
    message = str(caught.value)
    assert message.startswith("error: Expected an image with TFX 1.2.3")
    assert f"Received: one with TFX {lane.TFX}." in message
    assert "\n" not in message


FLAGS = ["--vertex_project=my-project", "--vertex_region=us-central1",
         "--vertex_api_transport=rest"]  # fmt: skip
# In place of TFX's program.
PROGRAM = """
import sys, time
from pipeline.vertex import started, task

started.DATAFLOW_URL = sys.argv.pop(1)

def run(arguments):
    print("running", flush=True)
    {then}

task._run_tfx = run
task.main(sys.argv[1:])
"""


@pytest.fixture
def start(cloud):
    """Starts a task's program in a run with these limits; its custom job is running."""
    name = f"{PARENT}/customJobs/1"
    cloud.custom_jobs[name] = {
        "name": name, "labels": labels_of(RUN, "Trainer_7"), "state": "JOB_STATE_RUNNING",
    }  # fmt: skip
    cloud.dataflow_jobs["d"] = {
        "id": "d", "name": dataflow_name(RUN, "Transform_8"), "currentState": "JOB_STATE_RUNNING",
    }  # fmt: skip
    cloud.script = ["PIPELINE_STATE_RUNNING"]

    def run(then: str, limits: Limits = LIMITS) -> subprocess.Popen:
        run_name = f"{PARENT}/pipelineJobs/{RUN}"
        cloud.jobs[run_name] = {"name": run_name, "labels": limits.labels()}
        flags = [*FLAGS, f"--vertex_api_endpoint={cloud.url}"]
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM.format(then=then), cloud.url, *flags,
             *invocation("Trainer_7")],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    return run


def test_the_time_that_looking_the_limit_up_takes_counts(cloud, monkeypatch):
    timers, times = [], iter((0, 100))
    monkeypatch.setattr(
        task.faulthandler, "dump_traceback_later", lambda left, exit: timers.append(left)
    )
    monkeypatch.setattr(task, "monotonic", lambda: next(times))
    monkeypatch.setattr(task.signal, "signal", lambda *_: None)
    monkeypatch.setattr(task, "_run_tfx", lambda arguments: None)
    name = f"{PARENT}/pipelineJobs/{RUN}"
    cloud.jobs[name] = {"name": name, "labels": LIMITS.labels()}
    cloud.script = ["PIPELINE_STATE_RUNNING"]
    task.main([*FLAGS, f"--vertex_api_endpoint={cloud.url}", *invocation("Trainer_7")])
    assert timers == [600, 4400]


def ended(cloud) -> bool:
    return cloud.custom_jobs[f"{PARENT}/customJobs/1"]["state"] == "JOB_STATE_CANCELLED"


def test_a_task_that_fails_ends_its_own_jobs(start, cloud):
    out, error = start("raise SystemExit(3)").communicate(timeout=60)
    assert f"Trainer_7 of run {RUN} is ended after 4500 s" in out, error
    assert "ended custom job 1" in out
    assert ended(cloud)
    assert cloud.dataflow_jobs["d"]["currentState"] == "JOB_STATE_RUNNING"


def test_a_task_that_succeeds_ends_nothing(start, cloud):
    process = start("raise SystemExit(0)")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not ended(cloud)


def test_a_task_that_is_cancelled_ends_its_jobs(start, cloud):
    with start("time.sleep(60)") as process:
        while "running" not in process.stdout.readline():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert ended(cloud)


def test_a_task_that_hangs_is_ended_and_says_where(start, cloud):
    process = start("time.sleep(60)", Limits(task=1, training=0, dataflow=0))
    _, error = process.communicate(timeout=50)
    assert process.returncode == 1
    assert "Timeout" in error
    assert "in run" in error
