import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.image import decode_and_resize
from models.labels import format_labels
from models.networks.post_processing import Detections
from models.tflite.description import describe_detector
from models.tflite.detector import TFLiteDetector
from models.tflite.raw import without_post_processing
from pipeline.detect import find_model, find_pictures, main
from pipeline.errors import UserError
from pipeline.shipping.folder_publisher import FolderPublisher
from tests.pipeline.tiny_detector import LABELS, picture


@pytest.fixture
def pushed(tmp_path, int8_model):
    """A folder pushed to, with one version."""
    files = {"detect.tflite": int8_model, "labels.txt": format_labels(LABELS).encode()}
    FolderPublisher(str(tmp_path / "pushed")).publish(files, {})
    return tmp_path / "pushed"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate(("b.jpg", "a.JPG", "c.jpeg")):
        (folder / name).write_bytes(picture(index))
    (folder / "notes.md").write_text("not a picture")
    return folder


def run(*arguments, out) -> tuple[int, dict]:
    code = main([*map(str, arguments), "--out", str(out)])
    return code, json.loads((out / "detections.json").read_text())


def test_every_picture_of_a_folder_is_drawn_and_reported(
    tmp_path, pushed, pictures, int8_model, capsys
):
    out = tmp_path / "out"
    code, report = run(pushed, pictures, "--min-score", "0.5", out=out)
    assert code == 0
    names = [Path(entry["file"]).name for entry in report["pictures"]]
    assert names == ["a.JPG", "b.jpg", "c.jpeg"]
    assert report["labels"] == list(LABELS)
    detector = TFLiteDetector(int8_model)
    for entry in report["pictures"]:
        assert (entry["width"], entry["height"]) == (120, 90)
        with Image.open(out / entry["drawn"]) as drawn:
            assert drawn.size == (120, 90)
        encoded = Path(entry["file"]).read_bytes()
        expected = detector.detect(decode_and_resize(encoded, detector.input_size).numpy())
        kept = expected.scores >= 0.5
        assert len(entry["detections"]) == kept.sum() > 0
        for detection, box, class_id in zip(
            entry["detections"], expected.boxes[kept], expected.class_ids[kept], strict=True
        ):
            assert detection["label"] == LABELS[class_id]
            assert detection["class_id"] == class_id
            np.testing.assert_allclose(detection["box"], box, atol=1e-5)
            np.testing.assert_allclose(detection["box_pixels"], box * ([90, 120] * 2), atol=0.51)
        assert entry["ms"] > 0
    printed = capsys.readouterr().out
    assert "in 3 pictures, 0 not read" in printed
    assert str(out) in printed


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp"])
def test_other_formats_find_what_a_png_does(tmp_path, pushed, suffix):
    shown = Image.open(io.BytesIO(picture(1)))
    for name in ("a.png", f"b{suffix}"):
        shown.save(tmp_path / name, **({"lossless": True} if suffix == ".webp" else {}))
    (tmp_path / "list.txt").write_text(f"a.png\nb{suffix}\n")
    _, report = run(pushed, tmp_path / "list.txt", out=tmp_path / "out")
    png, other = (entry["detections"] for entry in report["pictures"])
    assert png == other != []


def test_pictures_show_the_surest_of_what_shares_a_place(tmp_path, pushed, pictures, monkeypatch):
    boxes = [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.45], [0.1, 0.3, 0.5, 0.7]]
    found = Detections(np.float32(boxes), np.int32([0, 1, 0]), np.float32([0.9, 0.8, 0.7]))
    monkeypatch.setattr(TFLiteDetector, "detect", lambda self, image: found)
    _, report = run(pushed, pictures / "b.jpg", out=tmp_path / "out")
    (entry,) = report["pictures"]
    assert [detection["shown"] for detection in entry["detections"]] == [True, False, True]


def test_a_list_of_frames_keeps_its_order_and_equal_names_apart(tmp_path, pushed, pictures):
    (pictures / "sub").mkdir()
    (pictures / "sub" / "b.jpg").write_bytes(picture(7))
    frames = pictures / "frames.txt"
    frames.write_text("c.jpeg\nb.jpg\n\nsub/b.jpg\na.JPG\n")
    code, report = run(pushed / "latest", frames, out=tmp_path / "out")
    assert code == 0
    drawn = [entry["drawn"] for entry in report["pictures"]]
    assert drawn == ["c.jpg", "b.jpg", "b_2.jpg", "a.jpg"]
    assert all((tmp_path / "out" / name).exists() for name in drawn)


def test_a_bad_picture_is_reported_and_the_others_go_on(tmp_path, pushed, pictures, capsys):
    (pictures / "aa.jpg").write_bytes(picture(1)[:200])
    (pictures / "bb.png").write_text("no picture")
    code, report = run(pushed / "1", pictures, out=tmp_path / "out")
    assert code == 1
    by_name = {Path(entry["file"]).name: entry for entry in report["pictures"]}
    assert {name for name, entry in by_name.items() if "error" in entry} == {"aa.jpg", "bb.png"}
    assert by_name["bb.png"]["error"].startswith("Unknown image file format")
    captured = capsys.readouterr()
    assert "Not read:" in captured.err
    assert "bb.png" in captured.err
    assert "in 3 pictures, 2 not read" in captured.out


def test_a_missing_picture_in_a_list_does_not_stop_the_others(tmp_path, pushed, pictures):
    (tmp_path / "frames.txt").write_text("pictures/b.jpg\npictures/absent.jpg\n")
    code, report = run(pushed, tmp_path / "frames.txt", out=tmp_path / "out")
    assert code == 1
    assert "No such file" in report["pictures"][1]["error"]


