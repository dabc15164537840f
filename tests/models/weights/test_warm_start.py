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
from tests.models.helpers import TINY, TINY_RETINANET, randomize


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


@pytest.mark.parametrize(
    ("settings", "convolutions"),
    [({"family": "ssd"}, 27), ({"family": "ssd_fpn"}, 27),
     ({"family": "ssd_fpn", "backbone_blocks": 12}, 25)],
)  # fmt: skip
def test_the_whole_backbone_comes_from_the_file(weights_file, settings, convolutions):
    path, source = weights_file
    config = DetectorConfig(num_classes=2, input_size=96, depth_multiplier=0.25, **settings)
    network = build_network(config)
    loaded = load_imagenet_weights(network, config, path)
    assert len(loaded) == 2 * convolutions
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


@pytest.mark.parametrize("name", ["x_no_top.h5", "x.keras"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04"])
def test_a_file_that_holds_no_weights_is_one_clear_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    config = TINY.model_copy(update={"depth_multiplier": 0.25})
    with pytest.raises(ValueError, match=r"Expected weights of keras\.applications\.MobileNet"):
        load_imagenet_weights(build_network(config), config, str(path))


def test_a_damaged_file_is_one_clear_error(weights_file, tmp_path):
    """Truncated, lying offsets and sizes, names that are no text, values that are no numbers."""
    with open(weights_file[0], "rb") as file:
        content = file.read()
    config = TINY.model_copy(update={"depth_multiplier": 0.25})
    network = build_network(config)
    path = tmp_path / "x_no_top.h5"
    rng = np.random.default_rng(2)
    for place in (*range(0, 96, 16), *rng.integers(96, len(content) - 64, 4)):
        for damaged in (
            content[:place],
            content[:place] + 64 * b"\xff" + content[place + 64 :],
        ):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"^Expected .*x_no_top\.h5"):
                load_imagenet_weights(network, config, str(path))


def test_resnet50_needs_its_own_depth_and_its_own_file(weights_file):
    config = TINY_RETINANET
    with pytest.raises(ValueError, match=r"model\.depth_multiplier=1.* Received: 0\.125"):
        load_imagenet_weights(build_network(config), config, weights_file[0])
    config = config.model_copy(update={"depth_multiplier": 1.0})
    with pytest.raises(
        ValueError, match=r"^Expected weights of keras\.applications\.ResNet50 without top"
    ):
        load_imagenet_weights(build_network(config), config, weights_file[0])


@pytest.mark.slow
def test_retinanet_gets_the_backbone_of_a_resnet50_file(tmp_path):
    """test_resnet50.py proves that the two compute the same then."""
    source = keras.applications.ResNet50(input_shape=(224, 224, 3), include_top=False, weights=None)
    randomize(source)
    path = str(tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, source)
    config = TINY_RETINANET.model_copy(update={"depth_multiplier": 1.0})
    network = build_network(config)
    loaded = load_imagenet_weights(network, config, path)
    assert len(loaded) == 2 * 53
    for name in ("conv3_block2_2", "conv5_block1_0"):
        expected = source.get_layer(f"{name}_conv").kernel
        np.testing.assert_array_equal(network.get_layer(name).kernel, expected)


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
