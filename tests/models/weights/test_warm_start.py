import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from models.networks.families import DetectorConfig, build_network
from models.weights.warm_start import (
    load_imagenet_weights,
    load_matching_weights,
)
from tests.models.helpers import TINY, randomize


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A file as Keras's own download is, with a depth multiplier of 0.25, and its network."""
    network = keras.applications.MobileNet(
        input_shape=(224, 224, 3), alpha=0.25, include_top=False, weights=None
    )
    randomize(network)
    path = str(tmp_path_factory.mktemp("weights") / "mobilenet_2_5_224_tf_no_top.h5")
    with h5py.File(path, "w") as file:  # the format of Keras's downloads
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return path, network


def test_the_whole_backbone_comes_from_the_file(weights_file):
    path, source = weights_file
    config = DetectorConfig(num_classes=2, input_size=96, depth_multiplier=0.25)
    network = build_network(config)
    loaded = load_imagenet_weights(network, config, path)
    assert len(loaded) == 2 * 27
    for name in loaded:
        for received, expected in zip(
            network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(received, expected)


def test_a_keras_file_gives_its_weights_alone(weights_file, tmp_path):
    _, source = weights_file
    path = str(tmp_path / "mobilenet.keras")
    source.save(path)
    config = DetectorConfig(num_classes=2, input_size=96, depth_multiplier=0.25)
    network = build_network(config)
    load_imagenet_weights(network, config, path)
    np.testing.assert_array_equal(
        network.get_layer("conv_pw_9").kernel, source.get_layer("conv_pw_9").kernel
    )


def test_another_depth_multiplier_is_one_clear_error(weights_file):
    path, _ = weights_file
    with pytest.raises(
        ValueError,
        match=r"^Expected weights of keras.applications.MobileNet with "
        rf"depth multiplier 0.125 and without top\. Received: {path}",
    ):
        load_imagenet_weights(build_network(TINY), TINY, path)


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_file_that_holds_no_weights_is_one_clear_error(tmp_path, content):
    path = tmp_path / "x_no_top.h5"
    path.write_bytes(content)
    config = TINY.model_copy(update={"depth_multiplier": 0.25})
    with pytest.raises(ValueError, match=r"Expected weights of keras\.applications\.MobileNet"):
        load_imagenet_weights(build_network(config), config, str(path))


def test_an_earlier_run_with_other_classes_gives_all_but_the_class_heads():
    source = build_network(TINY)
    randomize(source)
    network = build_network(TINY.model_copy(update={"num_classes": 5}))
    loaded, kept = load_matching_weights(network, source)
    assert kept == [f"class_head_{index}" for index in range(6)]
    assert {"conv1", "conv_pw_13_bn", "map_5", "box_head_0"} <= set(loaded)
    np.testing.assert_array_equal(
        network.get_layer("box_head_3").kernel, source.get_layer("box_head_3").kernel
    )


def test_an_earlier_run_with_the_same_classes_gives_everything():
    source, network = build_network(TINY), build_network(TINY)
    randomize(source)
    _, kept = load_matching_weights(network, source)
    assert not kept


def test_an_earlier_run_of_another_width_gives_nothing():
    source = build_network(TINY.model_copy(update={"depth_multiplier": 0.25}))
    loaded, _ = load_matching_weights(build_network(TINY), source)
    assert not [name for name in loaded if name.startswith("conv")]
