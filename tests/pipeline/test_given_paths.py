import os

import pytest

from pipeline import presets
from pipeline.config import DataSettings, WarmStart, override
from pipeline.errors import UserError
from pipeline.given_paths import (
    require_data,
    require_local_paths,
    require_weights,
    with_content,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a data set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()


@pytest.mark.parametrize(
    "data",
    [
        {"path": "pets"},
        {"path": "pets", "train": "ids.txt", "eval": "ids.txt"},
        {"path": "shard-*", "format": "tfrecord"},
        {"path": "days/{SPAN}/*", "format": "tfrecord"},
        {"path": "gs://bucket/pets"},
        {},
    ],
)
def test_data_that_exists_or_cannot_be_looked_up_passes(tmp_path, data):
    for name in ("shard-0.record", "ids.txt"):
        (tmp_path / name).write_text("x")
    require_data(DataSettings(**data))


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ({"path": "nowhere"}, "nowhere"),
        ({"path": "pets", "train": "lost.txt", "eval": "lost.txt"}, r"lost\.txt"),
        ({"path": "lost-*", "format": "tfrecord"}, r"lost-\*"),
    ],
)
def test_data_that_does_not_exist_is_named(data, missing):
    with pytest.raises(UserError, match=f"There is no data at {missing}"):
        require_data(DataSettings(**data))


def test_paths_that_exist_elsewhere_or_beside_the_code_pass():
    elsewhere = {"data.path": "gs://bucket/pets", "warm_start.weights": "gs://bucket/w.tflite"}
    require_local_paths(override(presets.load("demo"), {"schema_dir": "schema/demo", **elsewhere}))
    require_local_paths(override(presets.load("demo"), {"warm_start.weights": "imagenet"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.path", "There is no data at nowhere"),
        ("schema_dir", "Expected --schema to be a folder with a schema.pbtxt. Received: nowhere"),
        ("warm_start.weights", "Expected --warm-start .* Received: nowhere, which does not exist"),
    ],
)
def test_each_mistyped_path_is_named(name, message):
    with pytest.raises(UserError, match=message):
        require_local_paths(override(presets.load("demo"), {name: "nowhere"}))


def test_an_empty_folder_holds_no_weights():
    """As a Trainer that failed leaves it."""
    with pytest.raises(UserError, match="Received: pets, which is empty"):
        require_weights("pets")


@pytest.mark.parametrize("name", ["x.tflite", "x.h5", "x.keras"])
def test_a_folder_is_no_weights_file(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").touch()
    with pytest.raises(UserError, match=f"Received: {name}, which is a folder"):
        require_weights(name)


def test_a_pipe_or_a_device_is_not_read(tmp_path):
    """Neither might ever end."""
    os.mkfifo(tmp_path / "pipe.tflite")
    (tmp_path / "zero.tflite").symlink_to("/dev/zero")
    for name in ("pipe.tflite", "zero.tflite"):
        with pytest.raises(UserError, match=f"Received: {name}, which is no regular file"):
            require_weights(name)


@pytest.mark.parametrize("scheme", ["gcs", "http", "GS"])
def test_a_scheme_that_nothing_can_read_is_one_line(scheme):
    with pytest.raises(UserError, match=f"Received: {scheme}://b/w.tflite, which can't be read"):
        require_weights(f"{scheme}://b/w.tflite")


def test_labels_beside_the_weights_count_by_their_content(tmp_path):
    (tmp_path / "w.tflite").write_bytes(b"weights")
    warm_start = WarmStart(weights="w.tflite")
    without = with_content(warm_start)
    assert without["warm_start.labels_sha256"] == ""
    (tmp_path / "w_labels.txt").write_text("cat\n")
    first = with_content(warm_start)
    (tmp_path / "w_labels.txt").write_text("dog\n")
    second = with_content(warm_start)
    hashes = [found["warm_start.labels_sha256"] for found in (without, first, second)]
    assert len(set(hashes)) == 3
    assert len({found["warm_start.sha256"] for found in (without, first, second)}) == 1
    given = with_content(WarmStart(weights="w.tflite", labels="w_labels.txt"))
    assert given["warm_start.labels"] == str(tmp_path / "w_labels.txt")
    assert given["warm_start.labels_sha256"] == hashes[2]
    with pytest.raises(UserError, match=r"Expected warm_start\.labels to exist\. Received: gone"):
        with_content(WarmStart(weights="w.tflite", labels="gone.txt"))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"weights": "", "class_heads": "fresh"}, "random weights"),
        ({"weights": "imagenet", "labels": "l.txt"}, "ImageNet weights"),
        ({"weights": "w.h5", "load_all_detection_checkpoint_vars": False}, "keras"),
        ({"weights": "w.tflite", "fine_tune_checkpoint_type": "classification"}, "a .tflite file"),
        ({"weights": "pets", "class_heads": "by_name"}, "an earlier run's model"),
    ],
)
def test_a_setting_without_effect_is_refused(tmp_path, settings, kind):
    for name in ("w.h5", "w.tflite", "pets/saved"):
        (tmp_path / name).touch()
    (changed,) = settings.keys() - {"weights"}
    with pytest.raises(UserError, match=f"warm_start.{changed} has no effect .*{kind}.*default"):
        with_content(WarmStart(**settings))
    assert with_content(WarmStart(weights="imagenet")) == {}
