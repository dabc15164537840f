import numpy as np
import pytest

from models.agreement import compare
from models.post_processing import Detections

A, B = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
TOLERANCES = {"min_score": 0.3, "max_score_difference": 0.1, "min_iou": 0.85}


def found(*rows):
    """Detections of (box, class id, score)."""
    boxes = np.float32([row[0] for row in rows]).reshape(-1, 4)
    return Detections(
        boxes, np.int32([row[1] for row in rows]), np.float32([row[2] for row in rows])
    )


REFERENCE = found((A, 0, 0.9), (B, 1, 0.5), (B, 0, 0.1))


def share(other, reference=REFERENCE):
    return compare([reference], [other], **TOLERANCES)


def test_a_detector_agrees_with_itself():
    result = share(REFERENCE)
    assert (result.num_expected, result.num_received, result.num_matched) == (2, 2, 2)
    assert result.share == 1
    assert result.max_score_difference == 0
    assert result.min_iou == pytest.approx(1)


@pytest.mark.parametrize(
    "other",
    [
        found((A, 0, 0.9)),  # one is missing
        found((A, 0, 0.9), (B, 0, 0.5)),  # another class
        found((A, 0, 0.9), (B, 1, 0.75)),  # another score
        found((A, 0, 0.9), ([0.6, 0.6, 0.9, 0.8], 1, 0.5)),  # another size
        found((A, 0, 0.9), (B, 1, 0.5), (A, 1, 0.8), (B, 2, 0.8)),  # two that are not there
    ],
)
def test_every_kind_of_difference_counts(other):
    assert share(other).share == 0.5


def test_a_score_that_rounding_moved_over_the_line_does_not():
    reference, other = found((A, 0, 0.32)), found((A, 0, 0.28))
    assert share(other, reference).share == 1
    assert share(reference, other).share == 1


def test_differences_are_reported():
    result = share(found((A, 0, 0.85), ([0.6, 0.6, 0.9, 0.88], 1, 0.5)))
    assert result.max_score_difference == pytest.approx(0.05)
    assert result.min_iou == pytest.approx(0.28 / 0.3, abs=1e-4)


def test_nothing_agrees_with_nothing():
    result = share(found(), found())
    assert result.share == 1
    assert result.min_iou == 1


def test_images_are_compared_one_by_one():
    swapped = compare([found((A, 0, 0.9)), found()], [found(), found((A, 0, 0.9))], **TOLERANCES)
    assert (swapped.num_images, swapped.num_matched) == (2, 0)