def test_a_file_with_labels_beside_it_is_a_model(tmp_path, pushed):
    assert find_model(str(pushed / "1" / "detect.tflite")).labels == LABELS
    assert find_model(str(pushed)).model == (pushed / "1" / "detect.tflite").resolve()


def warnings_of(pushed, pictures, tmp_path, capsys):
    run(pushed, pictures / "b.jpg", out=tmp_path / "out")
    return [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]


def test_a_pushed_version_that_was_changed_is_used_with_a_warning(
    tmp_path, pushed, pictures, int8_model, capsys
):
    assert warnings_of(pushed, pictures, tmp_path, capsys) == []
    labels = pushed / "1" / "labels.txt"
    labels.write_text("rabbit\ndog\ncat\n")
    (warning,) = warnings_of(pushed, pictures, tmp_path, capsys)
    assert f"{labels} is not the file that was pushed" in warning
    (pushed / "1" / "detect.tflite").write_bytes(int8_model + b"changed")
    assert len(warnings_of(pushed, pictures, tmp_path, capsys)) == 2


def test_another_file_in_a_pushed_version_is_warned_about(
    tmp_path, pushed, pictures, int8_model, capsys
):
    other = pushed / "1" / "other.tflite"
    (pushed / "1" / "detect.tflite").rename(other)
    other.write_bytes(int8_model + b"changed")
    (warning,) = warnings_of(other, pictures, tmp_path, capsys)
    assert f"{other} is not the file that was pushed" in warning


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', '{"files": {"labels.txt": 1}}'])
def test_a_damaged_manifest_is_warned_about(tmp_path, pushed, pictures, capsys, content):
    (pushed / "1" / "manifest.json").write_text(content)
    (warning,) = warnings_of(pushed, pictures, tmp_path, capsys)
    assert "manifest.json is damaged" in warning


def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path, pushed, pictures):
    os.mkfifo(pictures / "pipe.jpg")
    code, report = run(pushed, pictures, out=tmp_path / "out")
    assert code == 1
    (failed,) = [entry for entry in report["pictures"] if "error" in entry]
    assert failed["file"].endswith("pipe.jpg")
    assert "a pipe or a device" in failed["error"]


def test_a_path_without_a_model_or_a_picture_is_an_error(tmp_path, pushed, pictures):
    with pytest.raises(UserError, match="Expected a pushed model"):
        find_model(str(tmp_path / "absent"))
    (pushed / "1" / "labels.txt").unlink()
    with pytest.raises(UserError, match="class names"):
        find_model(str(pushed))
    (tmp_path / "empty").mkdir()
    for path in ("absent.jpg", "empty"):
        with pytest.raises(UserError, match="Expected a picture"):
            find_pictures(str(tmp_path / path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--min-score", "1.5"], "--min-score from 0 to 1"),
        (["--out", "pictures"], "another folder"),
        (["--out", "pictures/b.jpg"], "folder to write to"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    tmp_path, pushed, pictures, monkeypatch, capsys, change, message
):
    monkeypatch.chdir(tmp_path)
    assert main([str(pushed), "pictures", *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("labels", ["cat\ndog\n", "cat\ndog\nrabbit\nfox\n"])
def test_labels_of_another_number_than_the_files_classes_are_an_error(pushed, labels):
    (pushed / "1" / "labels.txt").write_text(labels)
    with pytest.raises(UserError, match=r"a line for each class in .*labels\.txt.*has 3 classes"):
        find_model(str(pushed))


def test_labels_of_another_order_than_those_inside_are_warned_about(
    pushed, pictures, tmp_path, capsys
):
    (pushed / "1" / "manifest.json").unlink()
    labels = pushed / "1" / "labels.txt"
    labels.write_text(format_labels(LABELS[::-1]))
    (warning,) = warnings_of(pushed, pictures, tmp_path, capsys)
    assert f"{labels} has other classes than" in warning
    labels.write_text("\ufeff" + format_labels(LABELS).replace("\n", "\r\n"))
    assert warnings_of(pushed, pictures, tmp_path, capsys) == []
    assert find_model(str(pushed)).labels == LABELS


def test_too_few_labels_are_an_error(pushed, pictures, tmp_path, capsys):
    (pushed / "1" / "labels.txt").write_text("cat\n")
    assert main([str(pushed), str(pictures), "--out", str(tmp_path / "out")]) == 2
    assert "a line for each class" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"something else",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9],
        lambda content: content.replace(b"M001", b"XXXX"),
        without_post_processing,
    ],
    ids=["empty", "foreign", "half", "no end", "nonsense", "raw"],
)
def test_a_spoiled_file_is_one_line_that_names_it(tmp_path, int8_model, pictures, capsys, spoil):
    path = tmp_path / "detect.tflite"
    path.write_bytes(spoil(describe_detector(int8_model, LABELS, "pets", "", "1", {}, 0.5)))
    (tmp_path / "labels.txt").write_text(format_labels(LABELS))
    assert main([str(path), str(pictures), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys\nimport pipeline.detect as detect\n"
        "try:\n    detect.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "bad = {'tensorflow', 'tfx', 'numpy'} & set(sys.modules)\nsys.exit(str(bad) if bad else 0)"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert b"usage" in result.stdout


def test_a_withdrawn_version_is_used_with_a_warning(tmp_path, pushed, pictures, capsys):
    path = pushed / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["withdrawn"] = {"at": "2026-11-28", "reason": "wrong labels"}
    path.write_text(json.dumps(manifest))
    assert main([str(pushed), str(pictures), "--out", str(tmp_path / "out")]) == 0
    assert "was withdrawn at 2026-11-28: wrong labels" in capsys.readouterr().err
