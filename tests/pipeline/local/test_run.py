import json
from types import SimpleNamespace

import pytest
import tfx.v1 as tfx
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline import presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.local import run as local_run
from pipeline.local.workdir import Workdir
from pipeline.metadata import store
from pipeline.metadata.run_record import read_run
from pipeline.recipe import choose_recipe
from tests.pipeline.data_samples import VocFolder


@pytest.fixture
def config(tmp_path):
    """A configuration whose data exists."""
    VocFolder(tmp_path / "pets").fill(1)
    return override(presets.load("small_data_cpu"), {"data.path": str(tmp_path / "pets")})


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (UserError("Expected this. Received: that."), "Expected this. Received: that."),
        (
            RuntimeError("first line\nsecond line"),
            "RuntimeError: first line second line (the trace is in ",
        ),
        (AssertionError(), "AssertionError: AssertionError (the trace is in "),
    ],
)
def test_every_failure_becomes_one_line(config, tmp_path, monkeypatch, failure, message):
    def fail(*args):
        raise failure

    monkeypatch.setattr(local_run, "_compile", fail)
    with pytest.raises(UserError) as error:
        local_run.run_locally(config, str(tmp_path / "work"), None)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    run_folder = tmp_path / "work" / "latest_run"
    assert "Traceback" in (run_folder / "run.log").read_text()
    assert '"status": "failed"' in (run_folder / "summary.json").read_text()
    assert '"small_data_cpu"' in (run_folder / "config.json").read_text()


def test_without_a_preset_the_data_decide(tmp_path, monkeypatch, capsys):
    voc = VocFolder(tmp_path / "cells").fill(3)
    given = {"data.path": str(voc.root)}
    asked = []

    def by_data(**known):
        asked.append(known)
        recipe = choose_recipe(given, cores=2, **known)
        return override(presets.load(recipe.preset), recipe.settings | given), recipe.lines()

    def stop(config, *args):
        raise UserError(f"{config.training.steps} steps")

    monkeypatch.setattr(local_run, "_compile", stop)
    config = override(presets.load("small_data_cpu"), given)
    with pytest.raises(UserError, match="600 steps"):
        local_run.run_locally(config, str(tmp_path / "work"), None, by_data)
    assert asked[0]["num_images"] == 3
    assert {name: len(sizes) for name, sizes in asked[0]["box_sizes"].items()} == {
        "cat": 3,
        "dog": 3,
    }
    said = capsys.readouterr().out
    assert "found: Pascal VOC, 2 classes, 3 images, split by a hash of the image ids\n" in said
    assert "found: no --warm-start: from random weights, a few hundred images make a poor" in said
    assert "chosen: --preset small_data_cpu (family ssd: 0% of 6 obj" in said
    written = json.loads((tmp_path / "work" / "latest_run" / "config.json").read_text())
    assert written["training"]["steps"] == 600


def test_ctrl_c_is_recorded_and_releases_the_workdir(config, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(local_run, "_compile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        local_run.run_locally(config, str(tmp_path / "work"), None)
    summary = json.loads((tmp_path / "work" / "latest_run" / "summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", "interrupted")
    with Workdir(str(tmp_path / "work")).lock():
        pass


class Killed(BaseException):
    """Leaves what SIGKILL leaves: nothing catches it."""


def begin_trainer(compiled, check_ctrl_c, record):
    """Instead of the components: an execution that is still running."""
    location = compiled.deployment_config  # the metadata store's
    opened = store.open_store(store.connection_config(location))
    run = store.find_context(opened, "pipeline_run", compiled.run_id)
    type_id = opened.put_execution_type(mlmd.ExecutionType(name="components.Trainer"))
    execution = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.RUNNING)
    opened.put_execution(execution, [], [run], reuse_context_if_already_exist=True)


@pytest.fixture
def start(config, tmp_path, monkeypatch):
    """Starts a run whose Trainer ends with an exception; returns its folder and executions."""
    metadata = tmp_path / "work" / "metadata.sqlite"

    def compile_(config, connection, run_id):
        return SimpleNamespace(deployment_config=str(metadata), run_id=run_id)

    monkeypatch.setattr(local_run, "_compile", compile_)

    def start(failure):
        def run_components(*args):
            begin_trainer(*args)
            raise failure

        monkeypatch.setattr(local_run, "_run_components", run_components)
        with pytest.raises(type(failure)):
            local_run.run_locally(config, str(tmp_path / "work"), None)
        return (tmp_path / "work" / "latest_run").resolve()

    return start


def trainers(folder):
    """The Trainer in summary.json, and in the store."""
    summary = json.loads((folder / "summary.json").read_text())
    opened = store.open_store(store.connection_config(str(folder.parents[1] / "metadata.sqlite")))
    return summary, read_run(opened, folder.name)["Trainer"]


def test_a_killed_run_leaves_a_summary_and_the_next_run_records_its_failure(start, capsys):
    killed = start(Killed())
    summary, trainer = trainers(killed)
    assert (summary["status"], summary["error"], trainer.state) == ("running", None, "running")
    again = start(Killed())
    summary, trainer = trainers(killed)
    assert summary["status"] == "failed"
    assert summary["error"].startswith("killed")
    assert summary["components"]["Trainer"]["status"] == trainer.state == "failed"
    assert trainer.seconds == 0  # nobody knows
    page = (killed / "report.html").read_text()
    assert "The run failed: killed" in page
    assert "Trainer" in page
    assert f"recorded as failed, as they were killed: {killed.name}\n" in capsys.readouterr().out
    # Other runs are left alone.
    assert trainers(again)[1].state == "running"
    start(Killed())
    assert trainers(again)[1].state == "failed"
    assert killed.name not in capsys.readouterr().out


def test_a_run_that_is_killed_before_its_summary_is_closed_too(start, tmp_path):
    folder = tmp_path / "work" / "runs" / "20200101-000000-000"
    folder.mkdir(parents=True)
    start(Killed())
    assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
    assert "The run failed: killed" in (folder / "report.html").read_text()


def test_ctrl_c_leaves_no_execution_running(start):
    summary, trainer = trainers(start(KeyboardInterrupt()))
    assert summary["error"] == "interrupted"
    assert summary["components"]["Trainer"]["status"] == trainer.state == "failed"


@tfx.dsl.components.component
def Hello(
    greeting: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.String],
) -> None:
    greeting.value = "hello"


def test_components_run_in_their_order_and_stop_between_two(config, tmp_path, monkeypatch, capsys):
    first, second = Hello().with_id("First"), Hello().with_id("Second")
    second.add_upstream_node(first)
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(tmp_path / "m.sqlite")
    )
    pipeline = tfx.dsl.Pipeline(
        "hello", str(tmp_path / "root"), components=[second, first],
        metadata_connection_config=connection,
    )  # fmt: skip
    monkeypatch.setattr("pipeline.pipeline.create_pipeline", lambda *args: pipeline)
    nothing = (lambda: None, dict)
    local_run._run_components(local_run._compile(config, connection, "run-1"), *nothing)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["First", "First:", "Second", "Second:"]
    assert (tmp_path / "root" / "Second" / "greeting" / "2" / "value").read_text() == "hello"

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local_run._run_components(
            local_run._compile(config, connection, "run-2"), stop, *nothing[1:]
        )
    assert "Second" not in capsys.readouterr().out
