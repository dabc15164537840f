"""The compiled job, executed task by task, against the local runner on the same data and seed."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.summary import _next_lines

ROOT = Path(__file__).parents[4]
SETTINGS = {
    "name": "rehearsed",
    "model.input_size": 96,
    "transform.canvas_size": 96,
    "model.depth_multiplier": 0.25,
    "training.batch_size": 8,
    "training.steps": 40,
    "training.quantization_delay": 30,
    "training.eval_every": 10,
    "training.warmup_steps": 0,
    "training.learning_rate": 0.003,
    "augmentation.crop_probability": 0,
    "augmentation.zoom_out_probability": 0,
    "rewriter.num_images": 4,
    "device.num_images": 2,
    "evaluation.min_map50": 0.000001,
    "evaluation.max_drop": 1,
}
XML = """<annotation><filename>{name}.png</filename>
<size><width>96</width><height>96</height></size>
<object><name>square</name><bndbox><xmin>{x}</xmin><ymin>16</ymin><xmax>{right}</xmax>
<ymax>80</ymax></bndbox></object></annotation>"""


def make_data(folder: Path, count: int = 24) -> None:
    """Bright squares on noise."""
    for name in ("images", "Annotations"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 60, (96, 96, 3), np.uint8)
        x = 12 + number % 8
        pixels[16:80, x : x + 64] = (250, 240, 30)
        Image.fromarray(pixels).save(folder / "images" / f"image_{number:02}.png")
        annotation = XML.format(name=f"image_{number:02}", x=x, right=x + 64)
        (folder / "Annotations" / f"image_{number:02}.xml").write_text(annotation)


@pytest.fixture
def elsewhere(monkeypatch):
    """The folders for temporary files and of the user; of a short name, as it is in a socket's."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("HOME", "TMPDIR"):
            monkeypatch.setenv(name, folder)
        for name in ("KERAS_HOME", "MPLCONFIGDIR"):
            monkeypatch.delenv(name, raising=False)
        yield Path(folder)


def start(runner: str, data: Path, *arguments: str) -> subprocess.Popen:
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(
        [sys.executable, str(ROOT / runner), *arguments, "--data", str(data), *settings],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def rehearse(data: Path, folder: Path) -> dict:
    # Forty steps reach some score, and the gate asks for more than none: the exit code is 0.
    assert start("vertex_runner.py", data, "rehearse", "--folder", str(folder)).wait() == 0
    latest = max((folder / "runs").iterdir())
    return json.loads((latest / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_compiled_job_makes_what_the_local_runner_makes(tmp_path, elsewhere):
    make_data(tmp_path / "data")
    with start("local_runner.py", tmp_path / "data", "--workdir", str(tmp_path / "here")) as local:
        first = rehearse(tmp_path / "data", tmp_path / "cloud")
    assert local.returncode == 0
    here = json.loads((tmp_path / "here" / "latest_run" / "summary.json").read_text())
    assert first["metrics"]["mAP50"] > 0
    assert first["metrics"] == here["metrics"]
    assert first["sha256"] == here["sha256"]
    assert first["images"]["data_fingerprint"] == here["images"]["data_fingerprint"]
    assert first["gate"]["baseline_metrics"] is None
    assert first["pushed_path"] == str(tmp_path / "cloud" / "pushed" / "rehearsed" / "1")
    assert os.path.realpath(Path(first["pushed_path"]).parent / "latest") == first["pushed_path"]

    # A later run finds the first one's blessed model; what did not change comes from the cache.
    second = rehearse(tmp_path / "data", tmp_path / "cloud")
    states = {name: component["status"] for name, component in second["components"].items()}
    assert states["Trainer"] == "cached"
    assert states["Evaluator"] == "complete"
    baseline = second["gate"]["baseline_metrics"]
    assert baseline["mAP50"] == pytest.approx(first["metrics"]["mAP50"])

    assert not list(elsewhere.iterdir())

    # What it says to do next works as it is printed.
    detect, tensorboard, serve = _next_lines(second)
    picture = tmp_path / "data" / "images" / "image_00.png"
    words = detect.replace("PICTURE_OR_FOLDER", str(picture)).split()
    words[-1] = str(tmp_path / "detections")
    words[0] = sys.executable
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    assert Path(tensorboard.split()[-1]).is_dir()
    assert Path(serve.split()[-1], "detect.tflite").is_file()
