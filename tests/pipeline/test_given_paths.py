import pytest

from pipeline import presets
from pipeline.config import DataSettings, override
from pipeline.errors import UserError
from pipeline.given_paths import require_data, require_local_paths, require_weights


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
