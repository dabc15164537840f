import json

import pytest
import tfx.v1 as tfx

from pipeline import presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.local import run as local_run
from pipeline.local.workdir import Workdir
from pipeline.recipe import choose_recipe
from tests.pipeline.data_samples import VocFolder


@pytest.fixture
def config(tmp_path):
    """A configuration whose data exists."""
    (tmp_path / "pets").mkdir()
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
    assert "chosen: --preset small_data_cpu (family ssd: 0% of 6 obj" in capsys.readouterr().out
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
    local_run._run_components(local_run._compile(config, connection, "run-1"), lambda: None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["First", "First:", "Second", "Second:"]
    assert (tmp_path / "root" / "Second" / "greeting" / "2" / "value").read_text() == "hello"

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local_run._run_components(local_run._compile(config, connection, "run-2"), stop)
    assert "Second" not in capsys.readouterr().out
