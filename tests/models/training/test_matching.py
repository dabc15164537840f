import numpy as np

from models.networks import boxes as box_ops
from models.training.matching import anchors_in_crowds, assign_targets
from tests.models.helpers import ANCHORS, brute_force_iou, random_boxes

# 16 cells of 3 anchors, 4 of 6, and one of 6.
CELLS = np.repeat(np.float32([0.25, 0.5, 1.0]), [16 * 3, 4 * 6, 6])
CORNERS = np.asarray(box_ops.centers_to_corners(ANCHORS))


def assign(boxes, class_ids, num_classes=3, iou_threshold=0.5):
    """Targets of one image as arrays without the batch dimension."""
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 4)
    targets = assign_targets(
        boxes, np.int32([class_ids]), ANCHORS, num_classes, iou_threshold=iou_threshold
    )
    return [np.asarray(target)[0] for target in targets]


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(10):
        boxes, class_ids = random_boxes(rng, 4), rng.integers(0, 3, 4)
        classes, taken, matched = assign(boxes, class_ids)
        iou = np.array([[brute_force_iou(anchor, box) for box in boxes] for anchor in CORNERS])
        owner = np.where(iou.max(axis=1) >= 0.5, iou.argmax(axis=1), -1)
        for box in reversed(range(4)):  # the first box wins
            owner[iou[:, box].argmax()] = box
        np.testing.assert_array_equal(matched, owner >= 0)
        np.testing.assert_array_equal(classes.sum(axis=1), matched)
        np.testing.assert_array_equal(
            classes.argmax(axis=1)[owner >= 0], class_ids[owner[owner >= 0]]
        )
        np.testing.assert_allclose(taken[owner >= 0], boxes[owner[owner >= 0]], atol=1e-6)


def test_a_box_that_no_anchor_overlaps_enough_gets_its_best_one():
    tiny = [0.11, 0.61, 0.13, 0.63]
    classes, _, matched = assign([tiny], [2])
    assert matched.sum() == 1
    best = np.argmax([brute_force_iou(anchor, tiny) for anchor in CORNERS])
    assert matched[best] == 1
    np.testing.assert_array_equal(classes[best], [0, 0, 1])


def test_of_two_boxes_with_one_best_anchor_the_first_gets_it():
    first, second = [0.11, 0.61, 0.13, 0.63], [0.11, 0.61, 0.13, 0.635]
    classes, taken, matched = assign([first, second], [0, 1])
    assert matched.sum() == 1
    anchor = matched.argmax()
    np.testing.assert_array_equal(classes[anchor], [1, 0, 0])
    np.testing.assert_allclose(taken[anchor], first, atol=1e-6)


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
    classes, taken, matched = assign(np.zeros((3, 4)), [-1, -1, -1])
    assert not matched.any()
    assert not classes.any()
    assert np.isfinite(taken).all()


def test_a_box_equal_to_an_anchor_takes_it_exactly():
    _, taken, matched = assign(CORNERS[60], [0])
    assert matched[60] == 1
    np.testing.assert_array_equal(taken[60], CORNERS[60])


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
    together = assign_targets(boxes, class_ids, ANCHORS, 3, iou_threshold=0.5)
    for image in range(2):
        alone = assign(boxes[image], class_ids[image])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, np.asarray(b)[image], atol=1e-4)


def test_atss_equals_the_definition():
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(10):
        boxes, class_ids = random_boxes(rng, 4), rng.integers(0, 3, 4)
        targets = assign_targets(
            boxes[None], np.int32([class_ids]), ANCHORS, 3, iou_threshold=1.0, cell_sizes=CELLS
        )
        iou = np.array([[brute_force_iou(anchor, box) for box in boxes] for anchor in CORNERS])
        eligible = np.full(iou.shape, -1.0)
        for number, box in enumerate(boxes):
            center = (box[:2] + box[2:]) / 2
            offset = np.abs(ANCHORS[:, :2] - center) / CELLS[:, None]
            near = np.flatnonzero((offset < 1.5).all(axis=1))
            threshold = iou[near, number].mean() + iou[near, number].std()
            for anchor in near:
                y, x = ANCHORS[anchor, :2]
                inside = box[0] < y < box[2] and box[1] < x < box[3]
                if inside and iou[anchor, number] >= threshold:
                    eligible[anchor, number] = iou[anchor, number]
        owner = np.where(eligible.max(axis=1) >= 0, eligible.argmax(axis=1), -1)
        for number in reversed(range(4)):
            owner[iou[:, number].argmax()] = number
        matched = np.asarray(targets.matched)[0]
        np.testing.assert_array_equal(matched, owner >= 0)
        taken = np.asarray(targets.boxes)[0, owner >= 0]
        np.testing.assert_allclose(taken, boxes[owner[owner >= 0]], atol=1e-6)
        several += matched.sum() > 4
    assert several > 5


def test_atss_leaves_padding_alone():
    boxes = np.float32([[[0.2, 0.2, 0.6, 0.6], [0.9, 0.9, 0.1, 0.1]]])
    padded = assign_targets(
        boxes, np.int32([[1, -1]]), ANCHORS, 3, iou_threshold=0.5, cell_sizes=CELLS
    )
    alone = assign_targets(
        boxes[:, :1], np.int32([[1]]), ANCHORS, 3, iou_threshold=0.5, cell_sizes=CELLS
    )
    np.testing.assert_array_equal(padded.class_targets, alone.class_targets)
    assert 0 < np.sum(padded.matched) < len(ANCHORS)


def test_an_anchor_lies_in_a_crowd_that_covers_half_of_it():
    boxes = np.float32([[0, 0, 0.6, 0.7], [0.5, 0, 1, 1], [0.7, 0.7, 1, 1], [0, 0, 1, 1]])
    crowd = np.array([True, False, True, False])
    received = np.asarray(anchors_in_crowds(boxes[None], crowd[None], ANCHORS))[0]
    overlap = np.maximum(
        np.minimum(CORNERS[:, None, 2:], boxes[:, 2:])
        - np.maximum(CORNERS[:, None, :2], boxes[:, :2]),
        0,
    ).prod(axis=2)  # [N, M]
    areas = (CORNERS[:, 2:] - CORNERS[:, :2]).prod(axis=1)
    expected = (overlap[:, crowd] / areas[:, None]).max(axis=1) >= 0.5
    np.testing.assert_array_equal(received, expected)
    assert 0 < expected.sum() < len(expected)


def test_without_crowds_no_anchor_lies_in_one():
    # What stands in rows of padding is arbitrary.
    boxes = np.full((1, 2, 4), np.nan, np.float32)
    assert not np.any(anchors_in_crowds(boxes, np.zeros((1, 2), bool), ANCHORS))
