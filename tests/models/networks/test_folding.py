import keras
import numpy as np
import pytest

from models.networks import fake_quant
from models.networks.folding import fold_batch_norms
from models.networks.ssd import SsdConfig, build_ssd
from tests.models.helpers import TINY, randomize


def test_folding_changes_nothing_but_the_rounding(monkeypatch):
    """With rounding out of the way the folded network computes what the float one computes."""
    monkeypatch.setattr(fake_quant, "fake_quant_kernel", lambda kernel, axis: kernel)
    monkeypatch.setattr(
        fake_quant.FakeQuantActivation, "call", lambda self, inputs, training=False: inputs
    )
    network = build_ssd(TINY)
    randomize(network)
    folded = build_ssd(TINY, quantized=True)
    fold_batch_norms(network, folded)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected, received = network(images, training=False), folded(images, training=False)
    for name in expected:
        assert np.std(expected[name]) > 0.1
        np.testing.assert_allclose(received[name], expected[name], rtol=1e-3, atol=1e-3)


def test_rounding_to_8_bits_keeps_the_outputs_close():
    network = build_ssd(TINY)
    randomize(network)
    folded = build_ssd(TINY, quantized=True)
    fold_batch_norms(network, folded)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    folded(images, training=True)  # finds the ranges
    expected = np.asarray(network(images, training=False)["class_logits"]).ravel()
    received = np.asarray(folded(images, training=False)["class_logits"]).ravel()
    assert not np.array_equal(expected, received)
    assert np.corrcoef(expected, received)[0, 1] > 0.97


def test_every_convolution_is_folded():
    network, folded = build_ssd(TINY), build_ssd(TINY, quantized=True)
    randomize(network)
    fold_batch_norms(network, folded)
    for layer in folded.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            _, bias = layer.get_weights()
            assert bias.any(), layer.name


def test_a_layer_without_counterpart_is_an_error():
    other = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(2, 1, name="else")])
    with pytest.raises(ValueError, match=r"'conv1'.*else"):
        fold_batch_norms(other, build_ssd(SsdConfig(**TINY.model_dump()), quantized=True))
