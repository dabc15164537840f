"""The demo, whole and with its own gates; then runs that build on it, in the same workdir.

The demo runs in a separate process, as users run it. The runs after it are in this process, where
TensorFlow and TFX are already loaded, unless they are to be killed.
"""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from pipeline import presets
from pipeline.benchmark import __main__ as benchmark
from pipeline.lineage import __main__ as lineage
from pipeline.report import __main__ as report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# A training of a few seconds, whose model learns next to nothing.
SHORT = {
    "training.seed": 7,
    "training.steps": 20,
    "training.quantization_delay": 10,
    "training.eval_every": 5,
    "training.warmup_steps": 1,
    "training.batch_size": 8,
}

# The local runner, dying after the new version is published and before the Pusher has recorded it.
DIES_AFTER_PUBLISHING = """
import os, signal, sys
import pipeline.shipping.pusher
pipeline.shipping.pusher.write_whole = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
import local_runner
sys.exit(local_runner.main(sys.argv[1:]))
"""


def test_the_demo_passes_its_own_gates_and_is_pushed(project, demo):
    code, text, summary = demo
    assert code == 0, text
    assert summary["status"] == "pushed"
    assert summary["blessed"] is True
    assert summary["reasons"] == []
    assert {component["status"] for component in summary["components"].values()} == {"complete"}
    assert (summary["images"]["train"], summary["images"]["eval"]) == (632, 168)
    assert summary["images"]["set_aside"] == 0
    for part in ("gate: blessed", "mAP@.5", "Trainer", "pipeline.detect", "tensorboard", "report "):
        assert part in text
    page = Path(summary["report"])
    assert page == Path(summary["run_folder"], "report.html")
    assert "Pushed as version 1: mAP@.5 is" in page.read_text()
    assert page.stat().st_size < 5e6
    manifest = json.loads(Path(summary["pushed_path"], "manifest.json").read_text())
    threshold = manifest["score_thresholds"]["all"]["threshold"]
    assert f'<b id="threshold">{threshold:.2f}</b>' in page.read_text()
    assert "RunReport" in page.read_text()  # its lineage knows it
    assert "Traceback" not in text
    assert not project.states()  # the training is finished
    config = json.loads(Path(summary["run_folder"], "config.json").read_text())
    assert config["evaluation"] == presets.load("demo").evaluation.model_dump()


def test_the_demos_detector_is_good_and_small(demo):
    _, _, summary = demo
    # Measured: 0.996, 0.681 and 0.52 MB. Another processor may round otherwise.
    metrics = summary["metrics"]
    assert metrics["mAP50"] > 0.96
    assert metrics["mAP"] > 0.66
    assert len(metrics["per_class"]) >= 3
    assert all(figures["AP50"] > 0.9 for figures in metrics["per_class"].values())
    assert summary["size_bytes"] < 600_000
    assert summary["latency_ms"] > 0
    published = Path(summary["pushed_path"], "detect.tflite").read_bytes()
    assert len(published) == summary["size_bytes"]
    assert hashlib.sha256(published).hexdigest() == summary["sha256"]


def test_the_benchmark_makes_the_forms_and_takes_the_pictures_that_are_recorded(
    project, demo, tmp_path, capsys
):
    metrics = demo[2]["metrics"]
    arguments = [str(project.workdir / "pushed"), "--workdir", str(project.workdir)]
    assert benchmark.main([*arguments, "--out", str(tmp_path), "--runs", "2"]) == 0
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["pictures"] == f"168 evaluation images of run {demo[2]['run_id']}"
    files = {file["form"]: file for file in found["files"]}
    assert list(files) == ["int8", "int8 raw", "float32", "float16"]
    for name in ("mAP50", "mAP"):
        assert files["int8"][name] == pytest.approx(metrics[name], abs=1e-9)
        assert files["int8 raw"][name] == pytest.approx(metrics[name], abs=0.002)
        assert files["float32"][name] == pytest.approx(metrics[name], abs=0.03)
        assert files["float16"][name] == pytest.approx(files["float32"][name], abs=0.01)
    sizes = {form: file["size_bytes"] for form, file in files.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    assert "note: " not in capsys.readouterr().err


def test_a_second_run_is_cached_and_pushes_nothing_new(project, demo):
    before = project.versions()
    code, text, summary = project.run()
    assert code == 0, text
    statuses = {name: component["status"] for name, component in summary["components"].items()}
    # A resolver is never cached; it finds the same model.
    assert statuses.pop("LatestBlessedModel") == "complete"
    assert set(statuses.values()) == {"cached"}, statuses
    assert project.versions() == before
    first = demo[2]
    assert summary["run_id"] != first["run_id"]
    for name in ("metrics", "size_bytes", "sha256", "pushed_path", "images"):
        assert summary[name] == first[name]


def test_a_deleted_push_is_pushed_again(project, demo):
    for _ in range(2):
        shutil.rmtree(project.workdir / "pushed")
        code, text, summary = project.run()
        assert code == 0, text
        assert summary["components"]["Pusher"]["status"] == "complete"
        assert summary["components"]["Evaluator"]["status"] == "cached"
        assert os.path.isfile(os.path.join(summary["pushed_path"], "detect.tflite"))


def test_a_run_that_is_killed_between_push_and_record_pushes_once(project, demo, tmp_path):
    elsewhere = ("--push-to", str(tmp_path))
    killed = project.start(project.arguments(*elsewhere), program=("-c", DIES_AFTER_PUBLISHING))
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "latest" / "manifest.json").is_file()
    code, text, summary = project.run(*elsewhere)
    assert code == 0, text
    assert summary["components"]["TFLiteRewriter"]["status"] == "cached"
    assert summary["components"]["Pusher"]["status"] == "complete"
    assert summary["pushed_path"] == str(tmp_path / "1")
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["1", "latest"]


