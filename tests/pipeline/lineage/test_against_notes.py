"""Small real pipelines: every answer against the notes of the script that ran them."""

import contextlib
import getpass
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.lineage import diff, impact, open_backend, runs, trace, verify, why
from pipeline.lineage.export import export
from tests.pipeline.lineage import small_runs
from tests.pipeline.lineage.statements import check_statement
from tests.pipeline.metadata.servers import PASSWORD, mariadb

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).resolve().parents[3]
_SECONDS = 1800


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """What happened, by the name of the run; the store is on MariaDB where that is installed."""
    folder = tmp_path_factory.mktemp("small_runs")
    project = folder / "project"
    project.mkdir()
    for name in ("models", "pipeline", "schema"):
        shutil.copytree(_ROOT / name, project / name)
    shutil.copy(_ROOT / "local_runner.py", project)
    (folder / "work").mkdir()
    file = folder / "notes.json"
    with mariadb() as url:
        process = subprocess.Popen(
            [sys.executable, small_runs.__file__, project, folder / "work", url, file]
        )
        try:
            seen = ask_meanwhile(process, url)
        finally:  # also where this test runs out of time
            process.kill()
            process.wait()
        assert process.returncode == 0
        yield {"backend": open_backend(url), "seen": seen, **json.loads(file.read_text())}


def ask_meanwhile(process: subprocess.Popen, url: str) -> list[dict[str, str]]:
    """Asks beside the running pipelines, until they end; returns the states of the runs."""
    seen = []
    while process.poll() is None:
        with contextlib.suppress(UserError):  # before the first run has begun
            backend = open_backend(url)
            seen.append({line.run.name: line.state for line in runs(backend)})
            trace(backend, list(seen[-1])[-1])
        time.sleep(1)
    return seen


def run_id(note: dict) -> str:
    return note["summary"]["run_id"]


@pytest.mark.timeout(_SECONDS)
def test_each_run_was_seen_running_and_no_question_disturbed_it(notes):
    for name in ("first", "setting", "data", "warm"):
        states = [states.get(run_id(notes[name])) for states in notes["seen"]]
        assert "running" in states
        assert states[-1] == notes[name]["summary"]["status"]


def test_runs(notes):
    lines = {line.run.name: line for line in runs(notes["backend"])}
    for name in ("first", "again", "setting", "code", "data", "warm", "refused", "rewritten"):
        summary, line = notes[name]["summary"], lines[run_id(notes[name])]
        assert line.state == summary["status"]
        assert line.metrics["mAP50"] == summary["metrics"]["mAP50"]
        assert line.examples.properties["data_fingerprint"] == summary["images"]["data_fingerprint"]
        assert (line.push.version if line.push else None) == summary["pushed_version"]
        states = [component["status"] for component in summary["components"].values()]
        assert line.cached == states.count("cached")
        executions = [c["execution_id"] for c in summary["components"].values()]
        assert line.run.facts["executions"] == sorted(executions)


def test_trace_of_a_copied_file(notes, tmp_path):
    pushed = Path(notes["warm"]["summary"]["pushed_path"])
    shutil.copy(pushed / "detect.tflite", tmp_path / "phone.tflite")
    found = trace(notes["backend"], str(tmp_path / "phone.tflite"))
    assert [training.run.name for training in found.trainings] == [
        run_id(notes["warm"]), run_id(notes["first"])
    ]  # fmt: skip
    digests = [training.examples[0].properties["data_fingerprint"] for training in found.trainings]
    assert digests == [
        notes[name]["summary"]["images"]["data_fingerprint"] for name in ("data", "first")
    ]
    assert found.trainings[0].settings["training"]["seed"] == 8
    assert found.trainings[0].examples[0].properties["num_set_aside"] == 1


def test_impact_of_a_withdrawn_image(notes):
    """It was in the data until the run `data`; the run `warm` began from a model that saw it."""
    image = f"{small_runs.REMOVED}.png"
    for name, note in notes.items():
        if name not in ("backend", "seen"):
            assert (image in note["images"]) == (name in ("first", "again", "setting", "code"))
    found = impact(notes["backend"], image)
    ways = {touched.training.run.name: touched.how for touched in found.touched}
    assert ways == {
        run_id(notes["first"]): "trained",
        run_id(notes["setting"]): "trained",
        run_id(notes["warm"]): "inherited",
    }
    latest = [p.destination for t in found.touched for f in t.training.fates
              for p in f.pushes if p.is_latest]  # fmt: skip
    assert latest == [notes["refused"]["latest"]] == [notes["warm"]["summary"]["pushed_path"]]


def test_an_image_that_was_set_aside_touched_nothing(notes):
    found = impact(notes["backend"], f"{small_runs.BROKEN}.png")
    assert [sighting.split for sighting in found.sightings] == ["set_aside"]
    assert found.touched == []


def test_diff_of_data(notes):
    found = diff(notes["backend"], run_id(notes["code"]), run_id(notes["data"]))
    assert found.data.added == [small_runs.ADDED]
    assert found.data.removed == [small_runs.REMOVED]
    assert [key for key, _ in found.data.changed] == [small_runs.CHANGED]
    assert found.settings == found.code == found.environment == []


def test_diff_of_a_setting_and_of_code(notes):
    backend, setting = notes["backend"], run_id(notes["setting"])
    found = diff(backend, run_id(notes["first"]), setting)
    assert [tuple(change) for change in found.settings] == [("training.seed", 1, 7)]
    assert found.data.to_json()["same"]
    found = diff(backend, setting, run_id(notes["code"]))
    assert [change.name for change in found.code] == ["pipeline/shipping/device_check.py"]


