"""Weights to start from: ImageNet's, or an earlier run's."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import keras
import numpy as np
from tensorflow.io import gfile

from models.networks import resnet50
from models.networks.families import DetectorConfig
from models.settings import ModelSettings
from models.weights.unfolding import with_epsilon

_BACKBONE_PREFIX = "conv"
# Of the pictures that `keras.applications` builds its networks for: the weights fit any.
_INPUT_SHAPE = (224, 224, 3)
_LONGEST_REASON = 300  # characters of somebody else's message


def check_imagenet(settings: ModelSettings, weights: str) -> None:
    """Checks that there are ImageNet weights for a network; reads them, if they are a file.

    Args:
      settings: of the network.
      weights: see `load_imagenet_weights`.

    Raises:
      ValueError: when there are none, or the file holds others.
    """
    if settings.family == "retinanet" and settings.depth_multiplier != 1:
        raise ValueError(
            "Expected model.depth_multiplier=1: ImageNet weights of ResNet-50 have no other. "
            f"Received: {settings.depth_multiplier}."
        )
    if weights != "imagenet":
        _keras_network(settings, weights)


def load_imagenet_weights(network: keras.Model, config: DetectorConfig, weights: str) -> list[str]:
    """Loads the backbone from ImageNet weights of `keras.applications`.

    Args:
      network: the float network; its backbone is changed in place.
      config: the network's.
      weights: "imagenet" for Keras's own download, or a .h5 or .keras file of the same network,
        local or on cloud storage: for `retinanet` one of ResNet50, otherwise one of MobileNet
        (`mobilenet_2_5_224_tf_no_top.h5` for a depth multiplier of 0.25). Of either only the
        weights are read.

    Returns:
      Names of the layers that were loaded.

    Raises:
      ValueError: when the weights are not of this architecture and depth multiplier.
    """
    check_imagenet(config, "imagenet")
    source = _keras_network(config, weights)
    if config.family == "retinanet":
        return load_resnet50(network, source)
    built = {layer.name for layer in network.layers}
    loaded = []
    for layer in source.layers:
        if layer.name.startswith(_BACKBONE_PREFIX) and layer.weights and layer.name in built:
            _set(network, layer.name, layer.get_weights(), layer)
            loaded.append(layer.name)
    return loaded


def load_resnet50(network: keras.Model, source: keras.Model) -> list[str]:
    """Loads ResNet-50 from `keras.applications.ResNet50`.

    The input channels of the first kernel turn from BGR to RGB. The batch norms take over the
    biases of the convolutions.

    Args:
      network: float; its layers of the same names are changed in place.
      source: has a layer X_conv for each X here.

    Returns:
      Names of the layers that were loaded.
    """
    loaded = []
    for names in resnet50.BLOCK_LAYERS:
        for name in names:
            kernel, bias = source.get_layer(f"{name}_conv").get_weights()
            batch_norm = source.get_layer(f"{name}_bn")
            gamma, beta, mean, variance = batch_norm.get_weights()
            kernel = kernel[:, :, ::-1] if name == "conv1" else kernel
            network.get_layer(name).set_weights([kernel])
            _set(network, f"{name}_bn", [gamma, beta, mean - bias, variance], batch_norm)
            loaded += [name, f"{name}_bn"]
    return loaded


def _set(network: keras.Model, name: str, values: list[np.ndarray], source: keras.Layer) -> None:
    layer = network.get_layer(name)
    if isinstance(layer, keras.layers.BatchNormalization):
        values = with_epsilon(values, source.epsilon, layer.epsilon)
    layer.set_weights(values)


def _keras_network(settings: ModelSettings, weights: str) -> keras.Model:
    """The network of `keras.applications` with the same backbone, without its top, with weights."""
    architecture, options = "ResNet50", {}
    if settings.family != "retinanet":
        architecture, options = "MobileNet", {"alpha": settings.depth_multiplier}
    try:
        with _local(weights) as path:
            source = getattr(keras.applications, architecture)(
                input_shape=_INPUT_SHAPE, include_top=False, weights=path, **options
            )
    except Exception as error:  # Keras, HDF5, zip and downloads each raise their own.
        depth = f" with depth multiplier {options['alpha']} and" if options else ""
        raise ValueError(
            f"Expected weights of keras.applications.{architecture}{depth} without top. "
            f"Received: {weights} ({' '.join(str(error).split())[:_LONGEST_REASON]})."
        ) from error
    for layer in source.layers:
        if not all(np.isfinite(values).all() for values in layer.get_weights()):
            raise ValueError(
                f"Expected finite weights. Received: others in {layer.name} (in {weights})."
            )
    return source


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
