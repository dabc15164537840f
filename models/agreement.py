"""Compares an exported file with the network that it was made from, output by output."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from models.post_processing import Detections


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far two detectors agree on the same images.

    Attributes:
      num_images: images compared.
      num_expected: sure detections of the reference.
      num_received: sure detections of the other.
      num_matched: those of the reference that the other has too, within the tolerances.
      max_score_difference: over the pairs of one class and place.
      min_iou: over those pairs; 1 without any.
    """

    num_images: int
    num_expected: int
    num_received: int
    num_matched: int
    max_score_difference: float
    min_iou: float

    @property
    def share(self) -> float:
        """Matched detections among all that either has, 0..1; 1 when there are none."""
        either = max(self.num_expected, self.num_received)
        return self.num_matched / either if either else 1.0


def compare(
    expected: Sequence[Detections],
    received: Sequence[Detections],
    *,
    min_score: float,
    max_score_difference: float,
    min_iou: float,
) -> Agreement:
    """Pairs the detections of two detectors.

    Each sure detection of the reference is paired with the other's detection of the same class
    that overlaps it most. A pair agrees when boxes and scores are within the tolerances.

    Args:
      expected: of the reference, one an image.
      received: of the other, likewise. Its detections just below `min_score` may be partners.
      min_score: a detection is sure from this score on.
      max_score_difference: tolerance of the scores.
      min_iou: tolerance of the boxes.

    Returns:
      `Agreement`.
    """
    num_expected = num_received = num_matched = 0
    worst_score, worst_iou = 0.0, 1.0
    for reference, other in zip(expected, received, strict=True):
        sure = np.flatnonzero(reference.scores >= min_score)
        num_expected += len(sure)
        # A score that rounding moved across the line is no disagreement.
        num_received += int(np.sum(other.scores >= min_score + max_score_difference / 2))
        for row in sure:
            candidates = np.flatnonzero(other.class_ids == reference.class_ids[row])
            if not len(candidates):
                continue
            overlaps = _iou(reference.boxes[row], other.boxes[candidates])
            best = int(np.argmax(overlaps))
            if overlaps[best] < 0.5:
                continue  # another object
            difference = abs(float(other.scores[candidates[best]] - reference.scores[row]))
            worst_score = max(worst_score, difference)
            worst_iou = min(worst_iou, float(overlaps[best]))
            num_matched += difference <= max_score_difference and overlaps[best] >= min_iou
    return Agreement(
        len(expected), num_expected, num_received, int(num_matched), worst_score, worst_iou
    )


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Overlap of one box [4] with others [n, 4]: [n]."""
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return intersection / np.maximum(area + areas - intersection, 1e-9)
