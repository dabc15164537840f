import keras
import numpy as np
import pytest

from models.networks.conv_block import ConvBlocks
from models.networks.resnet50 import resnet50
from models.weights.warm_start import load_resnet50
from tests.models.helpers import randomize

# The last layers of the four stages in keras.applications.
STAGE_ENDS = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


def backbone(size, multiplier=1.0, quantized=False):
    image = keras.Input((size, size, 3))
    blocks = ConvBlocks(quantized)
    return keras.Model(image, resnet50(image, blocks, multiplier))


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 75])
def test_equals_keras_from_pixels_to_every_stage(size):
    theirs = keras.applications.ResNet50(
        input_shape=(size, size, 3), include_top=False, weights=None
    )
    randomize(theirs)
    ours = backbone(size)
    load_resnet50(ours, theirs)
    ends = keras.Model(theirs.input, [theirs.get_layer(name).output for name in STAGE_ENDS])
    pixels = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    expected = ends(keras.applications.resnet50.preprocess_input(pixels.copy()))
    for received, reference in zip(ours(pixels / 127.5 - 1), expected, strict=True):
        assert received.shape == reference.shape
        spread = np.std(reference)
        assert spread > 0.05
        np.testing.assert_allclose(received, reference, atol=1e-3 * spread, rtol=1e-3)


def test_stages_halve_rounding_up():
    shapes = [output.shape[1:] for output in backbone(300, 0.125).outputs]
    assert shapes == [(75, 75, 32), (38, 38, 64), (19, 19, 128), (10, 10, 256)]


def test_the_mean_colour_is_subtracted_in_both_forms_and_not_trained():
    pixels = np.float32([[[[0, 0, 0], [255, 255, 255], [124, 117, 104]]] * 3])
    expected = pixels - np.float32([123.68, 116.779, 103.939])
    for quantized, tolerance in ((False, 1e-3), (True, 0.6)):
        network = backbone(32, 0.125, quantized)
        layers = [network.get_layer("mean_colour")]
        if quantized:
            layers.append(network.get_layer("mean_colour_quant"))
        x = pixels / 127.5 - 1
        for layer in layers:
            x = layer(x)
        np.testing.assert_allclose(x, expected, atol=tolerance)
        assert not [v for v in network.trainable_variables if "mean_colour" in v.path]
