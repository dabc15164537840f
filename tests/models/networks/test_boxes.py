import numpy as np
import pytest

from models.networks import boxes
from tests.models.helpers import ANCHORS, brute_force_iou, random_boxes

WHOLE_IMAGE = np.array([[0, 0, 1, 1]], np.float32)


def test_iou_equals_brute_force():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 30), random_boxes(rng, 20)
    expected = [[brute_force_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(boxes.pairwise_iou(a, b), expected, atol=1e-6)
    assert np.max(expected) > 0.3


def test_iou_of_batches_broadcasts():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 5), random_boxes(rng, 12).reshape(3, 4, 4)
    result = np.asarray(boxes.pairwise_iou(a[None], b))
    assert result.shape == (3, 5, 4)
    np.testing.assert_allclose(result[1], boxes.pairwise_iou(a, b[1]), atol=1e-7)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [0, 0, 0.5, 0.5], 0.25),
        ([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], 0.0),  # they touch
        ([0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3], 0.0),  # both empty
        ([0.3, 0.3, 0.3, 0.3], [0, 0, 1, 1], 0.0),
    ],
)
def test_iou_of_special_boxes(a, b, expected):
    result = boxes.pairwise_iou(np.float32([a]), np.float32([b]))
    np.testing.assert_allclose(result, [[expected]], atol=1e-7)


def test_corners_and_centers_are_inverse():
    corners = random_boxes(np.random.default_rng(2), 50)
    there_and_back = boxes.centers_to_corners(boxes.corners_to_centers(corners))
    np.testing.assert_allclose(there_and_back, corners, atol=1e-6)
    np.testing.assert_allclose(boxes.corners_to_centers(WHOLE_IMAGE), [[0.5, 0.5, 1, 1]])


def test_encoding_by_hand():
    anchor = np.float32([[0.5, 0.5, 0.2, 0.4]])
    box = np.float32([[0.5, 0.3, 0.7, 0.7]])  # center (0.6, 0.5), 0.2 x 0.4
    np.testing.assert_allclose(boxes.encode(box, anchor), [[10 * 0.1 / 0.2, 0, 0, 0]], atol=1e-5)
    twice = np.float32([[0.3, 0.1, 0.7, 0.9]])  # the anchor's center, twice its size
    expected = [[0, 0, 5 * np.log(2), 5 * np.log(2)]]
    np.testing.assert_allclose(boxes.encode(twice, anchor), expected, atol=1e-5)


def test_decode_inverts_encode_for_every_anchor():
    anchors = ANCHORS
    matched = random_boxes(np.random.default_rng(3), len(anchors))
    decoded = boxes.decode(boxes.encode(matched, anchors), anchors)
    np.testing.assert_allclose(decoded, matched, atol=1e-5)


def test_the_whole_image_survives_the_round_trip():
    anchor = np.float32([[0.01, 0.99, 0.05, 0.05]])
    decoded = boxes.decode(boxes.encode(WHOLE_IMAGE, anchor), anchor)
    np.testing.assert_allclose(decoded, WHOLE_IMAGE, atol=1e-5)


def test_padding_encodes_finitely():
    encoded = np.asarray(boxes.encode(np.zeros((1, 4), np.float32), np.float32([[0.5] * 4])))
    assert np.isfinite(encoded).all()
