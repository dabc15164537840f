"""The layers that all networks are made of, in their float and their fake-quantized form."""

import dataclasses
from collections.abc import Sequence

import keras
from keras import layers

from models.networks.fake_quant import FakeQuantActivation, QuantConv2D, QuantDepthwiseConv2D

# Of the outputs of layers without an activation, until training finds their range.
_LINEAR_RANGE = (-6.0, 6.0)


@dataclasses.dataclass(frozen=True)
class ConvBlocks:
    """Makes the layers of a network in one of its two forms.

    The float form of a block is convolution, batch norm, activation. The quantized form is what
    the device runs: a convolution with the batch norm folded into kernel and bias, activation,
    8-bit rounding. Both use the same layer names, by which `models.networks.folding` matches them.

    All maps are [B, H, W, C]. Padding is TF-Slim's SAME unless said otherwise, so strides divide
    sizes rounding up. Activations are "relu6", "relu" or None.

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

    def conv(
        self,
        x,
        filters: int,
        kernel_size: int,
        name: str,
        strides: int = 1,
        padding: str = "same",
        activation: str | None = "relu6",
    ):
        """Convolution, batch norm, activation."""
        layer = self._conv_layer(
            filters, kernel_size, name, strides=strides, padding=padding, use_bias=self.quantized
        )
        return self._finish(layer(x), name, activation)

    def depthwise(self, x, name: str, strides: int = 1):
        """3x3 depthwise convolution, batch norm, ReLU6."""
        return self._finish(self._depthwise_layer(name, strides)(x), name)

    def separable(self, x, filters: int, name: str, strides: int = 1):
        """MobileNet's pair: a depthwise block, then a 1x1 block."""
        x = self.depthwise(x, f"{name}_dw", strides)
        return self.conv(x, filters, 1, f"{name}_pw")

    def shared_conv(
        self, maps: dict[str, keras.KerasTensor], filters: int, kernel_size: int, name: str
    ) -> dict[str, keras.KerasTensor]:
        """One kernel for several maps, but a batch norm for each; then ReLU6.

        The kernel starts from N(0, 0.01), as RetinaNet's. Folding gives each map a kernel of its
        own: kernel * gamma / sigma of that map.

        Args:
          maps: by a name, which ends the names of the map's own layers.
          filters: of the outputs.
          kernel_size: of the convolution.
          name: of the layer.
        """

        def layer(name):
            return self._conv_layer(
                filters,
                kernel_size,
                name,
                use_bias=self.quantized,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            )

        return self._share(maps, name, layer)

    def shared_depthwise(
        self, maps: dict[str, keras.KerasTensor], name: str
    ) -> dict[str, keras.KerasTensor]:
        """`depthwise` with one kernel for several maps, see `shared_conv`."""
        return self._share(maps, name, self._depthwise_layer)

    def _share(self, maps, name, make_layer):
        shared = None if self.quantized else make_layer(name)
        outputs = {}
        for suffix, x in maps.items():
            own_name = f"{name}_{suffix}"
            layer = shared or make_layer(own_name)
            outputs[suffix] = self._finish(layer(x), own_name)
        return outputs

    def projection(self, x, filters: int, name: str):
        """A 1x1 convolution with a bias, no batch norm and no activation."""
        x = self._conv_layer(filters, 1, name)(x)
        return self.rounded(x, f"{name}_quant", _LINEAR_RANGE)

    def prediction(
        self, filters: int, kernel_size: int, bias: float, name: str, initializer
    ) -> keras.layers.Layer:
        """A layer for one map or for several: a convolution with a bias and nothing after it."""
        return self._conv_layer(
            filters,
            kernel_size,
            name,
            kernel_initializer=initializer,
            bias_initializer=keras.initializers.Constant(bias),
        )

    def add(self, x, y, name: str, activation: str | None = None):
        """The sum of two maps of one shape, then an activation."""
        return self._activate(layers.Add(name=f"{name}_add")([x, y]), name, activation)

    def affine(self, x, scale: float, offset: Sequence[float], output_range, name: str):
        """scale * x + offset of each channel, as a layer that is not trained.

        A depthwise convolution, because the device computes one in int8 without further ranges.
        """
        layer = QuantDepthwiseConv2D if self.quantized else layers.DepthwiseConv2D
        x = layer(
            1,
            depthwise_initializer=keras.initializers.Constant(scale),
            bias_initializer=lambda shape, dtype: keras.ops.convert_to_tensor(offset, dtype),
            trainable=False,
            name=name,
        )(x)
        return self.rounded(x, f"{name}_quant", output_range, fixed=True)

    def rounded(self, x, name: str, initial_range=(0.0, 6.0), fixed: bool = False):
        """Rounds to 8 bits in the quantized form; returns `x` itself in the float form."""
        if not self.quantized:
            return x
        return FakeQuantActivation(initial_range, fixed=fixed, name=name)(x)

    def _conv_layer(self, filters: int, kernel_size: int, name: str, **options):
        # Folded kernels carry the batch norms' scales: shrinking them would only distort those.
        penalized = self.l2 and not self.quantized
        return (QuantConv2D if self.quantized else layers.Conv2D)(
            filters,
            kernel_size,
            kernel_regularizer=keras.regularizers.L2(self.l2 / 2) if penalized else None,
            name=name,
            **({"padding": "same"} | options),
        )

    def _depthwise_layer(self, name: str, strides: int = 1):
        return (QuantDepthwiseConv2D if self.quantized else layers.DepthwiseConv2D)(
            3,
            strides=strides,
            padding="same",
            use_bias=self.quantized,
            # He et al.'s, for the 9 inputs that a depthwise output has; Keras counts all channels.
            depthwise_initializer=keras.initializers.TruncatedNormal(stddev=(2 / 9) ** 0.5),
            name=name,
        )

    def _finish(self, x, name: str, activation: str | None = "relu6"):
        if not self.quantized:
            x = layers.BatchNormalization(
                momentum=self.bn_momentum,
                epsilon=self.bn_epsilon,
                synchronized=self.synchronized,
                name=f"{name}_bn",
            )(x)
        return self._activate(x, name, activation)

    def _activate(self, x, name: str, activation: str | None):
        if activation is None:
            return self.rounded(x, f"{name}_quant", _LINEAR_RANGE)
        x = layers.ReLU(6.0 if activation == "relu6" else None, name=f"{name}_relu")(x)
        return self.rounded(x, f"{name}_quant")
