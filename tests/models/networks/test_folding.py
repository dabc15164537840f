import functools

import keras
import numpy as np
import pytest

from models.networks import fake_quant
from models.networks.families import DetectorConfig, build_network
from models.networks.folding import fold_batch_norms
from tests.models.helpers import KINDS, TINY, randomize

every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def pair(kind):
    """A float network after some training, and its folded form."""
    network, folded = build_network(KINDS[kind]), build_network(KINDS[kind], quantized=True)
    randomize(network)
    fold_batch_norms(network, folded)
    return network, folded


def images(count):
    return np.random.default_rng(0).uniform(-1, 1, (count, 64, 64, 3)).astype(np.float32)


@every_kind
def test_folding_changes_nothing_but_the_rounding(monkeypatch, kind):
    """Without rounding, the folded network computes what the float network computes."""
    monkeypatch.setattr(fake_quant, "fake_quant_kernel", lambda kernel, axis: kernel)
    monkeypatch.setattr(
        fake_quant.FakeQuantActivation, "call", lambda self, inputs, training=False: inputs
    )
    network, folded = pair(kind)
    expected = network(images(2), training=False)
    received = folded(images(2), training=False)
    for name in expected:
        spread = np.std(expected[name])
        assert spread > 0.1
        np.testing.assert_allclose(received[name], expected[name], rtol=1e-3, atol=1e-3 * spread)


@every_kind
def test_rounding_to_8_bits_keeps_the_outputs_close(kind):
    network, folded = pair(kind)
    folded(images(4), training=True)  # finds the ranges
    expected = np.asarray(network(images(4), training=False)["box_encodings"]).ravel()
    received = np.asarray(folded(images(4), training=False)["box_encodings"]).ravel()
    assert not np.array_equal(expected, received)
    assert np.corrcoef(expected, received)[0, 1] > 0.95


@every_kind
def test_every_convolution_is_folded(kind):
    _, folded = pair(kind)
    for layer in folded.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            _, bias = layer.get_weights()
            assert bias.any(), layer.name


def test_every_level_gets_its_own_kernel_from_the_shared_one():
    network, folded = pair("ssd_fpn")
    shared = network.get_layer("box_tower_0").kernel
    for level in (3, 6):
        gamma, _, _, variance = network.get_layer(f"box_tower_0_level_{level}_bn").get_weights()
        kernel, _ = folded.get_layer(f"box_tower_0_level_{level}").get_weights()
        np.testing.assert_allclose(kernel, shared * gamma / np.sqrt(variance + 1e-3), rtol=1e-4)


def test_a_layer_without_counterpart_is_an_error():
    other = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(2, 1, name="else")])
    with pytest.raises(ValueError, match=r"'conv1'.*else"):
        fold_batch_norms(other, build_network(DetectorConfig(**TINY.model_dump()), quantized=True))
