import numpy as np
import pytest
from keras import ops

from models.networks.anchors import (
    best_scale,
    make_anchors,
    pyramid_anchor_maps,
    ssd_anchor_maps,
)
from models.networks.boxes import centers_to_corners, pairwise_iou

SSD_AT_300 = ssd_anchor_maps((19, 10, 5, 3, 2, 1), 0.2, 0.95)


def test_a_300_pixel_input_has_1917_anchors():
    anchors = make_anchors(SSD_AT_300)
    assert anchors.shape == (19 * 19 * 3 + (100 + 25 + 9 + 4 + 1) * 6, 4) == (1917, 4)
    assert anchors.dtype == np.float32


def test_finest_map_has_a_reduced_set_of_shapes():
    root = np.sqrt(2)
    expected = [(0.1, 0.1), (0.2 / root, 0.2 * root), (0.2 * root, 0.2 / root)]
    np.testing.assert_allclose(SSD_AT_300[0].shapes, expected)


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
    np.testing.assert_allclose(SSD_AT_300[1].shapes, expected)


def test_last_map_ends_with_a_square_between_its_scale_and_the_whole_image():
    np.testing.assert_allclose(SSD_AT_300[-1].shapes[-1], [0.95**0.5] * 2)


def test_order_is_map_row_column_shape():
    anchors = make_anchors(SSD_AT_300)
    np.testing.assert_allclose(anchors[0], [0.5 / 19, 0.5 / 19, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(anchors[3, :2], [0.5 / 19, 1.5 / 19], rtol=1e-6)  # next column
    np.testing.assert_allclose(anchors[19 * 3, :2], [1.5 / 19, 0.5 / 19], rtol=1e-6)  # next row
    np.testing.assert_allclose(anchors[19 * 19 * 3], [0.05, 0.05, 0.35, 0.35], rtol=1e-6)
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.06, 0.3])
def test_min_scale_moves_the_finest_map(scale):
    anchors = make_anchors(ssd_anchor_maps((4, 2), min_scale=scale, max_scale=0.9))
    np.testing.assert_allclose(anchors[0, 2:], [scale / 2] * 2, rtol=1e-6)
    np.testing.assert_allclose(anchors[4 * 4 * 3, 2:], [0.9, 0.9], rtol=1e-6)


# Scales an octave, and ratios.
RETINANET = 2, (1.0, 2.0, 0.5)


def test_a_640_pixel_pyramid_has_51150_anchors():
    anchors = make_anchors(pyramid_anchor_maps(640, range(3, 8), 4.0, *RETINANET))
    cells = 80**2 + 40**2 + 20**2 + 10**2 + 5**2
    assert anchors.shape == (cells * 6, 4) == (51_150, 4)
    assert anchors.dtype == np.float32


def test_a_pyramid_goes_through_ratios_outside_and_scales_inside():
    # Level 3 of 640 pixels: sides of 32 and 32 * sqrt(2) pixels, the first center at 4 pixels.
    anchors = make_anchors(pyramid_anchor_maps(640, range(3, 8), 4.0, *RETINANET)) * 640
    root = 2**0.5
    expected = [
        (4, 4, 32, 32),
        (4, 4, 32 * root, 32 * root),
        (4, 4, 32 / root, 32 * root),  # ratio 2: width is twice the height
        (4, 4, 32, 64),
        (4, 4, 32 * root, 32 / root),
        (4, 4, 64, 32),
    ]
    np.testing.assert_allclose(anchors[:6], expected, rtol=1e-5)
    np.testing.assert_allclose(anchors[6, :2], [4, 12], rtol=1e-5)  # next column
    np.testing.assert_allclose(anchors[-6], [576, 576, 512, 512], rtol=1e-5)


@pytest.mark.parametrize(
    ("input_size", "cells", "first_centers"),
    [
        (300, (38, 19, 10, 5, 3), (0, 0, 0, 0, 0)),
        (320, (40, 20, 10, 5, 3), (4, 8, 16, 32, 0)),
        (256, (32, 16, 8, 4, 2), (4, 8, 16, 32, 64)),
    ],
)
def test_a_pyramid_starts_at_half_a_stride_only_where_the_stride_divides_the_size(
    input_size, cells, first_centers
):
    maps = pyramid_anchor_maps(input_size, range(3, 8), 4.0, *RETINANET)
    assert tuple(len(centers) for centers, _ in maps) == cells
    assert tuple(centers[0] * input_size for centers, _ in maps) == pytest.approx(first_centers)
    strides = [(centers[1] - centers[0]) * input_size for centers, _ in maps]
    assert strides == pytest.approx([8, 16, 32, 64, 128])


def test_a_cell_may_have_a_single_anchor():
    ((centers, shapes),) = pyramid_anchor_maps(320, [3], 2.0, 1, [1.0])
    assert len(centers) == 40
    assert shapes == [(16 / 320, 16 / 320)]


@pytest.mark.parametrize(("size", "ratio"), [(0.1, 1.0), (0.3, 1.0), (0.45, 1.3), (0.7, 0.8)])
def test_the_best_scale_overlaps_such_boxes_most(size, ratio):
    def anchors_at(scale):
        return make_anchors(ssd_anchor_maps((10, 5, 3, 2, 1, 1), scale, 0.95))

    scales = np.arange(0.05, 0.61, 0.05)
    chosen = best_scale(np.array([size]), np.array([ratio]), scales, anchors_at)
    height, width = size * ratio**0.5, size / ratio**0.5
    rng = np.random.default_rng(1)
    corner = rng.uniform(size=(300, 2)) * [1 - height, 1 - width]
    boxes = np.concatenate([corner, corner + np.array([height, width])], axis=1).astype("float32")

    def fit(scale):
        anchors = centers_to_corners(ops.convert_to_tensor(anchors_at(scale)))
        overlap = ops.convert_to_numpy(pairwise_iou(ops.convert_to_tensor(boxes), anchors))
        return np.quantile(overlap.max(axis=1), 0.1)

    assert fit(chosen) >= max(fit(scale) for scale in scales) - 0.02
