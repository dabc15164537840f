import numpy as np
import pytest
from keras import ops

from models.networks.anchors import anchor_shapes, best_min_scale, make_anchors
from models.networks.boxes import centers_to_corners, pairwise_iou

MAPS_AT_300 = (19, 10, 5, 3, 2, 1)


def test_a_300_pixel_input_has_1917_anchors():
    anchors = make_anchors(MAPS_AT_300)
    assert anchors.shape == (19 * 19 * 3 + (100 + 25 + 9 + 4 + 1) * 6, 4) == (1917, 4)
    assert anchors.dtype == np.float32


def test_finest_map_has_a_reduced_set_of_shapes():
    root = np.sqrt(2)
    expected = [(0.1, 0.1), (0.2 / root, 0.2 * root), (0.2 * root, 0.2 / root)]
    np.testing.assert_allclose(anchor_shapes(6)[0], expected)


def test_shapes_of_the_second_map_by_hand():
    # Scales are 0.2 + 0.15 k: this map has 0.35, the next one 0.5.
    expected = [
        (0.35, 0.35),
        (0.35 / 2**0.5, 0.35 * 2**0.5),
        (0.35 * 2**0.5, 0.35 / 2**0.5),
        (0.35 / 3**0.5, 0.35 * 3**0.5),
        (0.35 * 3**0.5, 0.35 / 3**0.5),
        ((0.35 * 0.5) ** 0.5, (0.35 * 0.5) ** 0.5),
    ]
    np.testing.assert_allclose(anchor_shapes(6)[1], expected)


def test_last_map_ends_with_a_square_between_its_scale_and_the_whole_image():
    np.testing.assert_allclose(anchor_shapes(6)[-1][-1], [0.95**0.5] * 2)


def test_order_is_map_row_column_shape():
    anchors = make_anchors(MAPS_AT_300)
    np.testing.assert_allclose(anchors[0], [0.5 / 19, 0.5 / 19, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(anchors[3, :2], [0.5 / 19, 1.5 / 19], rtol=1e-6)  # next column
    np.testing.assert_allclose(anchors[19 * 3, :2], [1.5 / 19, 0.5 / 19], rtol=1e-6)  # next row
    np.testing.assert_allclose(anchors[19 * 19 * 3], [0.05, 0.05, 0.35, 0.35], rtol=1e-6)
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.06, 0.3])
def test_min_scale_moves_the_finest_map(scale):
    anchors = make_anchors((4, 2), min_scale=scale, max_scale=0.9)
    np.testing.assert_allclose(anchors[0, 2:], [scale / 2] * 2, rtol=1e-6)
    np.testing.assert_allclose(anchors[4 * 4 * 3, 2:], [0.9, 0.9], rtol=1e-6)


@pytest.mark.parametrize(("size", "ratio"), [(0.1, 1.0), (0.3, 1.0), (0.45, 1.3), (0.7, 0.8)])
def test_the_best_smallest_scale_overlaps_such_boxes_most(size, ratio):
    maps = (10, 5, 3, 2, 1, 1)
    chosen = best_min_scale(np.array([size]), np.array([ratio]), maps)
    height, width = size * ratio**0.5, size / ratio**0.5
    rng = np.random.default_rng(1)
    corner = rng.uniform(size=(300, 2)) * [1 - height, 1 - width]
    boxes = np.concatenate([corner, corner + np.array([height, width])], axis=1).astype("float32")

    def fit(scale):
        anchors = centers_to_corners(ops.convert_to_tensor(make_anchors(maps, scale)))
        overlap = ops.convert_to_numpy(pairwise_iou(ops.convert_to_tensor(boxes), anchors))
        return np.quantile(overlap.max(axis=1), 0.1)

    assert fit(chosen) >= max(fit(scale) for scale in np.arange(0.05, 0.61, 0.05)) - 0.02


def test_the_smallest_scale_stays_below_the_largest():
    chosen = best_min_scale(np.array([0.9]), np.array([1.0]), (4, 2, 1, 1, 1, 1), max_scale=0.3)
    assert chosen < 0.3
