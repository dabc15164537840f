"""The jobs that a run's tasks have started are found and ended, and no others."""

import pytest

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.vertex.connection import connect
from pipeline.vertex.started import StartedJobs, dataflow_name, labels_of
from tests.pipeline.vertex.fake_cloud import PARENT

RUN = "demo-20261128-101500"


def start(cloud, run, task, number, state="RUNNING"):
    """What a Trainer and a Beam task of a run would start."""
    name = f"{PARENT}/customJobs/{number}"
    labels = labels_of(run, task)
    cloud.custom_jobs[name] = {
        "name": name, "displayName": "demo-trainer", "labels": labels,
        "state": f"JOB_STATE_{state}",
    }  # fmt: skip
    cloud.dataflow_jobs[f"df-{number}"] = {
        "id": f"df-{number}", "name": dataflow_name(run, task), "labels": labels,
        "currentState": f"JOB_STATE_{state}",
    }  # fmt: skip


@pytest.fixture
def jobs(config, transport):
    return StartedJobs(connect(override(config, transport).vertex))


def test_ends_the_jobs_of_a_run_and_says_which(jobs, cloud, capsys):
    start(cloud, RUN, "Trainer_-83", 1)
    start(cloud, RUN, "Transform_71", 2)
    start(cloud, RUN, "Transform_72", 3, "CANCELLED")
    # Another run, whose id begins like this one's.
    start(cloud, f"{RUN}0", "Trainer_-83", 4)
    ended = jobs.end(RUN)
    assert len(ended) == 4
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "ended Dataflow job df-1 (demo-20261128-101500-trainer-83)",
        "ended Dataflow job df-2 (demo-20261128-101500-transform-71)",
        "ended custom job 1 (demo-trainer)",
        "ended custom job 2 (demo-trainer)",
    ]
    assert jobs.running(RUN) == []
    assert len(jobs.running(f"{RUN}0")) == 2


def test_ends_only_the_jobs_of_a_task(jobs, cloud):
    start(cloud, RUN, "Trainer_7", 1)
    start(cloud, RUN, "Trainer_71", 2)
    jobs.end(RUN, "Trainer_7")
    assert cloud.custom_jobs[f"{PARENT}/customJobs/1"]["state"] == "JOB_STATE_CANCELLED"
    assert cloud.dataflow_jobs["df-1"]["currentState"] == "JOB_STATE_CANCELLED"
    assert len(jobs.running(RUN)) == 2


def test_a_long_name_still_fits_into_a_label():
    labels = labels_of(f"{'a' * 100}-20261128-101500", "Transform_-1")
    assert len(labels["run"]) == 63
    assert labels["run"].endswith("-20261128-101500")
    assert labels["task"] == "transform_-1"


@pytest.mark.parametrize(
    ("denied", "left"),
    [("/jobs/df-1", ["df-1"]), ("/us-central1/jobs", ["df-1", "df-2"])],
    ids=["one job", "the whole of Dataflow"],
)
def test_what_cannot_be_ended_does_not_spare_the_others(jobs, cloud, denied, left):
    start(cloud, RUN, "Trainer_7", 1)
    start(cloud, RUN, "Transform_8", 2)
    cloud.denied = denied
    with pytest.raises(UserError, match=r"No permission to (end|list the) Dataflow job"):
        jobs.end(RUN)
    cloud.denied = None
    assert [job.id for job in jobs.running(RUN)] == left


def test_a_project_without_dataflow_has_no_dataflow_jobs(jobs, cloud):
    start(cloud, RUN, "Trainer_7", 1)
    cloud.denied = "/us-central1/jobs"
    cloud.denial = "SERVICE_DISABLED"
    assert [job.kind for job in jobs.end(RUN)] == ["custom job"]
