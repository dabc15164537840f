"""TFLite metadata of anybody's files."""

import contextlib
import random

import pytest

from models.tflite_metadata import (
    NORMALIZATION,
    pack_detector,
    pack_files,
    pack_metadata,
    read_metadata,
    unpack_detector,
)
from tests.pipeline.tiny_detector import LABELS, described, tiny_tflite


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    return tiny_tflite(3, True, str(tmp_path_factory.mktemp("int8")))


def test_a_file_says_what_was_written(content):
    found = read_metadata(content, "the file")
    assert (found.num_inputs, found.num_outputs) == (1, 4)
    assert found.model["name"] == "pets"
    assert found.model["min_parser_version"] == "1.2.0"
    [image] = found.graph["inputs"]
    [unit] = image["process_units"]
    assert unit["options"] == (NORMALIZATION, {"mean": [127.5], "std": [127.5]})
    assert sorted(output["name"] for output in found.graph["outputs"]) == [
        "category",
        "location",
        "number of detections",
        "score",
    ]
    assert found.files["labels.txt"].decode().splitlines() == list(LABELS)


def test_the_same_facts_make_the_same_bytes_and_describing_twice_changes_nothing(content):
    assert described(content, LABELS) == content
    assert len(read_metadata(described(content, ["a", "b", "c"]), "").files) == 2


def test_only_what_is_said_of_a_file_changes(content):
    """Behind the metadata's buffer and the archive, tensors and operators are the same."""
    from models.tflite.graph import read_graph

    one, other = (read_graph(described(content, labels), "") for labels in (LABELS, ["x", "y"]))
    assert one.operators == other.operators
    assert [tensor.name for tensor in one.tensors] == [tensor.name for tensor in other.tensors]
    for tensor, twin in zip(one.tensors, other.tensors, strict=True):
        assert (tensor.values is None) == (twin.values is None)
        assert tensor.values is None or (tensor.values == twin.values).all()


def test_an_unknown_field_is_an_error():
    with pytest.raises(KeyError, match="versoin"):
        pack_metadata({"versoin": "1"})


def test_anchors_survive_a_round_trip():
    anchors = [{"x_center": 0.5, "y_center": 0.25, "width": 1.0, "height": 0.125}]
    options = {"anchors": {"fixed": {"anchors": anchors}}, "decoding": {"num_boxes": 7}}
    found = unpack_detector(pack_detector(options))
    assert found["anchors"] == options["anchors"]
    assert found["decoding"]["num_boxes"] == 7


def test_an_archive_is_the_same_at_any_time():
    assert pack_files({"a": b"1"}) == pack_files({"a": b"1"})


def test_a_file_without_the_files_that_it_names_is_truncated(content):
    with pytest.raises(ValueError, match=r"whole .*the file, .* lacks labels\.txt, prov"):
        read_metadata(described(content, ["a", "b"])[:-9], "the file")


def test_a_damaged_file_is_a_value_error_and_nothing_else(content):
    """Whatever bytes are changed or cut off."""
    rng = random.Random(1)
    beginning = content.index(b"M001")
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            place = rng.choice((rng.randrange(8, 400), beginning + rng.randrange(-4, 800)))
            damaged[place] = rng.randrange(256)
        cut = bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        with contextlib.suppress(ValueError):
            read_metadata(cut, "the file")
