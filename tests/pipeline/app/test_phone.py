"""What is written for Google's sample apps."""

import json
import re

import pytest

from models.tflite.description import describe_detector
from models.tflite.raw import without_post_processing
from models.tflite_metadata import pack_files
from pipeline.app.__main__ import main
from pipeline.app.phone import COMMIT, MODEL_PLACES
from pipeline.files import sha256_of
from tests.models.tflite.test_raw import ANCHORS, SETTINGS
from tests.pipeline.tiny_detector import LABELS


@pytest.fixture
def described(tmp_path, int8_model):
    """A detector's folder, with metadata in the file."""
    folder = tmp_path / "pushed"
    folder.mkdir()
    content = describe_detector(
        int8_model, LABELS, "pets", "Finds pets.", "1", {"score_threshold": 0.4375}, 0.4375
    )
    (folder / "detect.tflite").write_bytes(content)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    return folder


def test_the_detector_lies_where_the_samples_expect_theirs(described, tmp_path, capsys):
    out = tmp_path / "apps"
    assert main(["android", str(out), str(described)]) == 0
    assert "README.md" in capsys.readouterr().out
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {*MODEL_PLACES.values(), "README.md"}
    digest = sha256_of(described / "detect.tflite")
    assert {sha256_of(out / place) for place in MODEL_PLACES.values()} == {digest}
    text = (out / "README.md").read_text()
    said = ("# pets in Google's", COMMIT, "2026-11-28", digest, "0.44 is recommended")
    for part in (*said, *MODEL_PLACES.values()):
        assert part in text
    assert not re.search(r"\$\w", text)


def test_a_form_without_the_four_outputs_is_refused(
    runtime, described, tmp_path, int8_model, capsys
):
    raw = describe_detector(
        without_post_processing(int8_model), LABELS, "pets", "", "1", {}, 0.5,
        raw=(ANCHORS, SETTINGS),
    )  # fmt: skip
    (described / "detect_raw.tflite").write_bytes(raw)
    out = tmp_path / "apps"
    for command in ("android", "build"):
        assert main([command, str(out), str(described / "detect_raw.tflite")]) == 2
        assert "detect_raw.tflite, which has 2. Name the detect.tflite" in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize("provenance", [b"{", b"[]", b'{"score_threshold": "high"}'])
def test_provenance_of_nonsense_is_named(tmp_path, described, provenance, capsys):
    path = described / "detect.tflite"
    content = path.read_bytes()
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    archive = pack_files({"labels.txt": labels, "provenance.json": provenance})
    path.write_bytes(content[: content.index(b"PK\3\4")] + archive)
    assert main(["android", str(tmp_path / "apps"), str(described)]) == 2
    error = capsys.readouterr().err
    assert f"Expected provenance.json with a recommended score in {path}" in error
    assert error.count("\n") == 1


def test_a_detector_without_metadata_is_refused(empty_model, tmp_path, capsys):
    assert main(["android", str(tmp_path / "apps"), str(empty_model)]) == 2
    assert "without which MediaPipe refuses it" in capsys.readouterr().err
    assert not (tmp_path / "apps").exists()


def test_the_page_has_the_name_and_the_threshold_that_the_file_gives(
    runtime, described, tmp_path, capsys
):
    assert main(["build", str(tmp_path / "site"), str(described)]) == 0
    assert json.loads((tmp_path / "site" / "model.json").read_text())["name"] == "pets"
