import numpy as np
import pytest

from models.networks.post_processing import Detections
from models.tflite.agreement import compare, relative_error

A, B = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
TOLERANCES = {"min_score": 0.3, "max_score_difference": 0.1, "min_iou": 0.85}


def found(*rows):
    """Detections of (box, class id, score)."""
    boxes = np.float32([row[0] for row in rows]).reshape(-1, 4)
    return Detections(
        boxes, np.int32([row[1] for row in rows]), np.float32([row[2] for row in rows])
    )


REFERENCE = found((A, 0, 0.9), (B, 1, 0.5), (B, 0, 0.1))


def against(other, reference=REFERENCE):
    return compare([reference], [other], **TOLERANCES)


def test_a_detector_agrees_with_itself():
    result = against(REFERENCE)
    assert (result.num_expected, result.num_received, result.num_matched) == (2, 2, 2)
    assert set(result.shares.values()) == {1}
    assert result.max_score_difference == 0
    assert result.min_iou == pytest.approx(1)


@pytest.mark.parametrize(
    ("other", "output"),
    [
        (found((A, 0, 0.9)), "count"),  # one is missing
        (found((A, 0, 0.9), (B, 0, 0.5)), "classes"),
        (found((A, 0, 0.9), (B, 1, 0.75)), "scores"),
        (found((A, 0, 0.9), ([0.6, 0.6, 0.9, 0.8], 1, 0.5)), "boxes"),
        (found((A, 0, 0.9), (B, 1, 0.5), (A, 1, 0.8), (B, 2, 0.8)), "count"),  # two are not there
    ],
)
def test_every_output_that_differs_is_told_from_the_others(other, output):
    shares = against(other).shares
    assert shares.pop("all") == 0.5
    assert shares.pop(output) == 0.5
    assert set(shares.values()) == {1}


def test_pairs_are_one_to_one():
    # Two of the file's detections lie where the network has one, and the other way round.
    one, two = found((A, 0, 0.9)), found((A, 0, 0.9), ([0.1, 0.1, 0.5, 0.48], 0, 0.85))
    for reference, other in ((one, two), (two, one)):
        result = against(other, reference)
        assert (result.num_pairs, result.num_unpaired) == (1, 1)
        assert result.shares["all"] == 0.5
        assert result.min_iou == pytest.approx(1)


def test_one_class_goes_before_more_overlap():
    # The second class at one place is not taken for the first one, though it fits better.
    reference = found((A, 0, 0.9), ([0.1, 0.1, 0.5, 0.47], 1, 0.8))
    other = found(([0.1, 0.1, 0.5, 0.47], 0, 0.9), (A, 1, 0.8))
    result = against(other, reference)
    assert (result.num_pairs, result.num_classes) == (2, 2)


def test_a_score_that_rounding_moved_over_the_line_is_none():
    reference, other = found((A, 0, 0.32)), found((A, 0, 0.28))
    assert against(other, reference).shares["all"] == 1
    assert against(reference, other).shares["all"] == 1
    assert against(found((A, 0, 0.15)), reference).shares["count"] == 0


def test_differences_are_reported():
    result = against(found((A, 0, 0.85), ([0.6, 0.6, 0.9, 0.88], 1, 0.5)))
    assert result.max_score_difference == pytest.approx(0.05)
    assert result.min_iou == pytest.approx(0.28 / 0.3, abs=1e-4)


def test_nothing_is_not_something():
    assert against(found()).shares["all"] == 0
    assert against(REFERENCE, found()).shares["all"] == 0


def test_nothing_agrees_with_nothing_and_says_that_it_is_nothing():
    result = against(found(), found())
    assert result.shares["all"] == 1
    assert result.num_pairs + result.num_unpaired == 0
    assert result.min_iou == 1


def test_images_are_compared_one_by_one():
    swapped = compare([found((A, 0, 0.9)), found()], [found(), found((A, 0, 0.9))], **TOLERANCES)
    assert (swapped.num_images, swapped.num_pairs, swapped.num_unpaired) == (2, 0, 2)


def test_errors_are_relative_to_the_spread():
    values = np.random.default_rng(0).normal(5, 2, (10, 100)).astype(np.float32)
    assert relative_error(values, values, 0.1) == 0
    assert relative_error(values, values + 0.5, 0.1) == pytest.approx(0.25, abs=0.01)
    assert relative_error(values, np.full_like(values, 5), 0.1) == pytest.approx(1, abs=0.01)


def test_an_error_within_rounding_is_small_however_silent_the_network():
    silent = np.full((10, 100), 0.01, np.float32)
    assert relative_error(silent, silent + 0.002, 1 / 64) < 0.2
    assert relative_error(silent, np.zeros_like(silent), 1 / 64) > 0.5
