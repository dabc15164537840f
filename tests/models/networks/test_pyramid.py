import keras
import numpy as np
import pytest

from models.networks.conv_block import ConvBlocks
from models.networks.pyramid import Upsample2x, feature_pyramid


@pytest.mark.parametrize("size", [6, 5])
def test_upsampling_repeats_cells_and_crops_odd_maps(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
    expected = x.repeat(2, axis=1).repeat(2, axis=2)[:, :size, :size]
    np.testing.assert_array_equal(Upsample2x(size)(x), expected)


def pyramid(sizes, max_level=7, separable=False):
    """A pyramid of depth 1 over maps of the given sizes, and its input levels."""
    taps = {level: keras.Input((size, size, 2)) for level, size in sizes.items()}
    maps = feature_pyramid(taps, ConvBlocks(), 1, max_level, separable)
    return keras.Model(list(taps.values()), maps)


@pytest.mark.parametrize("separable", [False, True])
def test_levels_halve_rounding_up(separable):
    network = pyramid({3: 38, 4: 19, 5: 10}, separable=separable)
    sizes = {level: x.shape[1] for level, x in network.output.items()}
    assert sizes == {"level_3": 38, "level_4": 19, "level_5": 10, "level_6": 5, "level_7": 3}


def test_a_pyramid_may_start_coarse_and_end_early():
    assert list(pyramid({4: 16, 5: 8}, max_level=5).output) == ["level_4", "level_5"]


def test_unsmoothed_sums_go_on_to_the_finer_levels():
    """By hand: projections sum their two channels, smoothing keeps a tenth of the center."""
    network = pyramid({3: 4, 4: 2, 5: 1}, max_level=5)
    for level in (3, 4, 5):
        layer = network.get_layer(f"projection_level_{level}")
        layer.set_weights([np.ones((1, 1, 2, 1)), np.zeros(1)])
    for level in (3, 4):
        kernel = np.zeros((3, 3, 1, 1))
        kernel[1, 1] = 0.1
        network.get_layer(f"smoothing_level_{level}").set_weights([kernel])
    fine, middle, coarse = (np.full((1, size, size, 2), value, np.float32)
                            for size, value in ((4, 0.5), (2, 1.0), (1, 2.0)))  # fmt: skip
    received = network([fine, middle, coarse], training=False)
    scale = 1 / np.sqrt(1 + 1e-3)  # of a fresh batch norm
    np.testing.assert_allclose(received["level_5"], 4.0)  # a projection, not smoothed
    np.testing.assert_allclose(received["level_4"], np.full((1, 2, 2, 1), 0.1 * 6 * scale), 1e-5)
    np.testing.assert_allclose(received["level_3"], np.full((1, 4, 4, 1), 0.1 * 7 * scale), 1e-5)
