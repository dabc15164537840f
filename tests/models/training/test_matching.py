import numpy as np

from models.networks import boxes as box_ops
from models.training.matching import assign_targets
from tests.models.helpers import ANCHORS, brute_force_iou, random_boxes

CORNERS = np.asarray(box_ops.centers_to_corners(ANCHORS))


def assign(boxes, class_ids, num_classes=3, iou_threshold=0.5):
    """Targets of one image as arrays without the batch dimension."""
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 4)
    targets = assign_targets(boxes, np.int32([class_ids]), ANCHORS, num_classes, iou_threshold)
    return [np.asarray(target)[0] for target in targets]


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(10):
        boxes, class_ids = random_boxes(rng, 4), rng.integers(0, 3, 4)
        classes, encoded, matched = assign(boxes, class_ids)
        iou = np.array([[brute_force_iou(anchor, box) for box in boxes] for anchor in CORNERS])
        owner = np.where(iou.max(axis=1) >= 0.5, iou.argmax(axis=1), -1)
        for box in reversed(range(4)):  # the first box wins
            owner[iou[:, box].argmax()] = box
        np.testing.assert_array_equal(matched, owner >= 0)
        np.testing.assert_array_equal(classes.sum(axis=1), matched)
        np.testing.assert_array_equal(
            classes.argmax(axis=1)[owner >= 0], class_ids[owner[owner >= 0]]
        )
        decoded = np.asarray(box_ops.decode(encoded, ANCHORS))[owner >= 0]
        np.testing.assert_allclose(decoded, boxes[owner[owner >= 0]], atol=1e-5)


def test_a_box_that_no_anchor_overlaps_enough_gets_its_best_one():
    tiny = [0.11, 0.61, 0.13, 0.63]
    classes, _, matched = assign([tiny], [2])
    assert matched.sum() == 1
    best = np.argmax([brute_force_iou(anchor, tiny) for anchor in CORNERS])
    assert matched[best] == 1
    np.testing.assert_array_equal(classes[best], [0, 0, 1])


def test_of_two_boxes_with_one_best_anchor_the_first_gets_it():
    first, second = [0.11, 0.61, 0.13, 0.63], [0.11, 0.61, 0.13, 0.635]
    classes, encoded, matched = assign([first, second], [0, 1])
    assert matched.sum() == 1
    anchor = matched.argmax()
    np.testing.assert_array_equal(classes[anchor], [1, 0, 0])
    np.testing.assert_allclose(box_ops.decode(encoded, ANCHORS)[anchor], first, atol=1e-6)


def test_padding_has_no_effect():
    rng = np.random.default_rng(1)
    boxes, class_ids = random_boxes(rng, 2), [1, 2]
    alone = assign(boxes, class_ids)
    # What stands in rows of padding is arbitrary, not numbers included.
    garbage = np.float32([CORNERS[0], [np.nan] * 4, [5, 5, -5, -5]])
    padded = assign(np.concatenate([boxes, garbage]), [*class_ids, -1, -1, -1])
    for a, b in zip(alone, padded, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_boxes_match_nothing():
    classes, encoded, matched = assign(np.zeros((3, 4)), [-1, -1, -1])
    assert not matched.any()
    assert not classes.any()
    assert np.isfinite(encoded).all()


def test_a_box_equal_to_an_anchor_takes_it_exactly():
    _, encoded, matched = assign(CORNERS[60], [0])
    assert matched[60] == 1
    np.testing.assert_allclose(encoded[60], 0, atol=1e-4)


def test_the_threshold_decides_how_many_anchors_match():
    box = [0.2, 0.2, 0.7, 0.7]
    overlaps = np.array([brute_force_iou(anchor, box) for anchor in CORNERS])
    for threshold in (0.1, 0.2, 0.9):
        *_, matched = assign([box], [0], iou_threshold=threshold)
        assert matched.sum() == max(np.sum(overlaps >= threshold), 1)
    assert np.sum(overlaps >= 0.1) > np.sum(overlaps >= 0.2) > 1


def test_images_of_a_batch_do_not_mix():
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 4).reshape(2, 2, 4)
    class_ids = np.int32([[0, -1], [1, 2]])
    together = assign_targets(boxes, class_ids, ANCHORS, 3, 0.5)
    for image in range(2):
        alone = assign(boxes[image], class_ids[image])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, np.asarray(b)[image], atol=1e-4)
