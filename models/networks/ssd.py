"""The detector: SSD heads on MobileNet v1, as a plain Keras functional model.

Source: SSD (Liu et al.) in the Object Detection API's `ssd_mobilenet_v1` form: six feature maps,
the backbone's two taps and four more, each half the one before.
"""

import math
from typing import Annotated

import keras
import numpy as np
from keras import layers, ops
from pydantic import Field

from models.networks.anchors import anchor_shapes, make_anchors
from models.networks.conv_block import ConvBlocks
from models.networks.mobilenet_v1 import mobilenet_v1
from models.settings import Count, ModelSettings

# Filters, before the depth multiplier, of the four maps after the backbone.
EXTRA_MAPS = (512, 256, 256, 128)
NUM_MAPS = 2 + len(EXTRA_MAPS)
_MIN_FILTERS = 16
# Of the quantized logits. Those of the background go down to -40: a range as wide as theirs has
# steps of 0.18, and so few different scores that detections tie. Beyond this range a score is
# below 0.0004 or above 0.9996.
CLASS_LOGIT_RANGE = (-8.0, 8.0)


def map_sizes(input_size: int) -> tuple[int, ...]:
    """Cells along a side of each feature map, finest first: 19, 10, 5, 3, 2, 1 for 300."""
    # Five halvings up to the second tap, each rounding up, so S/32 is rounded up as a whole.
    sizes = [math.ceil(input_size / 16), math.ceil(input_size / 32)]
    for _ in EXTRA_MAPS:
        sizes.append(math.ceil(sizes[-1] / 2))
    return tuple(sizes)


class SsdConfig(ModelSettings):
    """A network's settings together with its number of classes, without background."""

    num_classes: Count
    min_scale: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2

    @property
    def anchors(self) -> np.ndarray:
        """float32 [N, 4] (ycenter, xcenter, height, width), normalised; 1,917 of them for 300."""
        return make_anchors(map_sizes(self.input_size), self.min_scale, self.max_scale)


def build_ssd(
    config: SsdConfig, quantized: bool = False, synchronized: bool = False
) -> keras.Model:
    """Builds the network.

    Args:
      config: what to build.
      quantized: the fake-quantized form, without batch norms (see `ConvBlocks`).
      synchronized: for training on several replicas, see `ConvBlocks`.

    Returns:
      A functional model. Input: float32 [B, S, S, 3] in [-1, 1]. Outputs: a dict of
      `box_encodings` float32 [B, N, 4] (see `models.networks.boxes`) and `class_logits`
      float32 [B, N, C], in the order of `config.anchors`.
    """
    blocks = ConvBlocks(quantized, config.bn_momentum, config.bn_epsilon, config.l2, synchronized)
    image = keras.Input((config.input_size, config.input_size, 3), name="image")
    x = blocks.rounded(image, "image_quant", initial_range=(-1.0, 1.0), fixed=True)
    maps = mobilenet_v1(x, blocks, config.depth_multiplier)
    extra_depth = config.extra_depth_multiplier or config.depth_multiplier
    for index, filters in enumerate(EXTRA_MAPS, start=2):
        filters = max(int(filters * extra_depth), _MIN_FILTERS)
        squeezed = max(filters // 2, _MIN_FILTERS)
        x = blocks.conv(maps[-1], squeezed, kernel_size=1, name=f"map_{index}_squeeze")
        maps.append(blocks.conv(x, filters, kernel_size=3, strides=2, name=f"map_{index}"))

    encodings, logits = [], []
    for index, (x, shapes) in enumerate(zip(maps, anchor_shapes(NUM_MAPS), strict=True)):
        box = blocks.prediction(
            x, 4 * len(shapes), config.head_kernel_size, 0.0, f"box_head_{index}"
        )
        logit = blocks.prediction(
            x,
            config.num_classes * len(shapes),
            config.head_kernel_size,
            config.class_bias,
            f"class_head_{index}",
        )
        encodings.append(layers.Reshape((-1, 4), name=f"box_flat_{index}")(box))
        logits.append(layers.Reshape((-1, config.num_classes), name=f"class_flat_{index}")(logit))
    # One range for all maps: on the device the concatenation is a copy, without rescaling.
    encodings = layers.Concatenate(axis=1, name="box_concat")(encodings)
    logits = layers.Concatenate(axis=1, name="class_concat")(logits)
    outputs = {
        "box_encodings": blocks.rounded(encodings, "box_quant", initial_range=(-10.0, 10.0)),
        "class_logits": blocks.rounded(logits, "class_quant", CLASS_LOGIT_RANGE, fixed=True),
    }
    name = f"ssd_mobilenet_v1_{'quantized' if quantized else 'float'}"
    return keras.Model(image, outputs, name=name)


def normalize(images):
    """uint8 pixels [B, S, S, 3] to the network's float32 in [-1, 1]."""
    return ops.cast(images, "float32") / 127.5 - 1.0
