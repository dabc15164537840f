"""Runs a pushed model on pictures: `python -m pipeline.detect MODEL PICTURES --out DIR`.

Pictures are decoded and resized by the same function as in training, hence TensorFlow: another
library's resizing differs by a few levels per pixel, which would change the scores.
"""

import argparse
import dataclasses
import json
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.labels import parse_labels
from pipeline.errors import UserError, one_line
from pipeline.files import (
    LABELS_FILE,
    LATEST,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    WITHDRAWN,
    sha256_of,
    write_whole,
)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
DETECTIONS_FILE = "detections.json"
# Boxes with a larger overlap (IoU) show the same object.
_SAME_PLACE = 0.5
_EXIT_CODES = "exit codes: 0 success; 1 some pictures could not be read; 2 nothing could be done"


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A detector on disk.

    Attributes:
      model: the .tflite file.
      labels: class names by class index.
    """

    model: Path
    labels: tuple[str, ...]


def find_model_file(path: str) -> Path:
    """Finds a detector's file by a user's path, see `find_model`.

    Raises:
      UserError: there is none.
    """
    given = Path(path)
    candidates = (
        [given / PUSHED_MODEL_FILE, given / LATEST / PUSHED_MODEL_FILE]
        if given.is_dir()
        else [given]
    )
    model = next((candidate for candidate in candidates if candidate.is_file()), None)
    if model is None:
        raise UserError(
            f"Expected a pushed model: a folder with {PUSHED_MODEL_FILE}, a folder with {LATEST}/, "
            f"or a .tflite file. Received: {path!r}. Pass the folder that the run's summary names."
        )
    return model


def find_model(path: str) -> ModelFiles:
    """Finds a detector by a user's path.

    Args:
      path: a pushed version's folder, a folder of versions with `latest`, or a .tflite file with
        labels.txt beside it.

    Raises:
      UserError: there is no model, or a damaged one, or its labels are missing, invalid or of
        another number.
    """
    model = find_model_file(path)
    labels_path = model.parent / LABELS_FILE
    try:
        # Windows's editors begin a file with a mark.
        labels = parse_labels(labels_path.read_text(encoding="utf-8-sig"), str(labels_path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"Expected the class names beside {model}, one per line. Received: {error}"
        ) from error
    known = _labels_inside(model)
    if known and len(known) != len(labels):
        raise UserError(
            f"Expected a line for each class in {labels_path}. Received: {len(labels)} lines, but "
            f"{model} has {len(known)} classes. Put back the labels that belong to it."
        )
    return ModelFiles(model.resolve(), labels)


def _labels_inside(model: Path) -> list[str]:
    """The classes that a file carries; empty if it carries none.

    Raises:
      UserError: it is damaged.
    """
    from models.tflite_metadata import read_metadata  # loads NumPy

    try:
        metadata = read_metadata(model.read_bytes(), str(model))
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    packed = metadata.files.get(LABELS_FILE, b"") if metadata else b""
    return packed.decode("utf-8", "replace").splitlines()


def differences_from_manifest(model: Path) -> list[str]:
    """What in a pushed version is no longer as it was pushed, one sentence each.

    That it was withdrawn is the first of them.

    Args:
      model: its file. One without a manifest beside it is compared with what it carries: labels.
    """
    path = model.parent / MANIFEST_FILE
    if not path.exists():
        return _differences_from_inside(model)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        recorded, mark = manifest["files"], manifest.get(WITHDRAWN)
        said = [f"{path.parent} was withdrawn at {mark['at']}: {mark['reason']}"] if mark else []
        expected = {
            model: recorded[PUSHED_MODEL_FILE]["sha256"],
            path.parent / LABELS_FILE: recorded[LABELS_FILE]["sha256"],
        }
    except (OSError, ValueError, LookupError, TypeError):
        return [f"{path} is damaged: nobody can tell whether the files beside it were changed."]
    return said + [
        f"{file} is not the file that was pushed: {MANIFEST_FILE} records another sha256."
        for file, digest in expected.items()
        if not file.is_file() or sha256_of(file) != digest
    ]


def _differences_from_inside(model: Path) -> list[str]:
    path = model.parent / LABELS_FILE
    try:
        known = _labels_inside(model)
    except UserError:  # whoever opens it says what is wrong
        return []
    if not known or not path.is_file():
        return []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [
        f"{path} has other classes than {model.name} itself: {received!r} instead of {expected!r}."
        for received, expected in zip(text.splitlines(), known, strict=False)
        if received != expected
    ][:1]


def find_pictures(path: str) -> list[Path]:
    """Finds pictures by a user's path.

    Args:
      path: a picture; a folder, whose pictures are sorted by name; or a .txt file with one path per
        line, in that order. Relative paths are relative to the .txt file.

    Raises:
      UserError: there are no pictures.
    """
    given = Path(path)
    if given.is_dir():
        found = sorted(file for file in given.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    elif given.suffix == ".txt" and given.is_file():
        lines = given.read_text(encoding="utf-8").splitlines()
        found = [given.parent / line.strip() for line in lines if line.strip()]
    else:
        found = [given] if given.is_file() else []
    if not found:
        raise UserError(
            f"Expected a picture, a folder with pictures ({', '.join(PICTURE_SUFFIXES)}) or a .txt "
            f"list of pictures. Received: {path!r}, where there is none."
        )
    return found


def run_detector(
    files: ModelFiles, pictures: Sequence[Path], out: Path, min_score: float
) -> Iterator[dict[str, Any]]:
    """Detects objects in each picture and draws them into a copy of it; both see it upright.

    Args:
      files: the detector.
      pictures: files to run on.
      out: an existing folder for the drawn pictures.
      min_score: detections below it are left out, 0..1.

    Yields:
      For each picture {file, drawn, width, height, ms, detections}, or {file, error} for one that
      can't be read. ms is the time of the inference alone. A detection is {label, class_id, score,
      box, box_pixels, shown}: the box as [ymin, xmin, ymax, xmax], normalised and in pixels;
      shown is false if a detection with a higher score, of any class, is in the same place.

    Raises:
      UserError: the file is not a detector of this pipeline, or has classes without a label.
    """
    # TensorFlow takes seconds to import: --help and a mistyped path should not wait for it.
    import tensorflow as tf

    from models.drawing import draw_detections
    from models.image import decode_image, orientation_of, resize, upright
    from models.networks.post_processing import suppress
    from models.settings import PostProcessing
    from models.tflite.detector import TFLiteDetector
    from pipeline.data.conversion import as_png
    from pipeline.data.labelled_image import Unusable

    # The model may find two classes in one place; a drawing shows the better one.
    one_answer = PostProcessing(iou_threshold=_SAME_PLACE, score_threshold=0.0)
    try:
        detector = TFLiteDetector(str(files.model))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"Expected a detector made by this pipeline. Received: {files.model}, of which the "
            f"runtime says: {one_line(error)}"
        ) from error
    names = _distinct_names(pictures)
    for picture, name in zip(pictures, names, strict=True):
        try:
            if picture.exists() and not picture.is_file():
                raise OSError("not a file, but a folder, a pipe or a device")
            encoded = picture.read_bytes()
            readable = as_png(encoded, math.inf) or encoded
            image = upright(decode_image(readable).numpy(), orientation_of(encoded))
        except (OSError, Unusable, tf.errors.InvalidArgumentError) as error:
            yield {"file": str(picture), "error": _plain(error)}
            continue
        small = resize(image, detector.input_size).numpy()
        start = time.perf_counter()
        found = detector.detect(small)
        elapsed = 1000 * (time.perf_counter() - start)
        kept = found.scores >= min_score
        boxes, class_ids, scores = (values[kept] for values in found)
        if class_ids.max(initial=0) >= len(files.labels):
            raise UserError(
                f"Expected a line for each class in {files.model.parent / LABELS_FILE}. Received: "
                f"{len(files.labels)} lines, but the model found class index {class_ids.max()}."
            )
        labels = [files.labels[class_id] for class_id in class_ids]
        height, width, _ = image.shape
        shown = suppress(boxes, scores, one_answer)
        drawn = draw_detections(
            image,
            boxes[shown],
            [labels[row] for row in shown],
            scores[shown],
            class_ids[shown],
        )
        drawn.save(out / name, quality=92)
        yield {
            "file": str(picture),
            "drawn": name,
            "width": width,
            "height": height,
            "ms": round(elapsed, 3),
            "detections": [
                {
                    "label": label,
                    "class_id": int(class_id),
                    "score": round(float(score), 4),
                    "box": [round(float(value), 5) for value in box],
                    "box_pixels": [
                        round(float(value) * side)
                        for value, side in zip(box, (height, width) * 2, strict=True)
                    ],
                    "shown": row in shown,
                }
                for row, (label, class_id, score, box) in enumerate(
                    zip(labels, class_ids, scores, boxes, strict=True)
                )
            ],
        }


def _plain(error):
    """An error's message without TensorFlow's additions."""
    return re.sub(r"^\{\{.*?\}\} | \[Op:\w+\]$", "", getattr(error, "message", str(error)))


def _distinct_names(pictures):
    """A .jpg name for each picture; repeated stems get a number."""
    taken = set()
    for picture in pictures:
        name, number = f"{picture.stem}.jpg", 1
        while name in taken:
            number += 1
            name = f"{picture.stem}_{number}.jpg"
        taken.add(name)
        yield name


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.detect",
        description="Finds objects in pictures with a pushed model; writes pictures with boxes and "
        f"labels, and {DETECTIONS_FILE}.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("model", help="a pushed version, the folder pushed to, or a .tflite file")
    parser.add_argument("pictures", help="a picture, a folder, or a .txt list of pictures (frames)")
    parser.add_argument("--out", default="detections", help="folder to write to (%(default)s)")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.4,
        help="leave out lower scores (%(default)s)",
    )
    return parser.parse_args(argv)


def _detect(arguments) -> int:
    if not 0 <= arguments.min_score <= 1:
        raise UserError(f"Expected --min-score from 0 to 1. Received: {arguments.min_score}.")
    files = find_model(arguments.model)
    for difference in differences_from_manifest(files.model):
        print(f"WARNING: {difference}", file=sys.stderr)
    pictures = find_pictures(arguments.pictures)
    out = Path(arguments.out)
    if out.resolve() == Path(arguments.pictures).resolve():
        raise UserError(
            "Expected --out to be another folder than the pictures', which would be overwritten. "
            f"Received: {arguments.out!r} for both."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Expected --out to be a folder to write to. Received: {error}") from error

    from rich.console import Console
    from rich.progress import track

    # Where there is no terminal, progress would be an empty line.
    console = Console(stderr=True, highlight=False, quiet=not sys.stderr.isatty())
    results = list(
        track(
            run_detector(files, pictures, out, arguments.min_score),
            description="detecting",
            total=len(pictures),
            console=console,
            transient=True,
        )
    )
    failed = [result for result in results if "error" in result]
    done = [result for result in results if "error" not in result]
    report = out / DETECTIONS_FILE
    content = {
        "model": str(files.model),
        "labels": list(files.labels),
        "min_score": arguments.min_score,
        "pictures": results,
    }
    write_whole(report, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for result in failed:
        print(f"Not read: {result['file']}: {result['error']}", file=sys.stderr)
    count = sum(found["shown"] for result in done for found in result["detections"])
    times = sorted(result["ms"] for result in done)
    print(f"{count} objects in {len(done)} pictures, {len(failed)} not read.")
    if done:
        print(f"Drawn:     {out if len(done) > 1 else out / done[0]['drawn']}")
        print(f"Inference: {times[len(times) // 2]:.1f} ms (median)")
    print(f"As JSON:   {report}")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = _parse(argv)
    # Before TensorFlow is imported, which otherwise prints a page of messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        return _detect(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
