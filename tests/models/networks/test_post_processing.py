"""The NumPy post-processing against its definition; test_export has it against the TFLite op."""

import numpy as np
import pytest

from models.networks import boxes as box_ops
from models.networks.post_processing import decode_boxes, post_process, suppress
from models.settings import PostProcessing
from tests.models.helpers import ANCHORS, brute_force_iou, random_boxes


def logits_of(scores):
    scores = np.asarray(scores, np.float64)
    return np.log(scores / (1 - scores)).astype(np.float32)


def run(boxes, scores, **settings):
    """Detections for given boxes [n, 4] and class scores [n, C], at the first n anchors."""
    anchors = ANCHORS[: len(boxes)]
    encodings = np.asarray(box_ops.encode(np.float32(boxes), anchors))
    return post_process(encodings, logits_of(scores), anchors, PostProcessing(**settings))


def test_decoding_equals_the_training_code():
    encodings = np.random.default_rng(0).normal(0, 3, (2, len(ANCHORS), 4)).astype(np.float32)
    expected = box_ops.decode(encodings, ANCHORS)
    np.testing.assert_allclose(decode_boxes(encodings, ANCHORS), expected, rtol=1e-5, atol=1e-5)


def test_suppression_keeps_what_the_definition_keeps():
    rng = np.random.default_rng(0)
    boxes, scores = random_boxes(rng, 60), rng.uniform(0, 1, 60).astype(np.float32)
    settings = PostProcessing(iou_threshold=0.3, score_threshold=0.2)
    kept = suppress(boxes, scores, settings)
    expected = []
    for row in np.argsort(-scores):
        overlaps = [brute_force_iou(boxes[row], boxes[other]) for other in expected]
        if scores[row] >= 0.2 and all(overlap <= 0.3 for overlap in overlaps):
            expected.append(row)
    assert kept.tolist() == expected
    assert len(kept) < np.sum(scores >= 0.2)


TWINS = [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51], [0.6, 0.6, 0.9, 0.9]]


def test_regular_suppression_is_class_by_class():
    found = run(TWINS, [[0.9, 0.1], [0.2, 0.8], [0.3, 0.1]], score_threshold=0.25)
    assert found.class_ids.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.3], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, TWINS, atol=1e-5)


def test_fast_suppression_is_across_classes():
    scores = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.1]]
    found = run(TWINS, scores, score_threshold=0.25, regular_nms=False)
    assert found.class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.3], rtol=1e-5)


def test_one_anchor_may_have_two_classes_when_regular():
    found = run(TWINS[:1], [[0.7, 0.6]])
    assert found.class_ids.tolist() == [0, 1]
    assert run(TWINS[:1], [[0.7, 0.6]], regular_nms=False).class_ids.tolist() == [0]


def test_at_most_max_detections_and_the_best_ones():
    rng = np.random.default_rng(1)
    boxes, scores = random_boxes(rng, 50), rng.uniform(0.1, 0.9, (50, 3))
    every = run(boxes, scores, max_detections=1000)
    few = run(boxes, scores, max_detections=5)
    assert len(few.scores) == 5
    np.testing.assert_array_equal(few.scores, every.scores[:5])
    assert (np.diff(every.scores) <= 0).all()


def test_boxes_are_clipped_to_the_image_after_suppression():
    found = run([[-0.5, -0.5, 0.5, 1.5]], [[0.9]])
    np.testing.assert_allclose(found.boxes, [[0, 0, 0.5, 1]], atol=1e-6)


@pytest.mark.parametrize("regular", [True, False])
def test_nothing_found(regular):
    found = run(TWINS, np.full((3, 2), 0.01), score_threshold=0.5, regular_nms=regular)
    assert found.boxes.shape == (0, 4)
    assert found.class_ids.shape == found.scores.shape == (0,)
    assert (found.boxes.dtype, found.class_ids.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_raise_no_warning(logit):
    """Warnings are errors in tests."""
    logits = np.full((1, 2), logit, np.float32)
    found = post_process(np.zeros((1, 4), np.float32), logits, ANCHORS[:1], PostProcessing())
    assert found.scores.tolist() == ([1.0, 1.0] if logit > 0 else [])
