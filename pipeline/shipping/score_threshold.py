"""The score from which on an app should show a detection."""

from collections.abc import Sequence

import numpy as np

from models.training.coco import match_detections


def recommended_threshold(
    groundtruth: Sequence[tuple[np.ndarray, np.ndarray]],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
) -> float | None:
    """The threshold with the best F1: half-way to the next score below.

    A detection counts as right if it has an object of its class at an overlap of 0.5. All classes
    share the threshold, because apps have one.

    Args:
      groundtruth: see `models.training.coco.coco_metrics`.
      detections: likewise.
      num_classes: class ids are below it.

    Returns:
      0..1; None when no detection is right.
    """
    matches = match_detections(groundtruth, detections, num_classes)
    scores = np.concatenate([found.scores for found in matches])
    right = np.concatenate([found.matched[0] for found in matches])
    if not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    num_right = np.cumsum(right[order])
    num_objects = sum(int(found.num_objects.sum()) for found in matches)
    f1 = 2 * num_right / (np.arange(1, len(scores) + 1) + num_objects)
    below = np.append(scores[1:], 0.0)
    f1[scores == below] = -1  # a threshold does not part equal scores
    best = int(np.argmax(f1))
    return float((scores[best] + below[best]) / 2)
