import numpy as np
import pytest

from models.networks.ssd import SsdConfig, build_ssd, map_sizes, normalize
from tests.models.helpers import TINY, randomize


@pytest.mark.parametrize(
    ("size", "maps"),
    [(300, (19, 10, 5, 3, 2, 1)), (224, (14, 7, 4, 2, 1, 1)), (160, (10, 5, 3, 2, 1, 1))],
)
def test_map_sizes(size, maps):
    assert map_sizes(size) == maps


def test_the_zoo_detector_has_1917_anchors():
    config = SsdConfig(num_classes=90, input_size=300)
    assert config.anchors.shape == (1917, 4)


@pytest.mark.parametrize(("size", "quantized"), [(75, False), (96, True)])
def test_outputs_have_a_row_for_each_anchor(size, quantized):
    config = SsdConfig(num_classes=2, input_size=size, depth_multiplier=0.125)
    network = build_ssd(config, quantized)
    outputs = network(np.zeros((2, size, size, 3), np.float32))
    assert outputs["box_encodings"].shape == (2, len(config.anchors), 4)
    assert outputs["class_logits"].shape == (2, len(config.anchors), 2)


def test_an_anchor_follows_its_cell():
    """A change of one corner of the image moves the outputs of the anchors there, not others."""
    config = SsdConfig(num_classes=1, input_size=256, depth_multiplier=0.125, head_kernel_size=1)
    network = build_ssd(config)
    randomize(network)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 256, 256, 3)).astype(np.float32)
    images[1] = images[0]
    images[1, 240:, :16] *= -1  # bottom left
    encodings = np.asarray(network(images)["box_encodings"])
    finest = map_sizes(config.input_size)[0] ** 2 * 3
    change = np.abs(encodings[1] - encodings[0]).max(axis=1)[:finest]
    ycenter, xcenter = config.anchors[change.argmax(), :2]
    assert ycenter > 0.75
    assert xcenter < 0.25


def test_classes_start_at_the_configured_probability():
    network = build_ssd(TINY.model_copy(update={"class_bias": -4.6}))
    logits = np.asarray(network(np.zeros((1, 64, 64, 3), np.float32))["class_logits"])
    assert np.median(logits) == pytest.approx(-4.6, abs=0.1)


def test_no_map_gets_too_thin():
    network = build_ssd(SsdConfig(num_classes=1, input_size=64, depth_multiplier=0.125))
    filters = [network.get_layer(f"map_{index}").filters for index in range(2, 6)]
    assert filters == [64, 32, 32, 16]


def test_the_extra_maps_can_be_wider_than_the_backbone():
    config = TINY.model_copy(update={"extra_depth_multiplier": 0.5})
    network, usual = build_ssd(config), build_ssd(TINY)
    filters = [network.get_layer(f"map_{index}").filters for index in range(2, 6)]
    assert filters == [256, 128, 128, 64]
    assert network.get_layer("conv_pw_13").filters == usual.get_layer("conv_pw_13").filters


def test_pixels_are_normalised_to_plus_minus_one():
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(normalize(pixels), [-1, -0.6, 1], atol=1e-6)


def test_regularization_spares_depthwise_kernels_and_the_quantized_form():
    config = TINY.model_copy(update={"l2": 0.01})
    network = build_ssd(config)
    kernels = [
        np.asarray(variable)
        for variable in network.variables
        if "kernel" in variable.path and "_dw_" not in variable.path
    ]
    expected = sum(0.01 / 2 * np.sum(kernel**2) for kernel in kernels)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-4)
    assert not build_ssd(config, quantized=True).losses


def test_quantized_logits_have_fine_steps_and_saturate_at_extreme_scores():
    network = build_ssd(TINY, quantized=True)
    randomize(network)
    layer = network.get_layer("class_quant")
    logits = np.linspace(-40, 40, 4001, dtype=np.float32)[None]
    rounded = np.asarray(layer(logits, training=True))
    assert (rounded.min(), rounded.max()) == pytest.approx((-8.0, 8.0), abs=0.1)
    inside = np.abs(logits) < 7.9
    np.testing.assert_allclose(rounded[inside], logits[inside], atol=0.5 * 16 / 255 + 1e-5)
