"""The command: files without a store; `tests/test_end_to_end.py` has one of a recorded run."""

import json
from pathlib import Path

import pytest
from PIL import Image

from models.labels import format_labels
from models.tflite.description import describe_detector
from models.tflite.raw import without_post_processing
from pipeline.benchmark.__main__ import main
from pipeline.shipping.folder_publisher import FolderPublisher
from tests.models.tflite.test_raw import ANCHORS, SETTINGS
from tests.pipeline.benchmark.test_phone import Adb
from tests.pipeline.data_samples import VocFolder
from tests.pipeline.tiny_detector import LABELS


@pytest.fixture(autouse=True)
def no_phone(tmp_path, monkeypatch):
    """Whatever is connected to this machine."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pushed(tmp_path, int8_model):
    raw = describe_detector(
        without_post_processing(int8_model), LABELS, "pets", "", "1", {}, 0.5,
        raw=(ANCHORS, SETTINGS),
    )  # fmt: skip
    labels = format_labels(LABELS).encode()
    files = {"detect.tflite": int8_model, "labels.txt": labels, "detect_raw.tflite": raw}
    FolderPublisher(str(tmp_path / "pushed")).publish(files, {})
    return tmp_path / "pushed"


@pytest.fixture
def images(tmp_path):
    return VocFolder(tmp_path / "images").fill(3).root


def run(*arguments):
    code = main([*map(str, arguments), "--runs", "3"])
    return code, json.loads(Path("benchmark/benchmark.json").read_text())


def test_files_are_compared_in_all_forms_and_configurations(
    pushed, images, float_model, tmp_path, capsys
):
    other = tmp_path / "other.tflite"
    other.write_bytes(float_model)
    code, found = run("pushed/", "other.tflite", "--images", images)
    assert code == 0
    assert [(file["model"], file["form"]) for file in found["files"]] == [
        ("pushed", "int8"), ("pushed", "int8 raw"), ("other.tflite", "float32"),
    ]  # fmt: skip
    for file in found["files"]:
        where = [(at["xnnpack"], at["threads"]) for at in file["latency"]]
        assert where == [(True, 1), (True, 2), (False, 1), (False, 2)]
        assert all(0 < at["median_ms"] <= at["p90_ms"] for at in file["latency"])
        assert file["multiply_adds"] > 0
        assert 0 <= file["mAP"] <= file["mAP50"]
    int8, raw, float32 = found["files"]
    assert int8["size_bytes"] == (pushed / "1" / "detect.tflite").stat().st_size
    assert [at["times_first"] for at in int8["latency"]] == [1, 1, 1, 1]
    for first, at in zip(int8["latency"], float32["latency"], strict=True):
        assert at["times_first"] == pytest.approx(at["median_ms"] / first["median_ms"], rel=0.01)
    assert raw["mAP"] == pytest.approx(int8["mAP"], abs=0.002)
    assert found["phone"] is None
    assert found["pictures"].startswith("3 images in ")
    with Image.open("benchmark/benchmark.png") as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 1000
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line for line in lines if line in ("pushed", "other.tflite")] == [
        "pushed", "other.tflite",
    ]  # fmt: skip
    assert len([line for line in lines if line.startswith("  ")]) == 13  # with the headings
    assert "note: of pushed, only the forms that lie there are measured: " in said.err


def test_labels_may_be_given_and_without_any_there_is_no_map(int8_model, images, tmp_path, capsys):
    bare = int8_model[: int8_model.index(b"PK\3\4")]  # without the files packed behind it
    (tmp_path / "bare.tflite").write_bytes(bare)
    (tmp_path / "names.txt").write_text("cat\ndog\nrabbit\n")
    code, found = run("bare.tflite", "bare.tflite=names.txt", "--images", images)
    assert code == 0
    assert [file["model"] for file in found["files"]] == ["bare.tflite"] * 2
    unknown, known = found["files"]
    assert unknown["mAP50"] is None
    assert known["mAP50"] is not None
    assert "no labels for the 3 classes of bare.tflite, hence no mAP" in capsys.readouterr().err


def test_a_phone_is_measured_too(pushed, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    adb = Adb(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    code, found = run(pushed)
    assert code == 0
    assert found["phone"]["name"] == "Pixel 2"
    assert [file["form"] for file in found["phone"]["files"]] == ["int8", "int8 raw"]
    pushes = [words[3] for words in adb.asked if "push" in words]
    folder = str((pushed / "1").resolve())
    assert pushes == [f"{folder}/detect.tflite", f"{folder}/detect_raw.tflite"]
    assert "On Pixel 2, by TensorFlow's benchmark_model with noise:" in capsys.readouterr().out


def test_a_phone_that_fails_costs_nothing_else(pushed, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    Adb(tmp_path / "bin").answer(ls="FAILED: device offline")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    code, found = run(pushed)
    assert code == 0
    assert found["phone"] is None
    assert "device offline" in capsys.readouterr().err


def test_a_withdrawn_version_is_measured_with_a_warning(pushed, capsys):
    FolderPublisher(str(pushed)).withdraw("1", "wrong labels", "2026-11-28")
    assert run(pushed / "1")[0] == 0
    assert "WARNING" in (said := capsys.readouterr().err)
    assert "was withdrawn at 2026-11-28: wrong labels" in said


def error_of(*arguments, capsys) -> str:
    assert main(list(map(str, arguments))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_bad_input_is_one_line_and_nothing_is_written(pushed, images, tmp_path, capsys):
    whole = (pushed / "1" / "detect.tflite").read_bytes()
    (tmp_path / "truncated.tflite").write_bytes(whole[:5000])
    (tmp_path / "foreign.tflite").write_text("a text")
    (tmp_path / "two.txt").write_text("cat\ndog\nrabbit\nfox\nowl\n")
    (tmp_path / "unlabelled").mkdir()
    for arguments, message in (
        (["absent.tflite"], "error: Expected a pushed model"),
        (["truncated.tflite"], "error: Expected a whole TFLite file. Received: "),
        (["foreign.tflite"], "error: Expected a TFLite file, with b'TFL3' at byte 4. Received: "),
        (["pushed=two.txt"], "error: Expected labels for 3 classes"),
        (["pushed=absent.txt"], "error: Expected a file of labels behind pushed=."),
        (["pushed", "--images", "unlabelled"], "error: Expected labelled images in "),
        (["pushed", "--images", "absent"], "error: Expected "),
        (["pushed", "--class-from", "filename"], "error: Expected --class-from together with"),
        (["pushed", "--runs", "0"], "error: Expected --runs to be at least 1. Received: 0."),
        (["pushed", "--out", "two.txt"], "error: Expected --out to be a folder"),
    ):
        assert error_of(*arguments, capsys=capsys).startswith(message), arguments
    assert not (tmp_path / "benchmark" / "benchmark.json").exists()
