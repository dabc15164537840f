import pickle
import random

import numpy as np
import pytest
import tfx.v1  # noqa: F401 - TFX patches EvalConfig into TFMA, so it comes first
from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

from pipeline.shipping.coco_metric import (
    UNKNOWN_CLASS_DETECTIONS,
    CocoCombineFn,
    Picture,
    PictureScorer,
)


def score_pictures(pictures, class_names):
    scorer = PictureScorer(class_names)
    for picture in pictures:
        scorer.add(picture)
    return scorer.metrics()


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


def test_parts_are_merged_in_any_order_as_on_beams_workers():
    combine = CocoCombineFn("", None)
    parts = [combine.create_accumulator() for _ in range(3)]
    for index, picture in enumerate(pictures()):
        inputs = StandardMetricInputs(
            {
                "labels": {key: getattr(picture, key) for key in ("source_id", "boxes", "labels")}
                | {"difficult": np.array([False]), "crowd": np.array([False])},
                "predictions": {
                    "boxes": picture.detected_boxes,
                    "labels": picture.detected_labels,
                    "scores": picture.scores,
                },
            }
        )
        parts[index % 3] = combine.add_input(parts[index % 3], inputs)
    parts = [pickle.loads(pickle.dumps(part)) for part in reversed(parts)]
    received = combine.extract_output(combine.merge_accumulators(parts))
    expected = score_pictures(pictures(), None)
    assert {key.name: value for key, value in received.items()} == expected


def test_what_is_kept_of_a_detection_is_small():
    """Beam holds an accumulator several times over."""
    boxes = np.random.default_rng(0).random((100, 4)).astype(np.float32)
    scorer = PictureScorer()
    for index in range(100):
        picture = Picture(
            f"{index:06}", boxes[:5], ["cat"] * 5, boxes, ["cat", "dog"] * 50, boxes[:, 0]
        )
        scorer.add(picture)
    assert len(pickle.dumps(scorer)) < 100 * 600


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
