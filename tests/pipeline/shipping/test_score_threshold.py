import numpy as np
import pytest

from models.training.coco_matching import match_detections
from pipeline.shipping.score_threshold import recommend_thresholds

BOX = [0.1, 0.1, 0.5, 0.5]
ELSEWHERE = [0.6, 0.6, 0.9, 0.9]


def picture(*found, objects=((0, BOX),)):
    """Objects (class id, box), and detections (class id, box, score)."""
    ids, boxes = zip(*objects, strict=True) if objects else ((), ())
    truth = np.array(boxes).reshape(-1, 4), np.array(ids, np.int64)
    detections = (
        np.array([box for _, box, _ in found]).reshape(-1, 4),
        np.array([class_id for class_id, _, _ in found], np.int64),
        np.array([score for _, _, score in found], np.float32),
    )
    return truth, detections


def recommend(pictures, names=("cat", "dog")):
    truth, found = zip(*pictures, strict=True)
    return recommend_thresholds(match_detections(truth, found, len(names)), names)


def test_the_best_threshold_keeps_the_right_and_drops_the_wrong():
    best = recommend(
        [
            picture((0, BOX, 0.9), (0, ELSEWHERE, 0.3)),
            picture((0, BOX, 0.7), (0, ELSEWHERE, 0.2)),
        ]
    )
    # Between the lowest that is right and the highest that is wrong.
    assert best["all"]["threshold"] == pytest.approx(0.5)
    assert (best["all"]["precision"], best["all"]["recall"], best["all"]["f1"]) == (1, 1, 1)
    assert best["classes"]["cat"] == best["all"]
    assert best["classes"]["dog"] is None


def test_classes_have_thresholds_of_their_own():
    best = recommend(
        [
            picture((0, BOX, 0.9), (0, ELSEWHERE, 0.8)),
            picture((1, BOX, 0.4), (1, ELSEWHERE, 0.1), objects=((1, BOX),)),
        ]
    )
    assert best["classes"]["cat"]["threshold"] == pytest.approx(0.85)
    assert best["classes"]["dog"]["threshold"] == pytest.approx(0.25)
    # In all: keep three, of which one is wrong.
    assert best["all"]["threshold"] == pytest.approx(0.25)
    assert best["all"]["precision"] == pytest.approx(2 / 3)


def test_equal_scores_are_kept_or_dropped_together():
    best = recommend([picture((0, BOX, 0.5)), picture((0, ELSEWHERE, 0.5))])
    assert best["all"]["threshold"] == 0.5
    assert best["all"]["precision"] == 0.5


@pytest.mark.parametrize("found", [(), ((0, ELSEWHERE, 0.9),)])
def test_without_a_right_detection_there_is_nothing_to_recommend(found):
    best = recommend([picture(*found)])
    assert best == {"all": None, "classes": {"cat": None, "dog": None}}


def test_pictures_without_objects_count_against_a_low_threshold():
    best = recommend([picture((0, BOX, 0.9)), picture((0, BOX, 0.6), objects=())])
    assert best["all"]["threshold"] == pytest.approx(0.75)
