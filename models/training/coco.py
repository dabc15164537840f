"""COCO's average precision for detections held as arrays: what pycocotools computes."""

from collections.abc import Iterable, Sequence

import numpy as np

from models.training.coco_matching import OVERLAPS, ClassMatches, match_detections

_RECALLS = np.linspace(0, 1, 101)


def metric_names(class_names: Sequence[str]) -> list[str]:
    """The keys of `coco_metrics`, in its order: mAP50, mAP, then AP50/ and AP/ of each class."""
    per_class = [f"{kind}/{name}" for name in class_names for kind in ("AP50", "AP")]
    return ["mAP50", "mAP", *per_class]


def coco_metrics(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    class_names: Sequence[str],
) -> dict[str, float]:
    """Average precision over a set of pictures, all object sizes.

    Boxes are scored in normalised coordinates: scaling an axis changes no overlap. Detections of
    equal score (common with int8 models) rank in the order of the pictures, so keep that order
    fixed where figures must repeat to the last digit.

    Args:
      groundtruth: see `models.training.coco_matching.match_detections`.
      detections: likewise.
      class_names: names by class id.

    Returns:
      See `average_precision`.

    Raises:
      ValueError: lengths that differ, class ids out of range, or values that are not finite.
    """
    matches = match_detections(groundtruth, detections, len(class_names))
    return average_precision(matches, class_names)


def average_precision(
    matches: Iterable[ClassMatches], class_names: Sequence[str]
) -> dict[str, float]:
    """Average precision of detections that are matched with objects.

    Args:
      matches: of each class.
      class_names: names of these classes.

    Returns:
      "mAP50": mean over classes of the average precision at an overlap of 0.5; "mAP": the same,
      averaged over overlaps 0.5, 0.55 ... 0.95; "AP50/<class>" and "AP/<class>" for each class.
      Values 0..1. A class without ground truth that counts is NaN and left out of the means;
      without any the means are NaN, too.
    """
    names = metric_names(class_names)
    precision = _precision(matches, len(class_names))
    if np.isnan(precision).all():
        return dict.fromkeys(names, float("nan"))
    ap50 = precision[0].mean(axis=0)  # [C]
    ap = precision.mean(axis=(0, 1))  # [C]
    values = [np.nanmean(ap50), np.nanmean(ap), *np.stack([ap50, ap], axis=1).flat]
    return dict(zip(names, map(float, values), strict=True))


SIZES = ("small", "medium", "large")
"""Objects below 32 x 32 pixels, below 96 x 96, and above: COCO's."""
_AREAS = ((0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, np.inf))


def average_precision_by_size(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
    sizes: Sequence[tuple[int, int]],
) -> dict[str, dict[str, float]]:
    """Average precision of small, medium and large objects.

    Args:
      groundtruth: see `coco_metrics`.
      detections: see `coco_metrics`.
      num_classes: class ids are below it.
      sizes: (width, height) of each picture in pixels, in which objects are measured.

    Returns:
      {size: {"mAP50": ..., "mAP": ...}} for `SIZES`; NaN where there is no object of the size.
    """
    scales = [np.array([height, width, height, width], np.float64) for width, height in sizes]
    truth, found = (
        [
            (np.asarray(boxes, np.float64).reshape(-1, 4) * scale, *rest)
            for (boxes, *rest), scale in zip(pictures, scales, strict=True)
        ]
        for pictures in (groundtruth, detections)
    )
    figures = {}
    for size, areas in zip(SIZES, _AREAS, strict=True):
        precision = _precision(match_detections(truth, found, num_classes, areas), num_classes)
        figures[size] = {"mAP50": _mean(precision[0]), "mAP": _mean(precision)}
    return figures


def _mean(precision: np.ndarray) -> float:
    """Of all values; NaN if none is valid. All classes count equally, as in `coco_metrics`."""
    valid = precision[~np.isnan(precision)]
    return float(valid.mean()) if valid.size else float("nan")


def _precision(matches: Iterable[ClassMatches], num_classes: int) -> np.ndarray:
    """float64 [10 overlaps, 101 recalls, C]; NaN for a class without objects that count."""
    precision = np.full((len(OVERLAPS), len(_RECALLS), num_classes), np.nan)
    for class_id, found in enumerate(matches):
        num_objects = found.num_objects.sum()
        order = np.argsort(-found.scores, kind="stable")
        for overlap in range(len(OVERLAPS) if num_objects else 0):
            ranked = order[~found.ignored(overlap)[order]]
            # Precision peaks and recall grows where an object is found.
            hits = np.flatnonzero(found.matched(overlap)[ranked])
            right = np.arange(1, len(hits) + 1)
            peaks = right / (hits + 1 + np.spacing(1))  # pycocotools' guard against 0 / 0
            # The precision at a recall is the best at that recall or a higher one.
            best = np.maximum.accumulate(peaks[::-1])[::-1]
            reached = np.searchsorted(right / num_objects, _RECALLS)
            precision[overlap, :, class_id] = np.append(best, 0)[reached]
    return precision
