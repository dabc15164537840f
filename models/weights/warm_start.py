"""Weights to start from: ImageNet's, or an earlier run's."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import keras
from tensorflow import errors
from tensorflow.io import gfile

from models.networks.families import DetectorConfig

_BACKBONE_PREFIX = "conv"


def load_imagenet_weights(network: keras.Model, config: DetectorConfig, weights: str) -> list[str]:
    """Loads the backbone from `keras.applications.MobileNet` weights.

    Args:
      network: the float network; its backbone is changed in place.
      config: the network's.
      weights: "imagenet" for Keras's own download, or a .h5 or .keras file of the same network,
        local or on cloud storage (`mobilenet_2_5_224_tf_no_top.h5` for a depth multiplier of
        0.25). Of either only the weights are read.

    Returns:
      Names of the layers that were loaded.

    Raises:
      ValueError: when the weights are not of this architecture and depth multiplier.
    """
    try:
        with _local(weights) as path:
            source = keras.applications.MobileNet(
                # The padding differs from ours, the weights do not; the size is any it accepts.
                input_shape=(224, 224, 3),
                alpha=config.depth_multiplier,
                include_top=False,
                weights=path,
            )
    except (OSError, ValueError, KeyError, errors.OpError) as error:
        raise ValueError(
            "Expected weights of keras.applications.MobileNet with depth multiplier "
            f"{config.depth_multiplier} and without top. Received: {weights} ({error})."
        ) from error
    loaded = []
    for layer in source.layers:
        if layer.name.startswith(_BACKBONE_PREFIX) and layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
            loaded.append(layer.name)
    return loaded


@contextlib.contextmanager
def _local(weights: str) -> Iterator[str]:
    """The file on this machine: HDF5 reads no cloud storage."""
    if "://" not in weights:
        yield weights
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(weights))
        gfile.copy(weights, copy)
        yield copy


def load_matching_weights(network: keras.Model, source: keras.Model) -> tuple[list, list]:
    """Copies every layer whose name and shapes match, such as all but the class heads.

    Args:
      network: changed in place.
      source: an earlier run's float network.

    Returns:
      Names of the layers that were loaded, and of the layers that keep their initial weights.
    """
    available = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    loaded, kept = [], []
    for layer in network.layers:
        if not layer.weights:
            continue
        weights = available.get(layer.name)
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if weights is not None and [weight.shape for weight in weights] == shapes:
            layer.set_weights(weights)
            loaded.append(layer.name)
        else:
            kept.append(layer.name)
    return loaded, kept
