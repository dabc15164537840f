import re

import pytest

from pipeline.config import PipelineConfig
from pipeline.data.name import name_of_data
from pipeline.settings import DataSettings


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"path": "/data/pets3"}, "pets3"),
        ({"path": "/data/pets3/"}, "pets3"),
        ({"path": "gs://bucket/Pets_3"}, "pets-3"),
        ({"path": "/data/My Bees (2024) v1.2"}, "my-bees-2024-v1-2"),
        ({"path": "/data/grün"}, "grun"),
        ({"path": "/data/bees-{SPAN}"}, "data"),
        ({"path": "/data/pets_examples.record", "format": "tfrecord"}, "pets-examples"),
        ({"path": "/data/bees/*.record", "format": "tfrecord"}, "bees"),
        ({"path": "/data/bees/part-?.record.gz", "format": "tfrecord"}, "bees"),
        ({"train": "/data/bees/train", "eval": "/data/bees/test"}, "bees"),
        ({"train": "/data/bees_train", "eval": "/data/bees_eval"}, "bees"),
        ({"train": "/a/bees", "eval": "/b/bees"}, "bees"),
        ({"path": "/data/bees", "train": "train.txt", "eval": "eval.txt"}, "bees"),
        (
            {"train": "/b/bees/t-*.record", "eval": "/b/bees/e-*.record", "format": "tfrecord"},
            "bees",
        ),
        ({"path": "/data/" + "x" * 80}, "x" * 50),
    ],
)
def test_a_data_set_names_its_pipeline(data, name):
    assert name_of_data(DataSettings(**data)) == name
    assert PipelineConfig(name=name)


def test_a_relative_path_is_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "bees").mkdir()
    monkeypatch.chdir(tmp_path / "bees")
    assert name_of_data(DataSettings(path=".")) == "bees"


def test_other_scripts_are_told_apart():
    names = {name_of_data(DataSettings(path=f"/data/{name}")) for name in ("蜜蜂", "猫")}
    assert len(names) == 2
    assert all(re.fullmatch(r"data-[0-9a-f]{8}", name) for name in names)
