import hashlib
import json

import pytest

from pipeline import presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.local import run as local_run
from pipeline.local.workdir import Workdir

OWN = override(presets.load("small_data_cpu"), {"data.path": "pets"})


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A work directory beside the folders of a data set."""
    monkeypatch.chdir(tmp_path)
    for name in ("images", "annotations/xmls"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    return Workdir("work")


def test_locations_are_filled_in_and_absolute(places, tmp_path):
    config = local_run._complete(OWN, places)
    assert config.data.path == str(tmp_path / "pets")
    assert config.push.destination == str(tmp_path / "work" / "pushed")
    assert config.execution.pipeline_root == str(tmp_path / "work" / "pipeline_root")
    assert config.execution.beam_args
    config = local_run._complete(override(OWN, {"push.destination": "out"}), places)
    assert config.push.destination == str(tmp_path / "out")


def test_a_bucket_is_no_path(places):
    urls = {"push.destination": "gs://bucket/pushed", "data.path": "gs://bucket/data"}
    config = local_run._complete(override(OWN, urls), places)
    assert {name: config.flat()[name] for name in urls} == urls


def test_a_place_that_nothing_can_be_pushed_to_is_found_before_training(places, tmp_path):
    (tmp_path / "file").write_text("")
    config = override(OWN, {"push.destination": "file/pushed"})
    with pytest.raises(UserError, match=r"--push-to .*file/pushed, where .*file is no folder"):
        local_run._complete(config, places)


def test_the_schemas_of_presets_are_found_from_anywhere(places, tmp_path):
    named = override(OWN, {"schema_dir": "schema/demo"})
    assert local_run._complete(named, places).schema_dir == str(ROOT / "schema" / "demo")
    (tmp_path / "schema" / "demo").mkdir(parents=True)
    (tmp_path / "schema" / "demo" / "schema.pbtxt").write_text("")
    assert local_run._complete(named, places).schema_dir == str(tmp_path / "schema" / "demo")


def test_the_content_of_a_warm_start_is_part_of_the_configuration(places, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"one")
    config = override(OWN, {"warm_start.weights": "w.h5"})
    first = local_run._complete(config, places).warm_start
    assert first.weights == str(tmp_path / "w.h5")
    (tmp_path / "w.h5").write_bytes(b"two")
    assert local_run._complete(config, places).warm_start.sha256 != first.sha256
    keras = override(OWN, {"warm_start.weights": "imagenet"})
    assert local_run._complete(keras, places).warm_start == keras.warm_start


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
def test_whatever_fails_becomes_one_line(places, tmp_path, monkeypatch, failure, message):
    def fail(*args):
        raise failure

    monkeypatch.setattr(local_run, "_run_dag", fail)
    with pytest.raises(UserError) as error:
        local_run.run_locally(OWN, str(tmp_path / "work"), None)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    run_folder = tmp_path / "work" / "latest_run"
    assert "Traceback" in (run_folder / "run.log").read_text()
    assert '"status": "failed"' in (run_folder / "summary.json").read_text()
    assert '"small_data_cpu"' in (run_folder / "config.json").read_text()


def test_ctrl_c_is_told_apart_and_leaves_the_workdir_free(places, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(local_run, "_run_dag", interrupt)
    with pytest.raises(KeyboardInterrupt):
        local_run.run_locally(OWN, str(tmp_path / "work"), None)
    summary = json.loads((tmp_path / "work" / "latest_run" / "summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", "interrupted")
    with Workdir(str(tmp_path / "work")).lock():
        pass


def test_the_sha256_of_a_warm_start_can_be_asked_for(places, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"one")
    config = override(OWN, {"warm_start.weights": "w.h5", "warm_start.sha256": "5a"})
    with pytest.raises(UserError, match=r"with the sha256 5a .*w\.h5 with 7692c3"):
        local_run._complete(config, places)
    right = hashlib.sha256(b"one").hexdigest()
    config = override(config, {"warm_start.sha256": right})
    assert local_run._complete(config, places).warm_start.sha256 == right
