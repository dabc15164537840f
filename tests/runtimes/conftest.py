"""A detector and pictures to compare runtimes on.

The demo's, or others: DETECTOR names a pushed folder, PICTURES a folder of pictures.
"""

import dataclasses
import os
from pathlib import Path

import pytest
from PIL import Image

from models.image import decode_image, resize
from models.labels import parse_labels
from models.tflite.detector import TFLiteDetector

MIN_SCORE = 0.3
_NUM_PICTURES = 20
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What every runtime is asked.

    Attributes:
      model: the pushed .tflite file.
      labels: class names by index.
      pictures: PNG files of the size of the model's input: runtimes resize in their own ways.
      expected: for each picture what LiteRT finds, {label, score, box}; the box is (ymin, xmin,
        height, width) in pixels, and scores are from `MIN_SCORE` on.
    """

    model: Path
    labels: tuple[str, ...]
    pictures: list[Path]
    expected: list[list[dict]]


@pytest.fixture(scope="session")
def subject(request, tmp_path_factory) -> Subject:
    """The demo's file on pictures of its evaluation split, or what the environment names."""
    if os.environ.get("DETECTOR"):
        folder = Path(os.environ["DETECTOR"])
        source = Path(os.environ["PICTURES"])
    else:
        _, _, summary = request.getfixturevalue("demo")
        folder = Path(summary["pushed_path"])
        source = request.getfixturevalue("project").workdir / "data" / "demo" / "images"
    files = [file for file in sorted(source.iterdir()) if file.suffix.lower() in _SUFFIXES]
    return make_subject(folder / "detect.tflite", files, tmp_path_factory.mktemp("pictures"))


def make_subject(model: Path, files: list[Path], folder: Path) -> Subject:
    """A file on the first pictures."""
    detector = TFLiteDetector(str(model))
    labels = parse_labels((model.parent / "labels.txt").read_text(), "labels.txt")
    pictures, expected = [], []
    for file in files[:_NUM_PICTURES]:
        pixels = resize(decode_image(file.read_bytes()), detector.input_size).numpy()
        pictures.append(folder / f"{file.stem}.png")
        Image.fromarray(pixels).save(pictures[-1])
        found = detector.raw_outputs(pixels)
        count = int(found["num_detections"][0])
        expected.append(
            [
                plain(labels[int(class_id)], score, box * detector.input_size)
                for class_id, score, box in zip(
                    found["detection_classes"][0, :count],
                    found["detection_scores"][0, :count],
                    found["detection_boxes"][0, :count],
                    strict=True,
                )
            ]
        )
    return Subject(model, labels, pictures, expected)


def plain(label: str, score: float, box) -> dict:
    """A detection as every runtime gives it; the box is (ymin, xmin, ymax, xmax) in pixels.

    MediaPipe moves a box that begins outside of the picture to its edge.
    """
    ymin, xmin, ymax, xmax = map(float, box)
    corner = [max(ymin, 0.0), max(xmin, 0.0)]
    return {"label": label, "score": float(score), "box": [*corner, ymax - ymin, xmax - xmin]}