def test_a_higher_threshold_is_judged_without_training_and_not_pushed(project, demo):
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
    page = Path(summary["report"])
    assert "Not pushed: mAP@.5 is" in page.read_text()
    page.unlink()
    assert report.main([summary["run_folder"]]) == 0
    assert "Not pushed: mAP@.5 is" in page.read_text()


def test_a_pyramid_goes_all_the_way_to_the_push(project, demo, tmp_path, capsys):
    settings = {
        "name": "pyramid",  # so that the runs after this one are not compared with it
        "model.family": "ssd_fpn",
        "model.input_size": 96,
        "model.min_scale": 0.2,  # as by default: it is of SSD's anchors
        "model.pyramid.depth": 32,
        "model.pyramid.head_depth": 32,
        "model.pyramid.head_layers": 1,
        "training.eval_every": 10,
        "evaluation.min_map50": 1e-6,
    }
    code, text, summary = project.run("--push-to", str(tmp_path), **(SHORT | settings))
    assert code == 0, text
    assert summary["status"] == "pushed"
    capsys.readouterr()
    workdir = str(project.workdir)
    assert lineage.main(["trace", summary["pushed_path"], "--workdir", workdir, "--json"]) == 0
    traced = json.loads(capsys.readouterr().out)
    assert summary["sha256"] in json.dumps(traced["subject"])
    assert traced["trainings"][0]["settings"]["model"]["family"] == "ssd_fpn"


def test_a_killed_training_resumes_and_the_gate_rejects_its_poor_model(project, demo):
    before = project.versions()
    process = project.start(project.arguments(**SHORT))
    deadline = time.monotonic() + 500
    while not project.states():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = project.summary()
    assert killed["status"] == "running"
    code, text, summary = project.run(**SHORT)
    assert code == 3, text
    assert f"recorded as failed, as they were killed: {killed['run_id']}" in text
    killed = json.loads(Path(killed["run_folder"], "summary.json").read_text())
    assert killed["status"] == killed["components"]["Trainer"]["status"] == "failed"
    assert "resuming from step" in text
    assert summary["components"]["Transform"]["status"] == "cached"
    assert summary["components"]["Trainer"]["status"] == "complete"
    facts = json.loads(Path(summary["model"], "Format-Serving", "detector.json").read_text())
    (step,) = facts["training"]["resumed_at"]
    assert 0 < step < 20
    assert len(summary["reasons"]) == 2, "below the threshold, and below the last blessed model"
    assert project.versions() == before


def test_a_moved_workdir_takes_its_cache_along(project, demo):
    moved = project.workdir.with_name("moved")
    project.workdir.rename(moved)
    project.workdir = moved
    code, text, summary = project.run(**SHORT)
    assert code == 3, text
    states = {name: component["status"] for name, component in summary["components"].items()}
    # The settings name the new places, so the Pusher runs.
    rest = dict.fromkeys(("LatestBlessedModel", "Pusher", "Report"), "complete")
    assert states == dict.fromkeys(states, "cached") | rest
    assert len(summary["reasons"]) == 2
    assert not (moved / "tmp").exists()
