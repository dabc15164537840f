"""The pushed file opens unchanged in the runtimes that apps use, and finds the same in each."""

import ctypes.util
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from models.tflite_metadata import read_metadata
from tests.runtimes.caches import cached_folder
from tests.runtimes.conftest import MIN_SCORE, plain
from tests.runtimes.web_page import in_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCORE_STEP = 1 / 256
PIXEL = 1.001


def assert_same(expected, received):
    """Classes equal, scores within 1/256, boxes within a pixel; one to one.

    A detection at the edge of `MIN_SCORE` may be found by one of the two only.
    """
    assert len(expected) == len(received)
    paired = 0
    for number, (ours, theirs) in enumerate(zip(expected, received, strict=True)):
        free = list(theirs)
        for found in sorted(ours, key=lambda found: -found["score"]):
            if found["score"] < MIN_SCORE:
                continue
            twin = next((other for other in free if _agree(found, other)), None)
            if twin is not None:
                free.remove(twin)
                paired += 1
            elif found["score"] >= MIN_SCORE + SCORE_STEP:
                pytest.fail(f"picture {number}: {found} is not among {theirs}")
        rest = [other for other in free if other["score"] >= MIN_SCORE + SCORE_STEP]
        assert rest == [], f"picture {number}: not among {ours}"
    assert paired >= len(expected) / 2  # something was compared


def _agree(found, other) -> bool:
    return (
        found["label"] == other["label"]
        and abs(found["score"] - other["score"]) <= SCORE_STEP
        and max(abs(a - b) for a, b in zip(found["box"], other["box"], strict=True)) <= PIXEL
    )


def output_names(subject) -> list[str]:
    """What the file says that its outputs mean, in their order."""
    metadata = read_metadata(subject.model.read_bytes(), str(subject.model))
    return [output["name"] for output in metadata.graph["outputs"]]


def test_litert_finds_the_same_by_the_outputs_that_the_metadata_names(subject):
    """As an app does that knows nothing of signatures."""
    interpreter = Interpreter(model_path=str(subject.model))
    interpreter.allocate_tensors()
    [image] = interpreter.get_input_details()
    outputs = dict(zip(output_names(subject), interpreter.get_output_details(), strict=True))
    received = []
    for picture in subject.pictures:
        pixels = np.asarray(_open(picture))[None]
        if image["dtype"] == np.float32:
            pixels = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        found = {name: interpreter.get_tensor(o["index"])[0] for name, o in outputs.items()}
        side = image["shape"][1]
        received.append(
            [
                plain(
                    subject.labels[int(found["category"][row])],
                    found["score"][row],
                    found["location"][row] * side,
                )
                for row in range(int(found["number of detections"]))
            ]
        )
    assert_same(subject.expected, received)


def _open(picture: Path):
    from PIL import Image

    return Image.open(picture).convert("RGB")


@pytest.fixture(scope="session")
def mediapipe_python() -> Path:
    """The Python of an environment with the newest MediaPipe, which does not share TFX's pins."""
    for library in ("EGL", "GLESv2"):
        if ctypes.util.find_library(library) is None:
            pytest.skip(f"lib{library} is not installed (Debian: libegl1, libgles2)")

    def install(folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "mediapipe"], check=True, capture_output=True, timeout=600)

    folder = cached_folder("mediapipe", sys.version.encode(), install)
    return folder / "venv" / "bin" / "python"


def with_mediapipe(python: Path, model: Path, pictures) -> list[list[dict]]:
    """What MediaPipe Tasks for Python detects."""
    script = Path(__file__).with_name("mediapipe_detections.py")
    done = subprocess.run(
        [python, script, model, str(MIN_SCORE), *pictures], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_mediapipe_for_python_finds_the_same(subject, mediapipe_python):
    received = with_mediapipe(mediapipe_python, subject.model, subject.pictures)
    assert_same(subject.expected, received)


def test_mediapipe_takes_the_raw_form_with_its_anchors(subject, mediapipe_python):
    """Its own suppression joins boxes, so only the best detection of a picture is the same.

    Two of equal scores may come in any order.
    """
    raw = subject.model.with_name("detect_raw.tflite")
    received = with_mediapipe(mediapipe_python, raw, subject.pictures)
    compared = 0
    for ours, theirs in zip(subject.expected, received, strict=True):
        best = max(found["score"] for found in ours)
        if best >= MIN_SCORE + SCORE_STEP:
            twin = max(theirs, key=lambda found: found["score"])
            assert twin["score"] == pytest.approx(best, abs=SCORE_STEP)
            assert twin["label"] in {
                found["label"] for found in ours if found["score"] >= best - SCORE_STEP
            }
            compared += 1
    assert compared >= len(received) / 2


def test_mediapipe_for_the_web_finds_the_same(subject, tmp_path):
    received = in_browser(
        "mediapipe", subject.model, subject.pictures, tmp_path, minScore=MIN_SCORE
    )
    assert_same(subject.expected, received)


def test_litert_js_finds_the_same(subject, tmp_path):
    received = in_browser(
        "litert", subject.model, subject.pictures, tmp_path, minScore=MIN_SCORE,
        labels=subject.labels, outputs=output_names(subject),
    )  # fmt: skip
    assert_same(subject.expected, received)
