import numpy as np
import pytest
import tensorflow as tf

from models.training.losses import (
    giou_loss,
    overlaps_of_pairs,
    quality_focal_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
)
from tests.models.helpers import brute_force_iou, random_boxes


def reference_focal_loss(logits, targets, alpha, gamma):
    """Equation 5 of the paper, in float64."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    p_t = np.where(targets == 1, p, 1 - p)
    alpha_t = np.where(targets == 1, alpha, 1 - alpha)
    return (-alpha_t * (1 - p_t) ** gamma * np.log(p_t)).sum(axis=(1, 2))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (0.25, 2.0), (0.5, 0.0), (0.75, 1.5)])
def test_focal_loss_equals_the_paper(alpha, gamma):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (3, 20, 5)).astype(np.float32)
    targets = (rng.random((3, 20, 5)) < 0.2).astype(np.float32)
    loss = sigmoid_focal_loss(logits, targets, alpha, gamma)
    expected = reference_focal_loss(logits, targets, alpha, gamma)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_and_its_gradient_stay_finite(gamma):
    logits = tf.constant([[[300.0], [-300.0], [300.0], [-300.0], [0.0]]])
    targets = tf.constant([[[1.0], [1.0], [0.0], [0.0], [1.0]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = sigmoid_focal_loss(logits, targets, 0.75, gamma)
    np.testing.assert_allclose(
        loss, [0.75 * 300 + 0.25 * 300 + 0.75 * 0.5**gamma * np.log(2)], 1e-5
    )
    gradient = tape.gradient(loss, logits).numpy().ravel()
    # Wrong and sure: the full pull. Right and sure: none.
    np.testing.assert_allclose(gradient[:4], [0, -0.75, 0.25, 0], atol=1e-3)
    assert np.isfinite(gradient).all()


def test_focal_loss_is_per_image():
    logits, targets = np.zeros((2, 4, 3), np.float32), np.zeros((2, 4, 3), np.float32)
    targets[1] = 1
    loss = np.asarray(sigmoid_focal_loss(logits, targets, 0.75, 2.0))
    np.testing.assert_allclose(loss, 12 * 0.25 * np.log(2) * np.array([0.25, 0.75]), rtol=1e-5)


def test_smooth_l1_by_hand():
    encodings = np.float32([[[0.5, -2, 0, 0], [9, 9, 9, 9]]])
    loss = smooth_l1_loss(encodings, np.zeros((1, 2, 4), np.float32), np.float32([[1, 0]]))
    np.testing.assert_allclose(loss, [0.5 * 0.25 + (2 - 0.5)])


@pytest.mark.parametrize("value", [np.inf, 1e38])
def test_unmatched_anchors_give_neither_loss_nor_gradient(value):
    targets = tf.constant([[[value] * 4, [1.0] * 4]])
    encodings = tf.zeros([1, 2, 4])
    with tf.GradientTape() as tape:
        tape.watch(encodings)
        loss = smooth_l1_loss(encodings, targets, tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(loss, [4 * 0.5])
    np.testing.assert_allclose(tape.gradient(loss, encodings), [[[0] * 4, [-1] * 4]])


def test_quality_focal_loss_equals_the_paper():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 20, 4)).astype(np.float32)
    targets = (rng.random((2, 20, 4)) < 0.2).astype(np.float32)
    quality = rng.random((2, 20)).astype(np.float32)
    p, y = 1 / (1 + np.exp(-logits.astype(np.float64))), targets * quality[..., None]
    expected = np.abs(y - p) ** 2 * -((1 - y) * np.log(1 - p) + y * np.log(p))
    loss = quality_focal_loss(logits, targets, quality, 2.0)
    np.testing.assert_allclose(loss, expected.sum(axis=(1, 2)), rtol=1e-4)


def test_overlaps_of_pairs_equal_the_paper():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 50), random_boxes(rng, 50)
    iou, giou = map(np.asarray, overlaps_of_pairs(a, b))
    for row in range(50):
        overlap = brute_force_iou(a[row], b[row])
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a[row], b[row])]
        union = sum(areas) / (1 + overlap)
        top, bottom = np.minimum(a[row], b[row])[:2], np.maximum(a[row], b[row])[2:]
        hull = np.prod(bottom - top)
        assert iou[row] == pytest.approx(overlap, abs=1e-4)
        assert giou[row] == pytest.approx(overlap - (hull - union) / hull, abs=1e-4)
    assert giou.min() < -0.3 < 0.1 < iou.max()


def test_giou_pulls_boxes_together_that_do_not_overlap():
    boxes = tf.constant([[[0.1, 0.1, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0]]])
    target = tf.constant([[[0.1, 0.6, 0.2, 0.7], [0.0, 0.0, 1.0, 1.0]]])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        _, giou = overlaps_of_pairs(boxes, target)
        loss = giou_loss(giou, tf.constant([[1.0, 0.0]]))
    gradient = tape.gradient(loss, boxes).numpy()[0]
    assert loss.numpy()[0] > 1
    assert gradient[0, 3] < 0  # the right edge wants to go right
    np.testing.assert_array_equal(gradient[1], 0)  # not matched
