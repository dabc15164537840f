"""What the Evaluator judged, kept in its ModelEvaluation artifact: every picture's detections.

    detections-*.jsonl       one evaluation picture a line, see `JudgedPicture`
    score_thresholds.json    see `pipeline.shipping.score_threshold`

Whoever shows or explains a judgement reads these rather than running the file again: they are the
very detections that the metrics were computed from.
"""

import contextlib
import contextvars
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tfx.dsl.io import fileio

from models.training.coco_matching import GroundTruth, Matches
from pipeline.files import write_whole
from pipeline.shipping.score_threshold import recommend_thresholds

DETECTIONS_PREFIX, DETECTIONS_SUFFIX = "detections", ".jsonl"
THRESHOLDS_FILE = "score_thresholds.json"
CANDIDATE, BASELINE = "candidate", "baseline"
"""TFMA's names of the models."""

_RECORDING: contextvars.ContextVar[str | None] = contextvars.ContextVar("recording", default=None)


@contextlib.contextmanager
def recording(evaluation_uri: str) -> Iterator[None]:
    """An evaluation that is built in this context keeps what it judges.

    TFX hands extractors no place to write to, and loads their module anew.
    """
    token = _RECORDING.set(os.path.join(evaluation_uri, DETECTIONS_PREFIX))
    try:
        yield
    finally:
        _RECORDING.reset(token)


def recording_path() -> str | None:
    """Prefix of the files to write lines to, see `to_line`; None outside of `recording`."""
    return _RECORDING.get()


class Found(NamedTuple):
    """What a model found in a picture, the most certain first.

    Attributes:
      boxes: float32 [k, 4], (ymin, xmin, ymax, xmax), normalised.
      labels: k class names.
      scores: float32 [k], 0..1.
    """

    boxes: np.ndarray
    labels: list[str]
    scores: np.ndarray


class JudgedPicture(NamedTuple):
    """A picture of the eval split, what is in it, and what the models found.

    Attributes:
      source_id: the picture's id.
      width: in pixels.
      height: likewise.
      boxes: float32 [n, 4], ground truth like `Found.boxes`.
      labels: n class names.
      difficult: bool [n], objects that count neither as found nor as missed, as in Pascal VOC's
        evaluation.
      crowd: bool [n], regions in which detections are neither right nor wrong, as in COCO's.
      found: by model: `CANDIDATE`, and `BASELINE` if there was one.
    """

    source_id: str
    width: int
    height: int
    boxes: np.ndarray
    labels: list[str]
    difficult: np.ndarray
    crowd: np.ndarray
    found: dict[str, Found]

    @property
    def counts(self) -> np.ndarray:
        """bool [n], whether an object counts: it is neither difficult nor a crowd."""
        return ~(self.difficult | self.crowd)


def to_line(truth: Mapping[str, Any], predictions: Mapping[str, Any]) -> str:
    """One picture as a line of JSON, from the extracts of `pipeline.shipping.tflite_extractor`."""
    by_model = {CANDIDATE: predictions} if "boxes" in predictions else predictions
    return json.dumps({"truth": truth, "found": by_model}, default=_plain)


def _plain(value: np.ndarray) -> list:
    if value.dtype == np.float32:  # in the fewest digits that are this float32
        value = value.astype(str).astype(float)
    return value.tolist()


def read_judged_pictures(evaluation_uri: str) -> list[JudgedPicture]:
    """The judged pictures, in the order in which they were scored.

    Raises:
      OSError: the evaluation was made before detections were kept.
    """
    return sorted(_judged_pictures(evaluation_uri), key=lambda picture: picture.source_id)


def _judged_pictures(evaluation_uri: str) -> Iterator[JudgedPicture]:
    """In any order."""
    names = [
        name
        for name in fileio.listdir(evaluation_uri)
        if name.startswith(DETECTIONS_PREFIX) and name.endswith(DETECTIONS_SUFFIX)
    ]
    if not names:
        raise FileNotFoundError(f"No detections are kept in {evaluation_uri}.")
    for name in names:
        with fileio.open(os.path.join(evaluation_uri, name), "r") as file:
            for line in file:
                yield _picture(json.loads(line))


def _picture(line: Mapping[str, Any]) -> JudgedPicture:
    truth = line["truth"]
    found = {
        model: Found(
            _boxes(each["boxes"]), _names(each["labels"]), np.array(each["scores"], np.float32)
        )
        for model, each in line["found"].items()
    }
    return JudgedPicture(
        truth["source_id"],
        truth["width"],
        truth["height"],
        _boxes(truth["boxes"]),
        _names(truth["labels"]),
        np.array(truth["difficult"], bool),
        np.array(truth["crowd"], bool),
        found,
    )


def _boxes(values: list) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 4)


def _names(labels: list[str]) -> list[str]:
    """With one copy of each name, rather than one a box."""
    return [sys.intern(label) for label in labels]


def as_arrays(
    pictures: Sequence[JudgedPicture], class_names: Sequence[str], model: str = CANDIDATE
) -> tuple[list[tuple], list[tuple]]:
    """Ground truth and detections as `models.training.coco` takes them.

    Args:
      pictures: see `read_judged_pictures`.
      class_names: objects and detections of others are left out.
      model: whose detections.
    """
    ids = {name: number for number, name in enumerate(class_names)}

    def known(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        kept = np.array([label in ids for label in labels], bool)
        return kept, np.array([ids[label] for label in labels if label in ids], np.int64)

    truth, detections = [], []
    for picture in pictures:
        kept, class_ids = known(picture.labels)
        truth.append(
            GroundTruth(
                picture.boxes[kept], class_ids, picture.difficult[kept], picture.crowd[kept]
            )
        )
        found = picture.found[model]
        kept, class_ids = known(found.labels)
        detections.append((found.boxes[kept], class_ids, found.scores[kept]))
    return truth, detections


def classes_of(pictures: Sequence[JudgedPicture]) -> list[str]:
    """The classes with objects that count, sorted: those that are scored."""
    return sorted(
        {
            label
            for picture in pictures
            for label, counts in zip(picture.labels, picture.counts, strict=True)
            if counts
        }
    )


def write_thresholds(evaluation_uri: str) -> None:
    """Recommends score thresholds for the candidate, beside its detections."""
    matches = Matches()
    for picture in _judged_pictures(evaluation_uri):
        truth = GroundTruth(picture.boxes, picture.labels, picture.difficult, picture.crowd)
        matches.add(picture.source_id, truth, picture.found[CANDIDATE])
    names = matches.classes()
    thresholds = recommend_thresholds(list(matches.of(names)), names)
    text = json.dumps(thresholds, indent=2, allow_nan=False) + "\n"
    write_whole(os.path.join(evaluation_uri, THRESHOLDS_FILE), text)


def read_thresholds(evaluation_uri: str) -> dict[str, Any]:
    """See `pipeline.shipping.score_threshold.recommend_thresholds`.

    Raises:
      OSError: the evaluation was made before they were recommended.
    """
    with fileio.open(os.path.join(evaluation_uri, THRESHOLDS_FILE), "r") as file:
        return json.loads(file.read())