def test_the_statement_of_a_pushed_file(notes):
    note = notes["warm"]
    found = trace(notes["backend"], note["summary"]["pushed_path"])
    statement = check_statement(export(found, "in-toto"))
    assert statement["subject"][0]["digest"]["sha256"] == note["pushed_files"]["detect.tflite"]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["settings"]["training"]["seed"] == 8
    fingerprints = {
        dependency["digest"].get("dataFingerprint")
        for dependency in definition["resolvedDependencies"]
    }
    assert fingerprints - {None} == {
        notes[name]["summary"]["images"]["data_fingerprint"] for name in ("data", "first")
    }
    names = {dependency["name"] for dependency in definition["resolvedDependencies"]}
    assert {"Schema", "Model", "pipeline/shipping/device_check.py"} <= names
    details = statement["predicate"]["runDetails"]
    assert details["metadata"]["invocationId"] == run_id(note)
    assert details["builder"]["version"]["tfx"]
    # The runs used a copy of the code, without its repository.
    assert "source" not in names
    origin = found.trainings[0].origin
    assert (origin["commit"], origin["dirty"]) == ("not in git", None)
    assert definition["internalParameters"]["host"] == origin["host"] == socket.gethostname()
    assert definition["internalParameters"]["user"] == origin["user"] == getpass.getuser()


def test_a_file_of_a_cached_training_has_the_run_that_made_it(notes):
    backend, note = notes["backend"], notes["rewritten"]
    found = trace(backend, run_id(note))
    assert found.trainings[0].run.name == run_id(notes["data"])
    (file,) = found.trainings[0].fates
    assert file.run.name == run_id(note)
    assert (file.blessed, file.pushes) == (False, [])
    assert file.metrics["mAP50"] == note["summary"]["metrics"]["mAP50"]
    predicate = check_statement(export(found, "in-toto"))["predicate"]
    assert predicate["runDetails"]["metadata"]["invocationId"] == run_id(note)
    settings = predicate["buildDefinition"]["externalParameters"]["settings"]
    assert settings["rewriter"]["num_images"] == 3
    assert diff(backend, run_id(notes["refused"]), run_id(note)).to_json()["settings"] == {
        "rewriter.num_images": [2, 3]
    }


def test_why(notes):
    backend = notes["backend"]
    again = why(backend, run_id(notes["again"]))
    assert {r.execution.node for r in again.reruns if r.execution.state != "cached"} == {
        "LatestBlessedModel"
    }
    reasons = {r.execution.node: r for r in why(backend, run_id(notes["setting"])).reruns}
    assert "custom_config.settings.training.seed: 1 -> 7" in reasons["Trainer"].reason
    reasons = {r.execution.node: r for r in why(backend, run_id(notes["code"])).reruns}
    assert reasons["DeviceCheck"].reason == "its code changed (pipeline/shipping/device_check.py)"
    refused = why(backend, run_id(notes["refused"]))
    gate = notes["refused"]["summary"]["gate"]
    assert refused.fate.judgement.evaluation["thresholds"] == gate["thresholds"]
    assert refused.to_json()["baseline_metrics"] == gate["baseline_metrics"] is not None
    assert "Evaluator did not bless" in refused.decision


def test_no_file_of_the_runs_holds_the_password(notes):
    workdir = Path(notes["first"]["summary"]["pushed_path"]).parents[1]
    files = [path for path in workdir.rglob("*") if path.is_file()]
    assert any(path.name == "run.log" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_verify_notices_a_changed_and_a_missing_file(notes):
    """Runs last: it damages the files."""
    backend = notes["backend"]
    assert verify(backend, run_id(notes["data"])).is_sound
    pushed = Path(notes["data"]["summary"]["pushed_path"])
    (pushed / "detect.tflite").write_bytes(b"another")
    (pushed / "labels.txt").unlink()
    problems = {
        Path(finding.path).name: finding.problem
        for finding in verify(backend, notes["data"]["summary"]["model"]).findings
    }
    assert problems == {}  # the model itself is what it was
    pushed_model = next(
        line.push.artifact.id for line in runs(backend) if line.run.name == run_id(notes["data"])
    )
    problems = {
        Path(finding.path).name: finding.problem
        for finding in verify(backend, f"artifact:{pushed_model}").findings
    }
    assert problems == {"detect.tflite": "changed", "labels.txt": "missing"}
    assert problems_in(backend, pushed) == problems


def problems_in(backend, folder):
    """What is wrong in a pushed folder or a copy of one."""
    findings = verify(backend, str(folder)).findings
    return {Path(f.path).name: f.problem for f in findings if Path(f.path).parent == folder}


def test_verify_checks_the_folder_that_is_given(notes, tmp_path):
    pushed = Path(notes["warm"]["summary"]["pushed_path"])
    copy = tmp_path.resolve() / "copy"
    shutil.copytree(pushed, copy)
    backend = notes["backend"]
    assert problems_in(backend, pushed) == problems_in(backend, copy) == {}
    (copy / "labels.txt").write_text("dog\n")
    assert problems_in(backend, copy) == {"labels.txt": "changed"}
    (copy / "detect.tflite").write_bytes(b"another")
    assert problems_in(backend, copy) == {"labels.txt": "changed", "detect.tflite": "changed"}
    assert problems_in(backend, pushed) == {}
