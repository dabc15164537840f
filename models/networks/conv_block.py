"""The two kinds of convolution block, in their float and their fake-quantized form."""

import dataclasses

import keras
from keras import layers

from models.networks.fake_quant import FakeQuantActivation, QuantConv2D, QuantDepthwiseConv2D


@dataclasses.dataclass(frozen=True)
class ConvBlocks:
    """Makes the layers of a network in one of its two forms.

    The float form is convolution, batch norm, ReLU6. The quantized form is what the device runs:
    convolution with the batch norm folded into kernel and bias, ReLU6, 8-bit rounding. Both use
    the same layer names, by which `models.networks.folding` finds its way from one to the other.

    Attributes:
      quantized: which form.
      bn_momentum: of the batch norm's moving averages.
      bn_epsilon: added to the batch norm's variance.
      l2: factor of half the squared norm of the kernels, added to the loss. Depthwise kernels
        are left out, as in the Object Detection API: they have few weights.
      synchronized: batch norms use the statistics of the whole batch, not of a replica's share.
    """

    quantized: bool = False
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-3
    l2: float = 0.0
    synchronized: bool = False

    def _regularizer(self):
        # Folded kernels carry the batch norms' scales: shrinking them would only distort those.
        return keras.regularizers.L2(self.l2 / 2) if self.l2 and not self.quantized else None

    def conv(self, x, filters: int, kernel_size: int, name: str, strides: int = 1):
        """[B, H, W, C] -> [B, ceil(H / strides), ceil(W / strides), filters], in 0..6."""
        layer = QuantConv2D if self.quantized else layers.Conv2D
        x = layer(
            filters,
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=self.quantized,
            kernel_regularizer=self._regularizer(),
            name=name,
        )(x)
        return self._finish(x, name)

    def depthwise(self, x, name: str, strides: int = 1):
        """3x3, [B, H, W, C] -> [B, ceil(H / strides), ceil(W / strides), C], in 0..6."""
        layer = QuantDepthwiseConv2D if self.quantized else layers.DepthwiseConv2D
        x = layer(
            3,
            strides=strides,
            padding="same",
            use_bias=self.quantized,
            # He et al.'s, for the 9 inputs that a depthwise output has; Keras counts all channels.
            depthwise_initializer=keras.initializers.TruncatedNormal(stddev=(2 / 9) ** 0.5),
            name=name,
        )(x)
        return self._finish(x, name)

    def prediction(self, x, filters: int, kernel_size: int, bias: float, name: str):
        """A convolution with a bias and nothing after it: [B, H, W, C] -> [B, H, W, filters]."""
        layer = QuantConv2D if self.quantized else layers.Conv2D
        return layer(
            filters,
            kernel_size,
            padding="same",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.03),
            bias_initializer=keras.initializers.Constant(bias),
            kernel_regularizer=self._regularizer(),
            name=name,
        )(x)

    def rounded(self, x, name: str, initial_range=(0.0, 6.0), fixed: bool = False):
        """Rounds to 8 bits in the quantized form; gives `x` itself in the float form."""
        if not self.quantized:
            return x
        return FakeQuantActivation(initial_range, fixed=fixed, name=name)(x)

    def _finish(self, x, name: str):
        if not self.quantized:
            x = layers.BatchNormalization(
                momentum=self.bn_momentum,
                epsilon=self.bn_epsilon,
                synchronized=self.synchronized,
                name=f"{name}_bn",
            )(x)
        x = layers.ReLU(6.0, name=f"{name}_relu")(x)
        return self.rounded(x, name=f"{name}_quant")
