"""Folds a float network's batch norms into the convolutions of its quantized form."""

import re

import keras
import numpy as np


def fold_batch_norms(float_model: keras.Model, quantized_model: keras.Model) -> None:
    """Copies the weights of a float network into the quantized network of the same config.

    A convolution followed by a batch norm, in inference, is a convolution with another kernel
    and a bias: kernel * gamma / sqrt(variance + epsilon) and beta - mean * the same factor
    (Jacob et al., section 3.2). A kernel that several levels share, with a batch norm for each,
    becomes a kernel for each. Training or calibration finds the ranges of the activations.

    Args:
      float_model: from `models.networks.families.build_network(config)`.
      quantized_model: from `models.networks.families.build_network(config, quantized=True)`;
        changed in place.

    Raises:
      ValueError: when a layer of the quantized network has no counterpart.
    """
    float_layers = {layer.name: layer for layer in float_model.layers}
    for layer in quantized_model.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            continue
        shared_name = re.sub(r"_level_\d+$", "", layer.name)
        source = float_layers.get(layer.name) or float_layers.get(shared_name)
        if source is None:
            raise ValueError(
                f"Expected a layer {layer.name!r} in the float network. "
                f"Received one with: {sorted(float_layers)}."
            )
        batch_norm = float_layers.get(f"{layer.name}_bn")
        if batch_norm is None:
            layer.set_weights(source.get_weights())
            continue
        gamma, beta, mean, variance = batch_norm.get_weights()
        factor = gamma / np.sqrt(variance + batch_norm.epsilon)
        (kernel,) = source.get_weights()
        # Output channels are the last dimension, except in depthwise kernels [h, w, C, 1].
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = kernel * (factor[:, None] if is_depthwise else factor)
        layer.set_weights([kernel, beta - mean * factor])
