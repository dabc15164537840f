"""SSD on MobileNet v1.

Source: SSD (Liu et al.) in the Object Detection API's `ssd_mobilenet_v1` form: six feature maps,
the backbone's two taps and four more, each half the one before.
"""

import math

import keras

from models.networks.anchors import AnchorMap, ssd_anchor_maps
from models.networks.conv_block import ConvBlocks
from models.networks.heads import Maps, ssd_heads
from models.networks.mobilenet_v1 import mobilenet_v1
from models.settings import ModelSettings

# Filters, before the depth multiplier, of the four maps after the backbone.
EXTRA_MAPS = (512, 256, 256, 128)
# Blocks of the backbone whose outputs are tapped: the last ones at stride 16 and at stride 32.
_TAPS = (11, 13)
_MIN_FILTERS = 16


def map_sizes(input_size: int) -> tuple[int, ...]:
    """Cells along a side of each feature map, finest first: 19, 10, 5, 3, 2, 1 for 300."""
    # Five halvings up to the second tap, each rounding up, so S/32 is rounded up as a whole.
    sizes = [math.ceil(input_size / 16), math.ceil(input_size / 32)]
    for _ in EXTRA_MAPS:
        sizes.append(math.ceil(sizes[-1] / 2))
    return tuple(sizes)


def anchor_maps(settings: ModelSettings, min_scale: float) -> list[AnchorMap]:
    """The anchors of each feature map."""
    return ssd_anchor_maps(map_sizes(settings.input_size), min_scale, settings.max_scale)


def ssd(
    image: keras.KerasTensor, blocks: ConvBlocks, settings: ModelSettings, num_classes: int
) -> tuple[Maps, Maps]:
    """Builds the detector onto an image.

    Args:
      image: [B, S, S, 3] in [-1, 1].
      blocks: makes the layers.
      settings: of the network.
      num_classes: without background.

    Returns:
      Box encodings and class logits of each map, see `models.networks.heads.ssd_heads`.
    """
    maps = mobilenet_v1(image, blocks, settings.depth_multiplier, _TAPS)
    extra_depth = settings.extra_depth_multiplier or settings.depth_multiplier
    for index, filters in enumerate(EXTRA_MAPS, start=2):
        filters = max(int(filters * extra_depth), _MIN_FILTERS)
        squeezed = max(filters // 2, _MIN_FILTERS)
        x = blocks.conv(maps[-1], squeezed, kernel_size=1, name=f"map_{index}_squeeze")
        maps.append(blocks.conv(x, filters, kernel_size=3, strides=2, name=f"map_{index}"))
    counts = [len(shapes) for _, shapes in anchor_maps(settings, settings.min_scale)]
    return ssd_heads(
        maps, blocks, counts, num_classes, settings.head_kernel_size, settings.class_bias
    )
