"""ResNet-50 v1, the backbone of RetinaNet, in plain Keras.

Source: He et al., "Deep Residual Learning for Image Recognition", table 1, as the Object Detection
API's backbone, TF-Slim's `resnet_v1_50`, computes it. A stage's stride is in its first 1x1
convolutions here, as in `keras.applications.ResNet50`; TF-Slim drops the same cells at the end of
the stage before. The first pooling has SAME padding, as in TF-Slim: on a map of even size, Keras's
windows lie one cell further up and left. The API's detectors were trained with "relu6" in the stem
and inside of the residual blocks, ImageNet's classifiers with "relu".

A layer X here is `X_conv` in Keras, X_bn is X_bn. Kernels match but for the first, whose input
channels are BGR there; convolutions have no biases here, which the batch norms make superfluous,
and the batch norms' epsilon is a setting (1.001e-5 there, 1e-5 in TF-Slim).
"""

import keras
from keras import layers

from models.networks.conv_block import ConvBlocks

# (filters before the depth multiplier, blocks, stride) of the four stages.
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
# Blocks end in this many times their filters.
_EXPANSION = 4
# ImageNet's mean colour, RGB: what the original weights expect to be subtracted from pixels.
_MEAN_RGB = (123.68, 116.779, 103.939)

# The layers of the stem and of each residual block, without their batch norms.
BLOCK_LAYERS = (
    ("conv1",),
    *(
        tuple(f"conv{stage}_block{block}_{layer}" for layer in range(0 if block == 1 else 1, 4))
        for stage, (_, blocks, _) in enumerate(STAGES, start=2)
        for block in range(1, blocks + 1)
    ),
)


def resnet50(
    image: keras.KerasTensor, blocks: ConvBlocks, depth_multiplier: float, activation: str
) -> list[keras.KerasTensor]:
    """Builds the backbone onto an image.

    Args:
      image: [B, S, S, 3], values in [-1, 1]; scaled back to pixels minus the mean colour inside.
      blocks: makes the layers, in floating point or fake-quantized.
      depth_multiplier: factor of every layer's filters; ImageNet weights have 1.
      activation: "relu" or "relu6", of the stem and inside of the residual blocks; their sums
        always have "relu".

    Returns:
      The outputs of the four stages: [B, S/4, S/4, 256 * multiplier], [B, S/8, S/8, 512 *
      multiplier], ..., sizes rounded up.
    """
    x = blocks.affine(
        image,
        scale=127.5,
        offset=[127.5 - mean for mean in _MEAN_RGB],
        output_range=(-max(_MEAN_RGB), 255 - min(_MEAN_RGB)),
        name="mean_colour",
    )
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = blocks.conv(
        x,
        int(64 * depth_multiplier),
        kernel_size=7,
        strides=2,
        padding="valid",
        activation=activation,
        name="conv1",
    )
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1_pool")(x)
    stages = []
    for stage, (filters, count, stride) in enumerate(STAGES, start=2):
        filters = int(filters * depth_multiplier)
        for block in range(1, count + 1):
            x = _residual_block(
                x,
                blocks,
                filters,
                strides=stride if block == 1 else 1,
                project=block == 1,
                activation=activation,
                name=f"conv{stage}_block{block}",
            )
        stages.append(x)
    return stages


def _residual_block(
    x, blocks: ConvBlocks, filters: int, *, strides: int, project: bool, activation: str, name: str
):
    wide = _EXPANSION * filters
    shortcut = x
    if project:
        shortcut = blocks.conv(x, wide, 1, f"{name}_0", strides=strides, activation=None)
    x = blocks.conv(x, filters, 1, f"{name}_1", strides=strides, activation=activation)
    x = blocks.conv(x, filters, 3, f"{name}_2", activation=activation)
    x = blocks.conv(x, wide, 1, f"{name}_3", activation=None)
    return blocks.add(shortcut, x, name, activation="relu")
