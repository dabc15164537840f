import random

import pytest
import tensorflow as tf

from pipeline.data import staging
from pipeline.data.staging import StagingFile, plan_shards, shard_name, write_shard

RECORDS = [bytes([number]) * number for number in range(40)]


@pytest.fixture
def places(tmp_path):
    """Of the records, which are in several files, in another order."""
    files = [StagingFile(str(tmp_path / "staging")) for _ in range(3)]
    numbers = list(range(len(RECORDS)))
    random.Random(1).shuffle(numbers)
    found = {number: files[number % 3].append(RECORDS[number]) for number in numbers}
    for file in files:
        file.close()
    return [found[number] for number in range(len(RECORDS))]


def read(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_a_shard_has_its_records_in_their_order(places, tmp_path):
    [shard] = plan_shards(str(tmp_path / "out"), "data", places)
    for _ in range(2):  # a worker may be asked twice
        write_shard(shard)
        assert read(tmp_path / "out" / "data-00000-of-00001") == RECORDS


def test_shards_end_when_they_are_large(places, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "_SHARD_BYTES", 300)
    shards = plan_shards(str(tmp_path / "out"), "data", places)
    assert len(shards) > 3
    for number, shard in enumerate(shards):
        write_shard(shard)
        assert shard.path.endswith(shard_name("data", number, len(shards)))
        sizes = [place.length for place in shard.places]
        assert sum(sizes[:-1]) < 300
        assert sum(sizes) >= 300 or number == len(shards) - 1
    assert [record for shard in shards for record in read(shard.path)] == RECORDS


def test_no_records_are_one_empty_file(tmp_path):
    [shard] = plan_shards(str(tmp_path / "out"), "data", [])
    write_shard(shard)
    assert read(shard.path) == []
