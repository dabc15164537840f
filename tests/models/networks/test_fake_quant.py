import keras
import numpy as np
import pytest
import tensorflow as tf

from models.networks import fake_quant
from models.networks.fake_quant import (
    FakeQuantActivation,
    QuantConv2D,
    QuantDepthwiseConv2D,
    fake_quant_kernel,
)


def kernel(shape, seed=0):
    rng = np.random.default_rng(seed)
    # Channels of very different sizes, which one range for all would ruin.
    return (rng.normal(0, 1, shape) * np.logspace(-4, 2, shape[2])[:, None]).astype(np.float32)


def test_kernels_have_255_symmetric_levels_a_channel():
    original = kernel((9, 9, 64, 1)).transpose(0, 1, 3, 2)  # channels last
    rounded = np.asarray(fake_quant_kernel(original, axis=3))
    for channel in range(64):
        values, step = rounded[..., channel], np.abs(original[..., channel]).max() / 127
        assert len(np.unique(values)) <= 255
        levels = values / step
        np.testing.assert_allclose(levels, np.round(levels), atol=2e-3)
        assert np.abs(values - original[..., channel]).max() <= 0.5001 * step
        assert np.abs(values).max() == pytest.approx(127 * step, rel=1e-5)


def test_depthwise_kernels_are_rounded_by_their_own_channels():
    original = kernel((3, 3, 8, 1))
    rounded = np.asarray(fake_quant_kernel(original, axis=2))
    assert rounded.shape == original.shape
    limits = np.abs(original).max(axis=(0, 1, 3), keepdims=True)
    assert (np.abs(rounded - original) <= 0.5001 * limits / 127).all()


def test_zero_is_exact_and_all_zero_channels_stay_finite():
    original = kernel((3, 3, 4, 1))
    original[0, 0] = 0
    original[:, :, 2] = 0
    rounded = np.asarray(fake_quant_kernel(original, axis=2))
    assert (rounded[original == 0] == 0).all()
    assert np.isfinite(rounded).all()


def test_the_gradient_passes_straight_through():
    weights = tf.constant(kernel((3, 3, 4, 1)))
    pull = np.random.default_rng(1).normal(size=(3, 3, 4, 1)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(fake_quant_kernel(weights, axis=2) * pull)
    np.testing.assert_allclose(tape.gradient(loss, weights), pull)


@pytest.mark.parametrize(
    ("quant", "plain", "axis"),
    [
        (QuantConv2D, keras.layers.Conv2D, 3),
        (QuantDepthwiseConv2D, keras.layers.DepthwiseConv2D, 2),
    ],
)
def test_layers_compute_with_the_rounded_kernel(quant, plain, axis):
    arguments = (3,) if axis == 2 else (5, 3)
    layers = [make(*arguments, strides=2, padding="same") for make in (quant, plain)]
    images = np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype(np.float32)
    for layer in layers:
        layer.build(images.shape)
    weights, _ = layers[0].get_weights()
    bias = np.arange(weights.shape[axis], dtype=np.float32)
    layers[0].set_weights([weights, bias])
    layers[1].set_weights([fake_quant_kernel(weights, axis), bias])
    np.testing.assert_allclose(layers[0](images), layers[1](images), atol=1e-5)


def test_activations_have_256_levels_and_an_exact_zero():
    layer = FakeQuantActivation((-1.3, 2.9))
    outputs = np.asarray(layer(np.linspace(-5, 5, 10_001, dtype=np.float32)))
    levels = np.unique(outputs)
    assert len(levels) == 256
    assert 0.0 in levels
    assert levels[-1] - levels[0] == pytest.approx(4.2, rel=1e-4)


def test_a_range_starts_at_the_first_batch_and_follows_the_mean(monkeypatch):
    monkeypatch.setattr(fake_quant, "_MOMENTUM", 0.9)
    layer = FakeQuantActivation((0.0, 6.0))
    layer(np.float32([-1, 3]), training=True)
    assert (float(layer.range_min), float(layer.range_max)) == (-1, 3)
    layer(np.float32([-2, 5]), training=True)
    assert (float(layer.range_min), float(layer.range_max)) == (-1.5, 4)
    for _ in range(80):
        layer(np.float32([0, 1]), training=True)
    assert float(layer.range_max) == pytest.approx(1, abs=0.01)


def test_ranges_contain_zero_whatever_comes():
    layer = FakeQuantActivation((0.0, 6.0))
    layer(np.float32([2, 3]), training=True)
    assert (float(layer.range_min), float(layer.range_max)) == (0, 3)
    layer = FakeQuantActivation((0.0, 6.0))
    layer(np.float32([-3, -2]), training=True)
    assert float(layer.range_min) == -3
    assert np.isfinite(np.asarray(layer(np.float32([-3, -2, 0])))).all()


def test_ranges_stay_in_inference_and_when_fixed():
    layer, fixed = FakeQuantActivation((0.0, 6.0)), FakeQuantActivation((-1.0, 1.0), fixed=True)
    layer(np.float32([-9, 9]))
    fixed(np.float32([-9, 9]), training=True)
    assert (float(layer.range_min), float(layer.range_max)) == (0, 6)
    assert (float(fixed.range_min), float(fixed.range_max)) == (-1, 1)
