"""The local runner's whole pipeline on PostgreSQL, and every verb about that run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.lineage.__main__ import main
from tests.pipeline.lineage import small_runs
from tests.pipeline.lineage.statements import check_statement
from tests.pipeline.metadata.servers import PASSWORD, postgresql

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The URL of the store, the notes of the run, and all that the run printed."""
    folder = tmp_path_factory.mktemp("postgresql_run")
    file = folder / "notes.json"
    with postgresql() as url:
        command = [sys.executable, small_runs.__file__, _ROOT, folder, url, file, "first"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        yield url, json.loads(file.read_text())["first"], run.stdout + run.stderr


def answer(capfd, url: str, *arguments: str) -> str:
    assert main([*arguments, "--metadata", url]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert PASSWORD not in captured.out
    return captured.out


def test_every_verb_about_a_run_on_postgresql(done, capfd):
    url, note, _ = done
    summary = note["summary"]
    run, pushed = summary["run_id"], summary["pushed_path"]
    (line,) = json.loads(answer(capfd, url, "runs", "--json"))
    assert (line["run"], line["state"]) == (run, "pushed")
    assert line["executions"] == len(summary["components"])
    training = json.loads(answer(capfd, url, "trace", pushed, "--json"))["trainings"][0]
    fingerprint = summary["images"]["data_fingerprint"]
    assert training["data"][0]["data_fingerprint"] == fingerprint
    touched = json.loads(answer(capfd, url, "impact", f"{small_runs.REMOVED}.png", "--json"))
    assert [push["destination"] for push in touched["latest"]] == [pushed]
    assert json.loads(answer(capfd, url, "diff", run, pushed, "--json"))["settings"] == {}
    assert "pushed as version 1" in answer(capfd, url, "why", run)
    assert "PushedModel" in answer(capfd, url, "graph", run, "--format", "html")
    assert json.loads(answer(capfd, url, "verify", run, "--json"))["sound"]
    events = answer(capfd, url, "export", run).splitlines()
    assert len(events) == 2 * len(summary["components"])
    check_statement(answer(capfd, url, "export", pushed, "--format", "in-toto"))


def test_the_password_is_in_nothing_that_the_run_left(done):
    _, note, output = done
    assert PASSWORD not in output
    workdir = Path(note["summary"]["pushed_path"]).parents[1]
    texts = [path for path in workdir.rglob("*") if path.is_file()]
    assert texts
    assert not [path for path in texts if PASSWORD.encode() in path.read_bytes()]
