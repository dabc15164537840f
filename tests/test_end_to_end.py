"""Whole runs of the command line, in one workdir, one after the other."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.demo.data import write_demo_data
from pipeline.fingerprint import ROOT

pytestmark = pytest.mark.slow
_TINY = {
    "training.steps": 20,
    "training.quantization_delay": 10,
    "training.eval_every": 5,
    "training.warmup_steps": 1,
    "training.batch_size": 8,
    "model.input_size": 96,
    "transform.canvas_size": 96,
    # What 20 steps learn is next to nothing; the gate's decisions are not the subject here.
    "evaluation.min_map50": 1e-9,
    "evaluation.max_drop": 1.0,
}


# The local runner in a process that dies once the new version is published, before the Pusher has
# recorded it.
_DIES_AFTER_PUBLISHING = """
import os, signal, sys
import pipeline.shipping.pusher
pipeline.shipping.pusher._write = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
import local_runner
sys.exit(local_runner.main(sys.argv[1:]))
"""


class Project:
    """A workdir and the runs in it."""

    def __init__(self, folder):
        self.data = write_demo_data(folder / "data", num_images=60)
        self.workdir = folder / "work"

    def command(self, *flags, program=(str(ROOT / "local_runner.py"),), **changes):
        settings = _TINY | {name.replace("__", "."): value for name, value in changes.items()}
        command = [sys.executable, *program, *flags, "--preset", "demo"]
        command += ["--data", str(self.data), "--schema", str(ROOT / "schema" / "demo")]
        command += ["--workdir", str(self.workdir)]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        return command

    def run(self, *flags, **changes):
        """Exit code, what was printed, and summary.json."""
        result = subprocess.run(
            self.command(*flags, **changes), capture_output=True, text=True, check=False, cwd=ROOT
        )
        summary = json.loads((self.workdir / "latest_run" / "summary.json").read_text())
        return result.returncode, result.stdout + result.stderr, summary

    def versions(self):
        """Names of the published versions."""
        return sorted(
            entry.name for entry in (self.workdir / "pushed").iterdir() if not entry.is_symlink()
        )

    def states(self):
        """Files of training runs."""
        return set(self.workdir.glob("checkpoints/*/state.npz"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def first(project):
    return project.run()


def test_the_first_run_pushes(project, first):
    code, text, summary = first
    assert code == 0, text
    assert summary["status"] == "pushed"
    assert summary["blessed"] is True
    assert {component["status"] for component in summary["components"].values()} == {"complete"}
    assert summary["images"]["train"] + summary["images"]["eval"] == 60
    assert summary["images"]["set_aside"] == 0
    assert set(summary["metrics"]) == {"mAP50", "mAP", "per_class"}
    assert 0 < summary["size_bytes"] < 1_500_000
    assert summary["latency_ms"] > 0
    assert summary["reasons"] == []
    published = os.path.join(summary["pushed_path"], "detect.tflite")
    assert os.path.getsize(published) == summary["size_bytes"]
    for part in ("gate: blessed", "mAP@.5", "Trainer", "pipeline.detect", "tensorboard"):
        assert part in text
    assert "Traceback" not in text
    assert not project.states()  # nothing to go on from: training is finished


def test_a_second_run_is_cached_and_pushes_nothing_new(project, first):
    before = project.versions()
    code, text, summary = project.run()
    assert code == 0, text
    statuses = {name: component["status"] for name, component in summary["components"].items()}
    # A resolver looks anew each time, and finds the same.
    assert statuses.pop("LatestBlessedModel") == "complete"
    assert set(statuses.values()) == {"cached"}, statuses
    assert project.versions() == before
    assert summary["run_id"] != first[2]["run_id"]
    for name in ("metrics", "size_bytes", "sha256", "pushed_path", "images"):
        assert summary[name] == first[2][name]


def test_a_push_that_was_deleted_is_pushed_again(project, first):
    for _ in range(2):
        shutil.rmtree(project.workdir / "pushed")
        code, text, summary = project.run()
        assert code == 0, text
        assert summary["components"]["Pusher"]["status"] == "complete"
        assert summary["components"]["Evaluator"]["status"] == "cached"
        assert os.path.isfile(os.path.join(summary["pushed_path"], "detect.tflite"))


def test_a_run_that_was_killed_between_push_and_record_pushes_once(project, first, tmp_path):
    elsewhere = ("--push-to", str(tmp_path))
    command = project.command(*elsewhere, program=("-c", _DIES_AFTER_PUBLISHING))
    killed = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "latest" / "manifest.json").is_file()
    code, text, summary = project.run(*elsewhere)
    assert code == 0, text
    assert summary["components"]["TFLiteRewriter"]["status"] == "cached"
    assert summary["components"]["Pusher"]["status"] == "complete"
    assert summary["pushed_path"] == str(tmp_path / "1")
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["1", "latest"]


def test_a_model_below_the_threshold_is_judged_anew_and_not_pushed(project, first):
    before = project.versions()
    code, text, summary = project.run(evaluation__min_map50=1.0)
    assert code == 3, text
    assert summary["status"] == "not_blessed"
    assert summary["pushed_path"] is None
    assert "mAP50" in summary["reasons"][0]
    assert project.versions() == before
    assert summary["components"]["Trainer"]["status"] == "cached"
    assert summary["components"]["Evaluator"]["status"] == "complete"
    assert "not blessed: nothing was pushed" in text


def test_a_run_that_was_killed_in_training_goes_on(project, first):
    finished = project.states()
    process = subprocess.Popen(
        project.command(training__seed=7),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 500
    while project.states() == finished:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, text, summary = project.run(training__seed=7)
    assert code == 0, text
    assert "going on from step" in text
    assert summary["components"]["Transform"]["status"] == "cached"
    assert summary["components"]["Trainer"]["status"] == "complete"
    facts = json.loads(Path(summary["model"], "Format-Serving", "detector.json").read_text())
    (step,) = facts["training"]["resumed_at"]
    assert 0 < step < 20
    assert summary["sha256"] != first[2]["sha256"]
