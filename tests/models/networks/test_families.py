import numpy as np
import pytest
from pydantic import ValidationError

from models.networks.families import (
    DetectorConfig,
    build_network,
    fit_anchors,
    freeze_backbone,
    normalize,
)
from models.settings import ModelSettings, PyramidSettings
from tests.models.helpers import (
    KINDS,
    TINY,
    TINY_FPN,
    TINY_LIGHT_FPN,
    TINY_RETINANET,
    randomize,
)


@pytest.mark.parametrize(
    ("kind", "size", "quantized"),
    [
        ("ssd", 75, False),
        ("ssd", 96, True),
        ("ssd_fpn", 300, False),
        ("ssd_fpn", 256, True),
        ("light ssd_fpn", 320, False),
        ("light ssd_fpn", 300, True),
        ("retinanet", 300, True),
        ("retinanet", 320, False),
    ],
)
def test_outputs_have_a_row_for_each_anchor(kind, size, quantized):
    config = KINDS[kind].model_copy(update={"input_size": size, "num_classes": 2})
    outputs = build_network(config, quantized).output
    assert outputs["box_encodings"].shape == (None, len(config.anchors), 4)
    assert outputs["class_logits"].shape == (None, len(config.anchors), 2)


def test_the_zoo_form_has_its_anchors_and_its_weights():
    config = DetectorConfig(
        family="ssd_fpn", input_size=640, depth_multiplier=1.0, num_classes=90, l2=0.0
    )
    network = build_network(config)
    assert network.output["box_encodings"].shape == (None, 51_150, 4)
    tower, head = network.get_layer("class_tower_3"), network.get_layer("class_head")
    assert tower.kernel.shape == (3, 3, 256, 256)
    assert head.kernel.shape == (3, 3, 256, 540)
    assert np.std(tower.kernel) == pytest.approx(0.01, rel=0.02)
    assert np.std(head.kernel) == pytest.approx(0.01, rel=0.02)
    assert network.get_layer("projection_level_5").kernel.shape == (1, 1, 1024, 256)
    batch_norms = {layer.name for layer in network.layers if layer.name.startswith("class_tower_3")}
    assert {f"class_tower_3_level_{level}_bn" for level in range(3, 8)} <= batch_norms


@pytest.mark.parametrize(("kind", "cells"), [("ssd_fpn", 32), ("light ssd_fpn", 16)])
def test_an_anchor_follows_its_cell(kind, cells):
    """A change in one corner of the image moves the outputs of the finest anchors there most."""
    config = KINDS[kind].model_copy(update={"input_size": 256})
    network = build_network(config)
    randomize(network)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 256, 256, 3)).astype(np.float32)
    images[1] = images[0]
    images[1, 240:, :16] *= -1  # bottom left
    encodings = np.asarray(network(images)["box_encodings"])
    change = np.abs(encodings[1] - encodings[0]).max(axis=1)[: cells * cells * 6]
    ycenter, xcenter = config.anchors[change.argmax(), :2]
    assert ycenter > 0.75
    assert xcenter < 0.25


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_classes_start_at_the_configured_probability(config):
    network = build_network(config.model_copy(update={"class_bias": -3.0}))
    logits = np.asarray(network(np.zeros((1, 64, 64, 3), np.float32))["class_logits"])
    assert np.median(logits) == pytest.approx(-3.0, abs=0.1)


def test_pixels_are_normalised_to_plus_minus_one():
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(normalize(pixels), [-1, -0.6, 1], atol=1e-6)


@pytest.mark.parametrize("config", [TINY, TINY_FPN, TINY_LIGHT_FPN])
def test_regularization_spares_depthwise_kernels_and_the_quantized_form(config):
    config = config.model_copy(update={"l2": 0.01})
    network = build_network(config)
    kernels = [
        np.asarray(variable)
        for variable in network.variables
        if "kernel" in variable.path and "_dw" not in variable.path
    ]
    expected = sum(0.01 / 2 * np.sum(kernel**2) for kernel in kernels)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-4)
    assert not build_network(config, quantized=True).losses


