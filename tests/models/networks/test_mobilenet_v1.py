import keras
import numpy as np

from models.networks.conv_block import ConvBlocks
from models.networks.mobilenet_v1 import freeze_blocks, mobilenet_v1
from models.networks.ssd import build_ssd
from models.weights.warm_start import load_matching_weights
from tests.models.helpers import TINY, randomize


def backbone(size, multiplier=0.25):
    image = keras.Input((size, size, 3))
    return keras.Model(image, mobilenet_v1(image, ConvBlocks(), multiplier))


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
        [theirs.get_layer("conv_pw_11_relu").output, theirs.get_layer("conv_pw_13_relu").output],
    )
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    for mine, expected in zip(ours(image), taps(image), strict=True):
        assert mine.shape == expected.shape
        assert np.std(expected) > 0.05
        np.testing.assert_allclose(mine, expected, atol=1e-3)


def test_odd_sizes_pad_as_tf_slim_does():
    fine, coarse = backbone(300).outputs
    assert fine.shape == (None, 19, 19, 128)
    assert coarse.shape == (None, 10, 10, 256)


def test_the_stem_and_the_first_blocks_are_frozen():
    network = build_ssd(TINY)
    freeze_blocks(network, 0)
    assert all(layer.trainable for layer in network.layers)
    freeze_blocks(network, 2)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    assert frozen == {
        *("conv1", "conv1_bn"),
        *(
            f"conv_{kind}_{index}{end}"
            for kind in ("dw", "pw")
            for index in (1, 2)
            for end in ("", "_bn")
        ),
    }
