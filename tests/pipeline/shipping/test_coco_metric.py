import random

import numpy as np
import pytest

from pipeline.shipping.coco_metric import UNKNOWN_CLASS_DETECTIONS, Picture, score_pictures


def pictures(count=30):
    """One object a picture; half of the detections miss, and all scores are equal."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        box = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
        label = ["cat", "dog"][index % 2]
        moved = box + (0.5 if rng.random() < 0.5 else 0.01)
        score = np.array([0.5], np.float32)
        found.append(Picture(f"{index:03}", box, [label], moved, [label], score))
    return found


def test_equal_scores_rank_by_id_however_pictures_arrive():
    expected = score_pictures(pictures(), ["cat", "dog"])
    reordered = []
    for seed in range(5):
        shuffled = pictures()
        random.Random(seed).shuffle(shuffled)
        assert score_pictures(shuffled, ["cat", "dog"]) == expected
        renamed = [old._replace(source_id=f"{i:03}") for i, old in enumerate(shuffled)]
        reordered.append(score_pictures(renamed, ["cat", "dog"])["mAP50"])
    assert len({expected["mAP50"], *reordered}) > 1  # the order does matter here


def test_detections_of_unknown_classes_are_dropped_and_counted():
    known = pictures()
    strange = [picture._replace(detected_labels=["horse"]) for picture in known[:7]]
    metrics = score_pictures(strange + known[7:], ["cat", "dog"])
    assert metrics[UNKNOWN_CLASS_DETECTIONS] == 7
    assert metrics["mAP50"] < score_pictures(known, ["cat", "dog"])["mAP50"]


def test_class_names_default_to_those_of_the_ground_truth():
    named = score_pictures(pictures(), ["dog", "cat", "rabbit"])
    unnamed = score_pictures(pictures(), None)
    assert unnamed["mAP"] == named["mAP"]
    assert unnamed["AP/dog"] == named["AP/dog"]
    assert "AP/rabbit" not in unnamed


def test_ground_truth_of_an_unknown_class_is_an_error():
    with pytest.raises(ValueError, match=r"Received: \['dog'\] \(in 001\)"):
        score_pictures(pictures(), ["cat"])


def test_difficult_objects_and_crowds_do_not_count():
    good = pictures()
    expected = score_pictures(good, ["cat", "dog"])
    far = np.array([[0.7, 0.7, 0.9, 0.9]], np.float32)
    for flag in ("difficult", "crowd"):
        flagged = [
            one._replace(
                boxes=np.concatenate([one.boxes, far]),
                labels=[*one.labels, "cat"],
                **{flag: np.array([False, True])},
            )
            for one in good
        ]
        assert score_pictures(flagged, ["cat", "dog"]) == expected


def test_no_pictures_have_no_average_precision():
    metrics = score_pictures([], ["cat"])
    assert np.isnan(metrics["mAP50"])
    assert metrics[UNKNOWN_CLASS_DETECTIONS] == 0