def test_quantized_logits_have_fine_steps_and_saturate_at_extreme_scores():
    network = build_network(TINY, quantized=True)
    randomize(network)
    layer = network.get_layer("class_quant")
    logits = np.linspace(-40, 40, 4001, dtype=np.float32)[None]
    rounded = np.asarray(layer(logits, training=True))
    assert (rounded.min(), rounded.max()) == pytest.approx((-8.0, 8.0), abs=0.1)
    inside = np.abs(logits) < 7.9
    np.testing.assert_allclose(rounded[inside], logits[inside], atol=0.5 * 16 / 255 + 1e-5)


def test_the_stem_and_the_first_blocks_of_mobilenet_are_frozen():
    network = build_network(TINY)
    freeze_backbone(network, TINY, 0)
    assert all(layer.trainable for layer in network.layers)
    freeze_backbone(network, TINY, 2)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    blocks = {f"conv_{kind}_{index}" for kind in ("dw", "pw") for index in (1, 2)}
    assert frozen == {f"{name}{end}" for name in {"conv1", *blocks} for end in ("", "_bn")}


def test_the_stem_and_the_first_blocks_of_resnet_are_frozen():
    network = build_network(TINY_RETINANET)
    freeze_backbone(network, TINY_RETINANET, 4)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    assert {"mean_colour", "conv1", "conv2_block1_0", "conv2_block3_3_bn"} <= frozen
    assert {"conv3_block1_0", "conv3_block1_3_bn"} <= frozen
    assert not {name for name in frozen if name.startswith(("conv3_block2", "conv4", "box"))}


def test_every_anchor_knows_the_size_of_its_cell():
    assert len(TINY.cell_sizes) == len(TINY.anchors)
    np.testing.assert_allclose(TINY.cell_sizes[:3], 1 / 4)  # 64 pixels in strides of 16
    assert TINY.cell_sizes[-1] == 1
    np.testing.assert_allclose(TINY_RETINANET.cell_sizes[:6], 8 / 64)


def test_batch_norms_of_the_backbone_can_be_frozen_alone():
    network = build_network(TINY)
    freeze_backbone(network, TINY, blocks=0, batch_norms=True)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    assert len(frozen) == 27
    assert all(name.startswith("conv") and name.endswith("_bn") for name in frozen)


def test_an_open_scale_of_ssd_is_fitted_to_the_boxes():
    settings = ModelSettings(min_scale=None)
    with pytest.raises(ValidationError, match="fit_anchors"):
        DetectorConfig(num_classes=1, **settings.model_dump())
    small, large = (
        fit_anchors(settings, np.array([size]), np.array([1.0])).min_scale for size in (0.05, 0.25)
    )
    assert 0 < small < large <= 0.6
    flat = settings.model_copy(update={"max_scale": 0.3})
    assert fit_anchors(flat, np.array([0.9]), np.array([1.0])).min_scale < 0.3


def test_an_open_scale_of_a_pyramid_is_fitted_to_the_boxes():
    def fitted(size):
        pyramid = TINY_FPN.pyramid.model_copy(update={"anchor_scale": None})
        settings = ModelSettings(family="ssd_fpn", input_size=128, pyramid=pyramid)
        return fit_anchors(settings, np.array([size]), np.array([1.0])).pyramid.anchor_scale

    # The finest level has cells of a sixteenth of the image.
    assert 1 <= fitted(0.08) <= 1.5
    assert 2.5 <= fitted(0.22) <= 4


def test_a_scale_that_is_given_stays():
    for settings in (ModelSettings(), ModelSettings(family="ssd_fpn")):
        assert fit_anchors(settings, np.array([0.1]), np.array([1.0])) == settings


def test_a_configuration_survives_its_json():
    for config in KINDS.values():
        assert DetectorConfig.model_validate_json(config.model_dump_json()) == config
    assert DetectorConfig(num_classes=3).pyramid == PyramidSettings()
