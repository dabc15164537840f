import pytest

from pipeline.data.paths import check_data_paths
from pipeline.errors import UserError
from pipeline.settings import DataSettings


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pets/images", "pets/annotations/xmls", "half/images", "own/a", "own/b"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("shard-0.record", "ids.txt"):
        (tmp_path / name).write_text("x")


@pytest.mark.parametrize(
    "data",
    [
        {"path": "pets"},
        {"path": "pets", "train": "ids.txt", "eval": "ids.txt"},
        {"train": "pets", "eval": "pets"},
        {"path": "own", "images": "a", "annotations": "b"},
        {"path": "own", "images": "a-{SPAN}", "annotations": "b-{SPAN}"},
        {"path": "shard-0.record", "format": "tfrecord"},
        {"path": "shard-*", "format": "tfrecord"},
        {"path": "days/{SPAN}/*", "format": "tfrecord"},
        {"path": "gs://bucket/pets"},
        {},
    ],
)
def test_what_is_there_or_can_not_be_asked_passes(root, data):
    check_data_paths(DataSettings(**data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "nowhere"}, "Pascal VOC layout.*nowhere, which is no folder"),
        ({"path": "shard-0.record"}, "which is no folder.*--format tfrecord"),
        ({"path": "half"}, "annotations in annotations/xmls/ or Annotations/ of half"),
        ({"train": "pets", "eval": "nowhere"}, "nowhere, which is no folder"),
        ({"path": "pets", "train": "ids.txt", "eval": "lost.txt"}, "image ids.*lost.txt"),
        ({"path": "own", "images": "a", "annotations": "c"}, "a folder. Received: own/c"),
        ({"path": "lost-*", "format": "tfrecord"}, "TFRecord files at lost-\\*. Received: none"),
        ({"path": "lost.record", "format": "tfrecord"}, "TFRecord files at lost.record"),
    ],
)
def test_what_is_not_there_is_named(root, data, message):
    with pytest.raises(UserError, match=message):
        check_data_paths(DataSettings(**data))
