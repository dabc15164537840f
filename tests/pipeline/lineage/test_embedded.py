"""`trace` of a copy of a file, without a store that knows it."""

import json

import pytest

from pipeline.lineage.__main__ import main
from tests.pipeline.lineage.test_json_shapes import SHAPES, check
from tests.pipeline.tiny_detector import LABELS


def ask(capfd, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capfd.readouterr()
    return code, out, err


@pytest.fixture
def copy(tmp_path, int8_model):
    """A copy of a pushed file, on a machine without a store."""
    path = tmp_path / "somewhere.tflite"
    path.write_bytes(int8_model)
    return path


def test_a_file_tells_what_made_it_without_a_store(tmp_path, capfd, copy):
    code, out, err = ask(capfd, "trace", str(copy), "--workdir", str(tmp_path))
    assert code == 0
    for told in ("pets", *LABELS, "da7a" * 16, "mAP50 0.9000", "score_threshold  0.2500"):
        assert told in out
    assert err.startswith("note: that is what the file says of itself. ")
    assert len(err.splitlines()) == 1


def test_a_file_tells_what_made_it_where_the_store_does_not_know_it(sqlite_filled, capfd, copy):
    arguments = ("trace", str(copy), "--json", "--metadata", sqlite_filled.location)
    code, out, err = ask(capfd, *arguments)
    told = json.loads(out)
    assert code == 0
    assert told["classes"] == list(LABELS)
    assert told["provenance"]["fingerprints"]["code"] == "c0de" * 16
    assert "not found in" in err
    check(told, SHAPES["embedded"], "embedded", set())


def test_the_file_in_a_pushed_folder_tells_the_same(tmp_path, capfd, copy):
    copy.rename(tmp_path / "detect.tflite")
    code, out, _ = ask(capfd, "trace", str(tmp_path), "--workdir", str(tmp_path))
    assert code == 0
    assert "da7a" * 16 in out


@pytest.mark.parametrize("damage", ["cut", "foreign", "nonsense", "none"])
def test_a_file_that_tells_nothing_is_one_line(tmp_path, capfd, copy, int8_model, damage):
    start = int8_model.index(b"M001")
    content = {
        "cut": int8_model[: len(int8_model) // 2],
        "foreign": b"\x1c\x00\x00\x00GGUF" + int8_model[8:],
        "nonsense": int8_model[: start + 4] + b"\xff" * 200 + int8_model[start + 204 :],
        "none": int8_model.replace(b"TFLITE_METADATA", b"SOMETHING_ELSE!"),
    }[damage]
    copy.write_bytes(content)
    code, out, err = ask(capfd, "trace", str(copy), "--workdir", str(tmp_path))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    told = {
        "cut": "truncated or damaged",
        "foreign": "Expected a .tflite file",
        "nonsense": "Expected TFLite metadata in",
        "none": "Expected a metadata store",
    }[damage]
    assert told in err
