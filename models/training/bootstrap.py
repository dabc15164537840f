"""Average precision over resampled pictures: how sure a figure from a few pictures is.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", chapters 6 and 13.
"""

from collections.abc import Sequence

import numpy as np

from models.training.coco_matching import OVERLAPS, ClassMatches, match_detections


def resample(num_images: int, count: int, seed: int) -> np.ndarray:
    """Draws sets of as many pictures, with replacement.

    Returns:
      int64 [count, num_images]: how often each set contains each picture.
    """
    shares = np.full(num_images, 1 / num_images)
    return np.random.default_rng(seed).multinomial(num_images, shares, size=count)


def resampled_map(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
    samples: np.ndarray,
) -> np.ndarray:
    """mAP50 and mAP of `models.training.coco.coco_metrics` on resampled pictures.

    Detections are matched with objects once, whatever the number of samples. Two detectors are
    compared on the same samples: the spread of their difference is far below that of each.

    Args:
      groundtruth: see `coco_metrics`.
      detections: see `coco_metrics`.
      num_classes: class ids are below it.
      samples: from `resample`.

    Returns:
      float64 [number of samples, 2]: mAP50 and mAP, 0..1; NaN where a sample has no object.
    """
    values = np.full((num_classes, len(samples), 2), np.nan)
    for class_id, matches in enumerate(match_detections(groundtruth, detections, num_classes)):
        for row, precision in _average_precisions(matches, samples):
            values[class_id, row] = precision[0], precision.mean()
    has_objects = ~np.isnan(values)
    counts = has_objects.sum(axis=0)  # [samples, 2]
    sums = np.where(has_objects, values, 0).sum(axis=0)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def _average_precisions(matches: ClassMatches, samples: np.ndarray):
    """Yields, for each sample with an object, its row and the precisions, float64 [10 overlaps]."""
    order = np.argsort(-matches.scores, kind="stable")
    pictures = matches.pictures[order]
    matched, ignored = (
        np.stack([flags(overlap)[order] for overlap in range(len(OVERLAPS))])
        for flags in (matches.matched, matches.ignored)
    )  # [10, D]
    # Most often all detections count at all overlaps.
    counted = ~ignored if ignored.any() else np.ones((1, 1), bool)
    # Precision peaks and recall grows at matched detections only, a few of all.
    peaks = np.flatnonzero(matched.any(axis=0))  # [P]
    matched = matched[:, peaks]  # [10, P]
    num_objects = samples @ matches.num_objects
    for row in np.flatnonzero(num_objects):
        times = samples[row][pictures]
        detected = np.cumsum(counted * times, axis=1)[:, peaks]  # [10 or 1, P]
        true = np.cumsum(matched * times[peaks], axis=1)  # [10, P]
        # The precision at a recall is the best at that recall or a higher one.
        best = np.maximum.accumulate((true / np.maximum(detected, 1))[:, ::-1], axis=1)[:, ::-1]
        # Of the recalls 0, 0.01 ... 1, how many each detection is the first to reach.
        reached = 1 + np.floor(100 * true / num_objects[row] + 1e-9)
        yield row, (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / 101
