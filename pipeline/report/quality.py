"""How good a detector is: intervals, classes, curves, confusions, sizes. Pure functions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.training.bootstrap import resample, resampled_map
from models.training.coco import SIZES, average_precision, average_precision_by_size
from models.training.coco_matching import ClassMatches, match_detections
from pipeline.report.mistakes import in_ignored, overlaps
from pipeline.shipping.judged_pictures import (
    BASELINE,
    CANDIDATE,
    JudgedPicture,
    as_arrays,
    classes_of,
)
from pipeline.shipping.score_threshold import ALL, CLASSES

BACKGROUND = "background"
_NUM_SAMPLES, _SEED = 400, 1
_TAILS = (0.025, 0.975)
# With fewer pictures with objects an interval says nothing.
_LEAST_LABELLED = 5
_FOREGROUND = 0.5
_RECALLS = np.linspace(0, 1, 101)
# COCO's limits of small and of medium objects.
_AREAS = (0, 32**2, 96**2, math.inf)


def quality(pictures: Sequence[JudgedPicture], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the candidate's detections, as JSON; see the functions below for the parts.

    Args:
      pictures: see `pipeline.shipping.judged_pictures.read_judged_pictures`.
      thresholds: see `pipeline.shipping.score_threshold`.
    """
    names = classes_of(pictures)
    truth, found = as_arrays(pictures, names)
    matches = match_detections(truth, found, len(names))
    best = thresholds[ALL]
    threshold = best["threshold"] if best else None
    return {
        "images": len(pictures),
        "objects": sum(int(picture.counts.sum()) for picture in pictures),
        "thresholds": thresholds,
        **_intervals(pictures, names),
        "classes": _classes(names, matches, thresholds, threshold),
        "curves": {name: _curve(each) for name, each in zip(names, matches, strict=True)},
        "confusion": _confusion(pictures, names, threshold),
        "sizes": _sizes(pictures, truth, found, len(names)),
    }


def _intervals(pictures: Sequence[JudgedPicture], names: Sequence[str]) -> dict[str, Any]:
    """95% bootstrap intervals over pictures: of both metrics, and of their change.

    `interval` and `change_interval` are {"mAP50": [low, high], "mAP": ...}, or None with too few
    pictures to tell, or without a baseline.
    """
    if sum(picture.counts.any() for picture in pictures) < _LEAST_LABELLED:
        return {"interval": None, "change_interval": None}
    samples = resample(len(pictures), _NUM_SAMPLES, _SEED)
    values = {
        model: resampled_map(*as_arrays(pictures, names, model), len(names), samples)
        for model in pictures[0].found
    }
    change = values[CANDIDATE] - values[BASELINE] if BASELINE in values else None
    return {
        "interval": _tails(values[CANDIDATE]),
        "change_interval": None if change is None else _tails(change),
    }


def _tails(values: np.ndarray) -> dict[str, list[float]]:
    low, high = np.nanquantile(values, _TAILS, axis=0)
    return {
        metric: [float(low[index]), float(high[index])]
        for index, metric in enumerate(("mAP50", "mAP"))
    }


def _classes(
    names: list[str], matches: list[ClassMatches],
    thresholds: Mapping[str, Any], threshold: float | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Each class: objects, average precision, precision and recall at the common threshold."""
    metrics = average_precision(matches, names)
    rows = []
    for name, each in zip(names, matches, strict=True):
        kept = each.scores >= (math.inf if threshold is None else threshold)
        kept &= ~each.ignored(0)
        right, objects = int(each.matched(0)[kept].sum()), int(each.num_objects.sum())
        rows.append(
            {
                "name": name,
                "objects": objects,
                "images": int((each.num_objects > 0).sum()),
                "AP50": metrics[f"AP50/{name}"],
                "AP": metrics[f"AP/{name}"],
                "precision": right / int(kept.sum()) if kept.any() else None,
                "recall": right / objects,
                "best": thresholds[CLASSES].get(name),
            }
        )
    return rows


def _curve(matches: ClassMatches) -> list[float]:
    """Precisions at the recalls 0, 0.01 ... 1, as in COCO: the best at that recall or above."""
    counted = ~matches.ignored(0)
    order = np.argsort(-matches.scores[counted], kind="stable")
    right = np.cumsum(matches.matched(0)[counted][order])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / matches.num_objects.sum(), _RECALLS - 1e-9, side="left")
    values = np.append(precision, 0.0)[places]
    return [round(float(value), 4) for value in values]


def _confusion(
    pictures: Sequence[JudgedPicture], names: list[str], threshold: float | None
) -> dict[str, Any]:
    """Which class was taken for which, at the common threshold and an overlap of 0.5.

    `counts[row][column]`: objects of the row's class that were found as the column's. The last row
    is the background that was taken for something, the last column objects that were not found.
    """
    ids = {name: index for index, name in enumerate(names)}
    background = len(names)
    counts = np.zeros((background + 1, background + 1), int)
    for picture in pictures:
        found = picture.found[CANDIDATE]
        kept = [
            index
            for index in np.argsort(-found.scores, kind="stable")
            if threshold is not None
            and found.scores[index] >= threshold
            and found.labels[index] in ids
        ]
        free = list(kept)
        free_objects = set(np.flatnonzero(picture.counts))
        excused = in_ignored(picture, found)
        overlap = overlaps(found.boxes, picture.boxes)
        for same_class in (True, False):  # an object's own class first
            for index in list(free):
                fits = [
                    (overlap[index, other], other)
                    for other in free_objects
                    if overlap[index, other] >= _FOREGROUND
                    and (found.labels[index] == picture.labels[other] or not same_class)
                ]
                if fits:
                    _, other = max(fits)
                    counts[ids[picture.labels[other]], ids[found.labels[index]]] += 1
                    free_objects.discard(other)
                    free.remove(index)
            free = [index for index in free if not excused[index]]
        for other in free_objects:
            counts[ids[picture.labels[other]], background] += 1
        for index in free:
            counts[background, ids[found.labels[index]]] += 1
    return {"names": [*names, BACKGROUND], "counts": counts.tolist()}


def _sizes(
    pictures: Sequence[JudgedPicture], truth: list, found: list, num_classes: int
) -> list[dict[str, Any]]:
    """Average precision of small, medium and large objects, in pixels of the original pictures."""
    sizes = [(picture.width, picture.height) for picture in pictures]
    values = average_precision_by_size(truth, found, num_classes, sizes)
    areas = np.concatenate(
        [
            [],
            *(
                np.prod(p.boxes[:, 2:] - p.boxes[:, :2], axis=1)[p.counts] * p.width * p.height
                for p in pictures
            ),
        ]
    )
    objects, _ = np.histogram(areas, _AREAS)
    return [
        {
            "name": size,
            "objects": int(count),
            **{key: value if math.isfinite(value) else None for key, value in values[size].items()},
        }
        for size, count in zip(SIZES, objects, strict=True)
    ]
