"""RetinaNet: a feature pyramid and a shared predictor, on ResNet-50 or on MobileNet v1.

Source: Lin et al., "Focal Loss for Dense Object Detection", in the Object Detection API's forms
`ssd_resnet50_v1_fpn_shared_box_predictor` and `ssd_mobilenet_v1_fpn_shared_box_predictor`, the
adaptation to mobile backbones. With separable convolutions and thin heads it is a detector for
phones.
"""

import keras

from models.networks.anchors import AnchorMap, pyramid_anchor_maps
from models.networks.conv_block import ConvBlocks
from models.networks.heads import Maps, shared_heads
from models.networks.mobilenet_v1 import mobilenet_v1
from models.networks.pyramid import feature_pyramid
from models.networks.resnet50 import resnet50
from models.settings import ModelSettings

# MobileNet's last blocks at strides 8 and 16; that at stride 32 is a setting.
_MOBILENET_TAPS = {3: 5, 4: 11}


def anchor_maps(settings: ModelSettings, anchor_scale: float) -> list[AnchorMap]:
    """The anchors of each level."""
    pyramid = settings.pyramid
    levels = range(pyramid.min_level, pyramid.max_level + 1)
    return pyramid_anchor_maps(
        settings.input_size,
        levels,
        anchor_scale,
        pyramid.scales_per_octave,
        pyramid.anchor_ratios,
    )


def retinanet(
    image: keras.KerasTensor, blocks: ConvBlocks, settings: ModelSettings, num_classes: int
) -> tuple[Maps, Maps]:
    """Builds the detector onto an image.

    Args:
      image: [B, S, S, 3] in [-1, 1].
      blocks: makes the layers.
      settings: of the network; `family` chooses the backbone.
      num_classes: without background.

    Returns:
      Box encodings and class logits of each level, see `models.networks.heads.shared_heads`.
    """
    pyramid = settings.pyramid
    levels = range(pyramid.min_level, 6)
    if settings.family == "retinanet":
        stages = resnet50(image, blocks, settings.depth_multiplier, settings.resnet_activation)
        taps = {level: stages[level - 2] for level in levels}
    else:
        blocks_of = _MOBILENET_TAPS | {5: settings.backbone_blocks}
        indices = [blocks_of[level] for level in levels]
        maps = mobilenet_v1(image, blocks, settings.depth_multiplier, indices)
        taps = dict(zip(levels, maps, strict=True))
    maps = feature_pyramid(taps, blocks, pyramid.depth, pyramid.max_level, pyramid.separable)
    return shared_heads(
        maps,
        blocks,
        pyramid.scales_per_octave * len(pyramid.anchor_ratios),
        num_classes,
        tower_layers=pyramid.head_layers,
        tower_depth=pyramid.head_depth,
        separable=pyramid.separable,
        class_bias=settings.class_bias,
    )
