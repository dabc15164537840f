"""Feature pyramids: one depth at every scale, the coarse maps' meaning in the fine ones.

Source: Lin et al., "Feature Pyramid Networks for Object Detection", in the form of the Object
Detection API's TF1 models: the sum goes on to the next finer level before it is smoothed (the TF2
models pass on the smoothed map), and the backbone's coarsest level is not smoothed at all.
"""

import keras
from keras import layers, ops

from models.networks.conv_block import ConvBlocks


def feature_pyramid(
    taps: dict[int, keras.KerasTensor],
    blocks: ConvBlocks,
    depth: int,
    max_level: int,
    separable: bool,
) -> dict[str, keras.KerasTensor]:
    """Builds a pyramid onto a backbone.

    TF1's names, in whose scope the finest level is 1, are by level here: `projection_1` of a
    pyramid from level 3 on is `projection_level_3`, `smoothing_1` is `smoothing_level_3`, and
    `bottom_up_Conv2d_14` (of MobileNet) or `bottom_up_block5` (of ResNet) is `bottom_up_level_6`.

    Args:
      taps: the backbone's maps [B, S / 2**l, S / 2**l, C], sizes rounded up, by level l.
      blocks: makes the layers.
      depth: filters of all levels.
      max_level: levels beyond the taps are convolutions of stride 2 on the level before.
      separable: depthwise separable convolutions instead of 3x3 ones.

    Returns:
      [B, S / 2**l, S / 2**l, depth] as "level_<l>", finest first.
    """

    def conv(x, name, strides=1):
        if separable:
            return blocks.separable(x, depth, name, strides)
        return blocks.conv(x, depth, kernel_size=3, name=name, strides=strides)

    top = max(taps)
    pyramid = {}
    total = None
    for level in sorted(taps, reverse=True):
        projected = blocks.projection(taps[level], depth, f"projection_level_{level}")
        if total is None:
            total = pyramid[level] = projected
        else:
            upsampled = Upsample2x(projected.shape[1], name=f"upsampling_level_{level}")(total)
            total = blocks.add(upsampled, projected, f"sum_level_{level}")
            pyramid[level] = conv(total, f"smoothing_level_{level}")
    for level in range(top + 1, max_level + 1):
        pyramid[level] = conv(pyramid[level - 1], f"bottom_up_level_{level}", strides=2)
    return {f"level_{level}": pyramid[level] for level in sorted(pyramid)}


class Upsample2x(layers.Layer):
    """Nearest-neighbour upsampling by 2, cropped to a size: an odd map is 2n - 1 cells wide.

    Copies and reshapes only, which every backend, TPU and int8 kernel has, and its gradient, too.

    Args:
      size: cells along a side of the result, 2n or 2n - 1 for n cells of the input.
    """

    def __init__(self, size: int, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, x):
        """[B, n, n, C] -> [B, size, size, C]."""
        cells, depth = x.shape[1], x.shape[3]
        x = ops.concatenate([x, x], axis=3)  # each cell twice in its row
        x = ops.reshape(x, (-1, cells, 2 * cells * depth))
        x = ops.concatenate([x, x], axis=2)  # each row twice
        x = ops.reshape(x, (-1, 2 * cells, 2 * cells, depth))
        return x[:, : self.size, : self.size]
