import numpy as np

from models.networks.families import build_network, normalize
from models.weights.unfolding import set_folded, unfold, with_epsilon
from models.weights.zoo_names import Names
from tests.models.helpers import TINY, randomize
from tests.models.weights.api_files import folded

NAMES = Names("ssd")
LAYERS = NAMES.expected(extras=True, heads=False)
HEADS = set(NAMES.expected(extras=True, heads=True)) - set(LAYERS)


def pictures(count: int, size: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    # Smooth, and each of another brightness, as photographs are.
    coarse = rng.integers(0, 256, (count, size, 8, 8, 3)) * rng.uniform(
        0.3, 1, (count, size, 1, 1, 1)
    )
    return [(batch.repeat(8, 1).repeat(8, 2).astype(np.uint8), None) for batch in coarse]


def folded_network():
    source, network = build_network(TINY), build_network(TINY)
    randomize(source)
    for layer in LAYERS:
        set_folded(network, layer, *folded(source, layer))
    for head in HEADS:
        network.get_layer(head).set_weights(source.get_layer(head).get_weights())
    return source, network


def outputs(network, images, training=False):
    found = network(np.asarray(normalize(images)), training=training)
    return np.asarray(found["class_logits"])


def relative(received, expected):
    return np.sqrt(np.mean((received - expected) ** 2)) / expected.std()


def test_inference_stays_and_training_comes_close_to_it():
    source, network = folded_network()
    images = pictures(1, 16, seed=9)[0][0]
    expected = outputs(source, images)
    assert relative(outputs(network, images), expected) < 1e-4
    identity = relative(outputs(network, images, training=True), expected)

    _, network = folded_network()
    assert unfold(network, LAYERS, pictures(4, 16, seed=3)) == 64
    assert relative(outputs(network, images), expected) < 1e-4
    measured = relative(outputs(network, images, training=True), expected)
    assert measured < 0.5 < identity


def test_the_statistics_are_those_of_all_pictures_together():
    _, network = folded_network()
    batches = pictures(3, 4, seed=1)
    unfold(network, ["conv1"], batches)
    images = np.asarray(normalize(np.concatenate([images for images, _ in batches])))
    responses = np.asarray(network.get_layer("conv1")(images)).reshape(-1, 4)
    _, _, mean, variance = network.get_layer("conv1_bn").get_weights()
    np.testing.assert_allclose(mean, responses.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, responses.var(axis=0), rtol=1e-3)


def test_another_epsilon_changes_nothing_that_a_batch_norm_computes():
    batch_norm = [np.float32(values) for values in ([2, 3], [1, -1], [0.5, 0], [4, 1e-9])]
    received = with_epsilon(batch_norm, 1e-5, 1e-3)

    def scale(values, epsilon):
        return values[0] / np.sqrt(values[3] + epsilon)

    np.testing.assert_allclose(scale(received, 1e-3), scale(batch_norm, 1e-5), rtol=1e-5)
    for a, b in zip(with_epsilon(batch_norm, 1e-3, 1e-3), batch_norm, strict=True):
        np.testing.assert_array_equal(a, b)
