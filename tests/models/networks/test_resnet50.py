import keras
import numpy as np
import pytest

from models.networks.conv_block import ConvBlocks
from models.networks.resnet50 import resnet50
from models.weights.warm_start import load_resnet50
from tests.models.helpers import randomize

# The last layers of the four stages in keras.applications.
STAGE_ENDS = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


def backbone(size, multiplier=1.0, quantized=False, activation="relu"):
    image = keras.Input((size, size, 3))
    blocks = ConvBlocks(quantized)
    return keras.Model(image, resnet50(image, blocks, multiplier, activation))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "padding"), [(64, (0, 1)), (75, (0, 1)), (65, (1, 1))])
def test_equals_keras_from_pixels_to_every_stage(size, padding):
    """But for the first pooling: on even maps (32 and 38 cells) SAME pads one side alone."""
    theirs = keras.applications.ResNet50(
        input_shape=(size, size, 3), include_top=False, weights=None
    )
    randomize(theirs)
    theirs.get_layer("pool1_pad").padding = (padding, padding)
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


def test_relu6_bounds_the_stem_and_the_insides_of_the_blocks_but_not_their_sums():
    network = backbone(64, 0.125, activation="relu6")
    randomize(network)
    bounded = {
        name: network.get_layer(f"{name}_relu").output for name in ("conv1", "conv4_block2_2")
    }
    sums = {"conv4_block2": network.get_layer("conv4_block2_relu").output}
    probe = keras.Model(network.input, bounded | sums)
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    largest = {name: np.max(values) for name, values in probe(pixels).items()}
    assert largest["conv4_block2"] > 6.5
    assert all(largest[name] == 6 for name in bounded)
