"""The lease on a checkpoint folder, on a bucket with generations."""

import json
from types import SimpleNamespace

import pytest

from pipeline.errors import UserError
from pipeline.training import lease, trainer
from pipeline.training.lease import hold

FOLDER = "gs://my-bucket/training_state/demo/key"
KEY = ("my-bucket", "training_state/demo/key/lease.json")


class Clock:
    """Time passes only while somebody sleeps; `meanwhile` then happens."""

    def __init__(self):
        self.now = 0.0
        self.meanwhile = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch, cloud):
    monkeypatch.delenv("CLOUD_ML_JOB_ID", raising=False)
    made = Clock()
    monkeypatch.setattr(lease, "time", made)
    return made


def test_the_folder_is_free_again_afterwards(clock, cloud):
    for run in ("run-1", "run-2"):
        with hold(FOLDER, run) as check:
            assert json.loads(cloud.objects[KEY][0])["run"] == run
            check()
        assert KEY not in cloud.objects


def test_a_second_run_does_not_train_beside_a_first(clock, cloud):
    with hold(FOLDER, "run-1"):
        held, generation = cloud.objects[KEY]
        # The first one is alive: it renews its lease.
        clock.meanwhile = lambda: cloud.objects.update({KEY: (held, generation + 1)})
        error = pytest.raises(UserError, match=r"Run run-1 is training in gs://.*cancel run-1")
        with error, hold(FOLDER, "run-2"):
            pytest.fail("both train")
        assert cloud.objects[KEY][0] == held


def dead(run: str, owner: str = "x") -> bytes:
    return json.dumps({"run": run, "owner": owner, "token": "t"}).encode()


def test_the_lease_of_a_run_that_died_runs_out(clock, cloud):
    cloud.objects[KEY] = (dead("run-1"), 7)
    with hold(FOLDER, "run-2"):
        assert json.loads(cloud.objects[KEY][0])["run"] == "run-2"
    assert clock.now > lease._LEASE_SECONDS


def test_a_restarted_job_does_not_wait_for_itself(clock, cloud, monkeypatch):
    monkeypatch.setenv("CLOUD_ML_JOB_ID", "77")
    cloud.objects[KEY] = (dead("run-1", owner="77"), 7)
    with hold(FOLDER, "run-1"):
        assert clock.now == 0


def test_of_two_that_take_over_at_once_one_wins(clock, cloud):
    cloud.objects[KEY] = (dead("run-1"), 7)

    def other_was_faster(name):
        cloud.storage.before_write = None
        cloud.objects[KEY] = (dead("run-3"), 8)

    cloud.storage.before_write = other_was_faster
    with pytest.raises(UserError, match="Run run-3 is training"), hold(FOLDER, "run-2"):
        pytest.fail("both train")
    assert cloud.objects[KEY] == (dead("run-3"), 8)


@pytest.fixture
def renewed_at_once(monkeypatch):
    """The lease is renewed whenever the test waits for it."""
    monkeypatch.setattr(lease, "_RENEWAL_SECONDS", 0.01)


def until(condition) -> None:
    import time

    while not condition():
        time.sleep(0.01)


def test_a_holder_renews_its_lease(clock, cloud, renewed_at_once):
    with hold(FOLDER, "run-1") as check:
        until(lambda: cloud.objects[KEY][1] > 3)
        check()
    assert KEY not in cloud.objects


def test_a_holder_that_lost_its_lease_saves_nothing_more(clock, cloud, renewed_at_once):
    def lost(check) -> bool:
        try:
            check()
        except UserError as error:
            return "Lost the lease" in str(error)
        return False

    with hold(FOLDER, "run-1") as check:
        cloud.objects[KEY] = (dead("run-2"), 99)
        until(lambda: lost(check))
    assert cloud.objects[KEY] == (dead("run-2"), 99)


def test_a_holder_that_cannot_renew_stops_in_time(clock, cloud):
    with hold(FOLDER, "run-1") as check:
        clock.now += lease._LEASE_SECONDS + 1
        with pytest.raises(UserError, match="could not be renewed"):
            check()


@pytest.fixture
def job(monkeypatch):
    """A training that is scored once, in the folder; `meanwhile` happens just before."""

    class Run:
        meanwhile = staticmethod(lambda: None)

        def __init__(self, settings, folder, score):
            self.score = score

        def train(self):
            Run.meanwhile()
            self.score(None)
            raise InterruptedError("scored")

    def evaluate(interval, log):
        raise InterruptedError("evaluated")

    made = SimpleNamespace(
        state_dir=FOLDER,
        class_names=["a"],
        training_settings=SimpleNamespace(minutes=0, steps=1),
        make_run=Run,
        evaluate=evaluate,
        run=Run,
    )
    monkeypatch.setattr(trainer, "_Job", lambda fn_args: made)
    monkeypatch.setattr(trainer, "TensorBoardLog", lambda folder, names: None)
    return made


ARGUMENTS = SimpleNamespace(
    custom_config={"ai_platform_training_args": {"labels": {"run": "run-2"}}}
)


def test_the_trainer_holds_the_lease_while_it_trains(clock, cloud, job):
    held = []
    job.run.meanwhile = lambda: held.append(json.loads(cloud.objects[KEY][0])["run"])
    with pytest.raises(InterruptedError, match="evaluated"):
        trainer.run_fn(ARGUMENTS)
    assert held == ["run-2"]
    assert KEY not in cloud.objects


def test_the_trainer_does_not_go_on_without_its_lease(clock, cloud, job):
    def stolen():
        clock.now += lease._LEASE_SECONDS + 1

    job.run.meanwhile = stolen
    with pytest.raises(UserError, match="Lost the lease"):
        trainer.run_fn(ARGUMENTS)


def test_the_trainer_does_not_train_beside_another(clock, cloud, job):
    cloud.objects[KEY] = (dead("run-1"), 7)
    clock.meanwhile = lambda: cloud.objects.update({KEY: (dead("run-1"), 8)})
    job.run.meanwhile = lambda: pytest.fail("both train")
    with pytest.raises(UserError, match="Run run-1 is training"):
        trainer.run_fn(ARGUMENTS)


def test_local_folders_need_none(tmp_path):
    with hold(str(tmp_path), "") as check:
        check()
    assert not list(tmp_path.iterdir())
