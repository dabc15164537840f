import keras
import numpy as np

from models.networks.conv_block import ConvBlocks
from models.networks.mobilenet_v1 import mobilenet_v1
from models.weights.warm_start import load_matching_weights
from tests.models.helpers import randomize


def backbone(size, multiplier=0.25):
    image = keras.Input((size, size, 3))
    return keras.Model(image, mobilenet_v1(image, ConvBlocks(), multiplier, (5, 11, 13)))


def test_equals_keras_where_every_map_is_even():
    size = 224
    theirs = keras.applications.MobileNet(
        input_shape=(size, size, 3), alpha=0.25, include_top=False, weights=None
    )
    randomize(theirs)
    ours = backbone(size)
    loaded, kept = load_matching_weights(ours, theirs)
    assert not kept
    assert len(loaded) == 2 * 27
    taps = keras.Model(
        theirs.input,
        [theirs.get_layer(f"conv_pw_{block}_relu").output for block in (5, 11, 13)],
    )
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    for mine, expected in zip(ours(image), taps(image), strict=True):
        assert mine.shape == expected.shape
        assert np.std(expected) > 0.05
        np.testing.assert_allclose(mine, expected, atol=1e-3)


def test_odd_sizes_pad_as_tf_slim_does():
    shapes = [output.shape for output in backbone(300).outputs]
    assert shapes == [(None, 38, 38, 64), (None, 19, 19, 128), (None, 10, 10, 256)]
