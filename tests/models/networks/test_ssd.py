import numpy as np
import pytest

from models.networks.families import DetectorConfig, build_network
from models.networks.ssd import map_sizes
from tests.models.helpers import TINY, randomize


@pytest.mark.parametrize(
    ("size", "maps"),
    [(300, (19, 10, 5, 3, 2, 1)), (224, (14, 7, 4, 2, 1, 1)), (160, (10, 5, 3, 2, 1, 1))],
)
def test_map_sizes(size, maps):
    assert map_sizes(size) == maps


def test_the_zoo_detector_has_1917_anchors():
    config = DetectorConfig(num_classes=90, input_size=300)
    assert config.anchors.shape == (1917, 4)


def test_an_anchor_follows_its_cell():
    """A change of one corner of the image moves the outputs of the anchors there, not others."""
    config = DetectorConfig(num_classes=1, input_size=256, depth_multiplier=0.125)
    network = build_network(config)
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


def test_no_map_gets_too_thin():
    network = build_network(DetectorConfig(num_classes=1, input_size=64, depth_multiplier=0.125))
    filters = [network.get_layer(f"map_{index}").filters for index in range(2, 6)]
    assert filters == [64, 32, 32, 16]


def test_the_extra_maps_can_be_wider_than_the_backbone():
    config = TINY.model_copy(update={"extra_depth_multiplier": 0.5})
    network, usual = build_network(config), build_network(TINY)
    filters = [network.get_layer(f"map_{index}").filters for index in range(2, 6)]
    assert filters == [256, 128, 128, 64]
    assert network.get_layer("conv_pw_13").filters == usual.get_layer("conv_pw_13").filters
