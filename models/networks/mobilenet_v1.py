"""MobileNet v1, the backbone, in plain Keras, with TF-Slim's padding.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", table 1. Layer names are those of `keras.applications.MobileNet`, whose ImageNet
weights load by name. Padding is SAME throughout, as in TF-Slim, where the zoo's checkpoints come
from: `keras.applications` pads strided layers otherwise, and on odd sizes its maps are a cell
smaller (18 cells instead of 19 at 300 pixels).
"""

from collections.abc import Sequence

import keras

from models.networks.conv_block import ConvBlocks

# (filters before the depth multiplier, stride) of the 13 depthwise separable blocks.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
# The layers of the stem and of each block, without their batch norms.
BLOCK_LAYERS = (
    ("conv1",),
    *((f"conv_dw_{index}", f"conv_pw_{index}") for index in range(1, len(BLOCKS) + 1)),
)


def mobilenet_v1(
    image: keras.KerasTensor, blocks: ConvBlocks, depth_multiplier: float, taps: Sequence[int]
) -> list[keras.KerasTensor]:
    """Builds the backbone onto an image.

    Args:
      image: [B, S, S, 3], values in [-1, 1].
      blocks: makes the layers, in floating point or fake-quantized.
      depth_multiplier: factor of every layer's filters. As in Keras (and unlike TF-Slim, which
        keeps at least 8 filters a layer) it is applied without a floor; they agree from 0.25 up.
      taps: numbers of the blocks, from 1, whose outputs are wanted, in ascending order. Blocks
        after the last of them are not built.

    Returns:
      Their outputs; those of blocks 5, 11 and 13 (or 12) are [B, S/8, S/8, 256 * multiplier],
      [B, S/16, S/16, 512 * multiplier] and [B, S/32, S/32, 1024 * multiplier], sizes rounded up.
    """
    x = blocks.conv(image, int(32 * depth_multiplier), kernel_size=3, strides=2, name="conv1")
    outputs = []
    for index, (filters, stride) in enumerate(BLOCKS[: max(taps)], start=1):
        x = blocks.depthwise(x, strides=stride, name=f"conv_dw_{index}")
        x = blocks.conv(x, int(filters * depth_multiplier), kernel_size=1, name=f"conv_pw_{index}")
        if index in taps:
            outputs.append(x)
    return outputs
