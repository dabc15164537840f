"""The families of detectors, behind one configuration and one function that builds the network."""

import numpy as np
from keras import Input, KerasTensor, Model, ops
from pydantic import model_validator

from models.networks import heads, mobilenet_v1, resnet50, retinanet, ssd
from models.networks.anchors import AnchorMap, best_scale, make_anchors
from models.networks.conv_block import ConvBlocks
from models.settings import Count, ModelSettings

# What `fit_anchors` chooses from: of SSD fractions of the image, of a pyramid strides.
_SSD_SCALES = tuple(round(0.05 * step, 2) for step in range(1, 13))
_PYRAMID_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
# Of the quantized pixels. A pixel lies halfway between two of the 256 steps; fake quantization
# rounds it up, and with this range so does the device: it takes pixel v as v - 127. With -1..1 it
# would take v - 128, a whole step below what the network was trained with.
_IMAGE_RANGE = (-127 / 127.5, 128 / 127.5)
_NAMES = {
    "ssd": "ssd_mobilenet_v1",
    "ssd_fpn": "ssd_mobilenet_v1_fpn",
    "retinanet": "retinanet_resnet50",
}


class DetectorConfig(ModelSettings):
    """A network's settings together with its number of classes, without background."""

    num_classes: Count

    @model_validator(mode="after")
    def _check_scale(self):
        if anchor_scale(self) is None:
            raise ValueError("Expected the scale of the anchors. Received: null. See fit_anchors.")
        return self

    @property
    def anchors(self) -> np.ndarray:
        """float32 [N, 4] (ycenter, xcenter, height, width), normalised."""
        return make_anchors(_anchor_maps(self, anchor_scale(self)))

    @property
    def cell_sizes(self) -> np.ndarray:
        """float32 [N], the side of each anchor's cell as a fraction of the image."""
        sides = []
        for centers, shapes in _anchor_maps(self, anchor_scale(self)):
            side = centers[1] - centers[0] if len(centers) > 1 else 1.0
            sides.append(np.full(len(centers) ** 2 * len(shapes), side, np.float32))
        return np.concatenate(sides)


def build_network(
    config: DetectorConfig, quantized: bool = False, synchronized: bool = False
) -> Model:
    """Builds a network.

    Args:
      config: what to build.
      quantized: the fake-quantized form, without batch norms (see `ConvBlocks`).
      synchronized: for training on several replicas, see `ConvBlocks`.

    Returns:
      A functional model. Input: float32 [B, S, S, 3] in [-1, 1], see `normalize`. Outputs: a dict
      of `box_encodings` float32 [B, N, 4] (see `models.networks.boxes`) and `class_logits`
      float32 [B, N, C], in the order of `config.anchors`.
    """
    blocks = ConvBlocks(quantized, config.bn_momentum, config.bn_epsilon, config.l2, synchronized)
    image: KerasTensor = Input((config.input_size, config.input_size, 3), name="image")
    x = blocks.rounded(image, "image_quant", initial_range=_IMAGE_RANGE, fixed=True)
    family = ssd.ssd if config.family == "ssd" else retinanet.retinanet
    encodings, logits = family(x, blocks, config, config.num_classes)
    form = "quantized" if quantized else "float"
    outputs = heads.join(encodings, logits, blocks)
    return Model(image, outputs, name=f"{_NAMES[config.family]}_{form}")


def normalize(images):
    """uint8 pixels [B, S, S, 3] to the float32 in [-1, 1] that every network takes."""
    return ops.cast(images, "float32") / 127.5 - 1.0


def freeze_backbone(
    network: Model, config: DetectorConfig, blocks: int, batch_norms: bool = False
) -> None:
    """Freezes parts of the backbone: weights, and the statistics of batch norms.

    Args:
      network: changed in place.
      config: the network's.
      blocks: the stem and this many blocks are frozen; 0 freezes no block.
      batch_norms: all batch norms of the backbone are frozen.
    """
    backbone = resnet50 if config.family == "retinanet" else mobilenet_v1
    frozen = {name for block in backbone.BLOCK_LAYERS[: blocks + 1] for name in block if blocks}
    in_backbone = {name for block in backbone.BLOCK_LAYERS for name in block}
    for layer in network.layers:
        name = layer.name.removesuffix("_bn")
        is_batch_norm = name != layer.name
        if name in frozen or (batch_norms and is_batch_norm and name in in_backbone):
            layer.trainable = False


def fit_anchors(
    settings: ModelSettings, box_sizes: np.ndarray, box_ratios: np.ndarray
) -> ModelSettings:
    """Fits the scale of the anchors to a data set where the settings leave it open (null).

    Args:
      settings: of the network.
      box_sizes: float32 [n], sqrt(area) of typical boxes, such as quantiles, 0..1.
      box_ratios: float32 [m], height / width of typical boxes, in normalised coordinates.

    Returns:
      The settings with a scale: of SSD a multiple of 0.05, below `max_scale` and at most 0.6.
    """
    if anchor_scale(settings) is not None:
        return settings
    is_ssd = settings.family == "ssd"
    scales = _PYRAMID_SCALES
    if is_ssd:
        scales = [scale for scale in _SSD_SCALES if scale < settings.max_scale]

    def anchors_at(scale: float) -> np.ndarray:
        return make_anchors(_anchor_maps(settings, scale))

    best = best_scale(box_sizes, box_ratios, scales, anchors_at)
    if is_ssd:
        return settings.model_copy(update={"min_scale": best})
    pyramid = settings.pyramid.model_copy(update={"anchor_scale": best})
    return settings.model_copy(update={"pyramid": pyramid})


def anchor_scale(settings: ModelSettings) -> float | None:
    """The setting that scales the anchors: of SSD the finest map's, of a pyramid every level's."""
    return settings.min_scale if settings.family == "ssd" else settings.pyramid.anchor_scale


def _anchor_maps(settings: ModelSettings, scale: float) -> list[AnchorMap]:
    family = ssd if settings.family == "ssd" else retinanet
    return family.anchor_maps(settings, scale)
