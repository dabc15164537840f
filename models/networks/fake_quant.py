"""Quantization-aware layers: the network computes what its int8 .tflite will compute.

Weights are quantized per output channel, symmetrically and in the narrow range (-127..127), and
activations per tensor to 256 levels, as in the TFLite 8-bit specification. Source: Jacob et
al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3.
"""

import keras
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

# Activations that are all zero still need a range that can be divided by.
_MIN_RANGE = 1e-6
# On the device a bias is an int32 in steps of (input step) x (kernel step). In a channel whose
# weights are next to zero, as some of ImageNet's MobileNet 0.25 are, these must not be so fine that
# the bias overflows: with 1e-6 a bias of 4 was cut to 0.07. This leaves room for biases of 6 with
# inputs of 0..1, and of 40 with 0..6.
_MIN_KERNEL_RANGE = 1e-4
# Of the moving average of each batch's min and max.
_MOMENTUM = 0.99


def fake_quant_kernel(kernel, axis: int):
    """Rounds a kernel to 8 bits a channel; gradients pass straight through.

    Args:
      kernel: float32, rank 4.
      axis: the dimension of the output channels.

    Returns:
      The same shape, with at most 255 different values a channel.
    """
    other = [dim for dim in range(len(kernel.shape)) if dim != axis]
    limit = ops.maximum(ops.max(ops.abs(ops.stop_gradient(kernel)), axis=other), _MIN_KERNEL_RANGE)
    return fake_quant_with_min_max_vars(kernel, -limit, limit, narrow_range=True, axis=axis)


class QuantConv2D(keras.layers.Conv2D):
    """A Conv2D whose kernel is fake-quantized. Its bias stays float (int32 on the device)."""

    def call(self, inputs):
        """[B, H, W, C] -> [B, H', W', filters]."""
        kernel = fake_quant_kernel(self.kernel, axis=3)
        outputs = ops.conv(inputs, kernel, strides=self.strides, padding=self.padding)
        return outputs + self.bias


class QuantDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A DepthwiseConv2D whose kernel is fake-quantized. Its bias stays float."""

    def call(self, inputs):
        """[B, H, W, C] -> [B, H', W', C]."""
        # In the shape that the device's kernel has: rounded in any other, the converter would have
        # the device reshape it for every image, and no accelerator takes such a layer.
        kernel = ops.reshape(self.kernel, (1, *self.kernel_size, -1))
        kernel = ops.reshape(fake_quant_kernel(kernel, axis=3), self.kernel.shape)
        outputs = ops.depthwise_conv(inputs, kernel, strides=self.strides, padding=self.padding)
        return outputs + self.bias


class FakeQuantActivation(keras.layers.Layer):
    """Rounds a tensor to 256 levels over a range that follows the data during training.

    The range is a moving average of each batch's min and max, which starts at the first batch's own
    range. It always contains 0, so that zero padding is exact.

    Args:
      initial_range: (min, max) until the first training batch, and always if `fixed`.
      fixed: keep the initial range (the input image, whose range is known).
    """

    def __init__(self, initial_range=(0.0, 6.0), fixed=False, **kwargs):
        super().__init__(**kwargs)
        self.initial_range = tuple(float(value) for value in initial_range)
        self.fixed = bool(fixed)

    def build(self, input_shape):
        """Creates the range (two scalars) and the number of batches seen so far."""
        low, high = self.initial_range

        def scalar(name, value):
            return self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                trainable=False,
                # Replicas see different shards of a batch; their mean is the range to keep.
                aggregation="mean",
            )

        self.range_min = scalar("range_min", low)
        self.range_max = scalar("range_max", high)
        self.batches_seen = scalar("batches_seen", 0.0)

    def call(self, inputs, training=False):
        """Any shape in, the same shape out, with at most 256 different values."""
        if training and not self.fixed:
            self._update_range(inputs)
        return fake_quant_with_min_max_vars(inputs, self.range_min.value, self.range_max.value)

    def _update_range(self, inputs):
        inputs = ops.stop_gradient(inputs)
        seen = self.batches_seen.value
        momentum = ops.minimum(_MOMENTUM, seen / (seen + 1.0))
        low = ops.minimum(ops.min(inputs), 0.0)
        high = ops.maximum(ops.max(inputs), _MIN_RANGE)
        self.range_min.assign(momentum * self.range_min.value + (1 - momentum) * low)
        self.range_max.assign(momentum * self.range_max.value + (1 - momentum) * high)
        self.batches_seen.assign(seen + 1.0)
