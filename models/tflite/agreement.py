"""Compares an exported file with the network that it was made from, output by output."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from models.networks.post_processing import Detections

# Detections that overlap less than this are two objects, not one that is placed differently.
_SAME_PLACE = 0.5


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far two detectors agree on the same images.

    Attributes:
      num_images: images compared.
      num_expected: sure detections of the reference.
      num_received: sure detections of the other.
      num_pairs: detections of both at one place, one to one.
      num_unpaired: sure detections that only one of the two has: the counts differ by them.
      num_classes: pairs whose classes are equal.
      num_boxes: pairs whose boxes agree within the tolerance.
      num_scores: pairs whose scores agree within the tolerance.
      num_matched: pairs that agree in all three.
      max_score_difference: over the pairs.
      min_iou: over the pairs; 1 without any.
    """

    num_images: int
    num_expected: int
    num_received: int
    num_pairs: int
    num_unpaired: int
    num_classes: int
    num_boxes: int
    num_scores: int
    num_matched: int
    max_score_difference: float
    min_iou: float

    @property
    def shares(self) -> dict[str, float]:
        """By output, the share that agrees, 0..1; 1 when there is nothing to compare.

        `count`: pairs among all sure detections of either. `classes`, `boxes`, `scores`: those
        that agree among the pairs. `all`: pairs that agree in everything among all.
        """
        either = self.num_pairs + self.num_unpaired
        return {
            "count": self.num_pairs / either if either else 1.0,
            "classes": self.num_classes / self.num_pairs if self.num_pairs else 1.0,
            "boxes": self.num_boxes / self.num_pairs if self.num_pairs else 1.0,
            "scores": self.num_scores / self.num_pairs if self.num_pairs else 1.0,
            "all": self.num_matched / either if either else 1.0,
        }


def compare(
    expected: Sequence[Detections],
    received: Sequence[Detections],
    *,
    min_score: float,
    max_score_difference: float,
    min_iou: float,
) -> Agreement:
    """Pairs the detections of two detectors, one to one.

    Detections of one class that overlap most are paired first, then what is left of different
    classes. A score that rounding moved across the line of `min_score` is no disagreement: a sure
    detection's partner may be below it by the tolerance.

    Args:
      expected: of the reference, one an image.
      received: of the other, likewise.
      min_score: a detection is sure from this score on.
      max_score_difference: tolerance of the scores.
      min_iou: tolerance of the boxes.

    Returns:
      `Agreement`.
    """
    counts = np.zeros(8, np.int64)
    worst_score, worst_iou = 0.0, 1.0
    for reference, other in zip(expected, received, strict=True):
        sure, other_sure = reference.scores >= min_score, other.scores >= min_score
        paired, other_paired = np.zeros_like(sure), np.zeros_like(other_sure)
        for row, column, overlap in _pairs(reference, other, min_score - max_score_difference):
            if not (sure[row] or other_sure[column]):
                continue
            paired[row] = other_paired[column] = True
            difference = abs(float(other.scores[column] - reference.scores[row]))
            worst_score, worst_iou = max(worst_score, difference), min(worst_iou, overlap)
            agree = (
                reference.class_ids[row] == other.class_ids[column],
                overlap >= min_iou,
                difference <= max_score_difference,
            )
            counts += [0, 0, 1, 0, *agree, all(agree)]
        unpaired = np.sum(sure & ~paired) + np.sum(other_sure & ~other_paired)
        counts += [sure.sum(), other_sure.sum(), 0, unpaired, 0, 0, 0, 0]
    return Agreement(len(expected), *counts.tolist(), worst_score, worst_iou)


def _pairs(reference: Detections, other: Detections, min_score: float):
    """Yields (row, column, overlap) one to one, over detections from `min_score` on."""
    rows = np.flatnonzero(reference.scores >= min_score)
    columns = np.flatnonzero(other.scores >= min_score)
    overlaps = _iou(reference.boxes[rows], other.boxes[columns])  # [n, m]
    same_class = reference.class_ids[rows][:, None] == other.class_ids[columns]
    free_rows, free_columns = np.ones(len(rows), bool), np.ones(len(columns), bool)
    # Pairs of one class come first, by their overlap.
    for index in np.argsort(-(overlaps + 2 * same_class), axis=None, kind="stable"):
        row, column = np.unravel_index(index, overlaps.shape)
        if overlaps[row, column] >= _SAME_PLACE and free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            yield rows[row], columns[column], float(overlaps[row, column])


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlaps of boxes [n, 4] with others [m, 4]: [n, m]."""
    top_left = np.maximum(boxes[:, None, :2], others[:, :2])  # [n, m, 2]
    bottom_right = np.minimum(boxes[:, None, 2:], others[:, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)  # [n, m]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    other_areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return intersection / np.maximum(areas[:, None] + other_areas - intersection, 1e-9)


def relative_error(expected: np.ndarray, received: np.ndarray, least_spread: float) -> float:
    """How far values are off, whatever they stand for.

    Args:
      expected: of the reference.
      received: of the other, of the same shape.
      least_spread: spreads below it count as this much: no comparison is finer than rounding.

    Returns:
      The root mean square of the difference, divided by the standard deviation of `expected`. A
      file that computes something else, or always the same, has about 1 or more.
    """
    difference = np.sqrt(np.mean(np.square(received - expected, dtype=np.float64)))
    return float(difference / max(float(np.std(expected, dtype=np.float64)), least_spread))
