"""Prediction layers: from feature maps to box encodings and class logits, anchor by anchor."""

from collections.abc import Sequence

import keras
from keras import layers

from models.networks.conv_block import ConvBlocks

# Of the quantized logits. Those of the background go down to -40: a range as wide as theirs has
# steps of 0.18, and so few different scores that detections tie. Beyond this range a score is
# below 0.0004 or above 0.9996.
CLASS_LOGIT_RANGE = (-8.0, 8.0)
Maps = list[keras.KerasTensor]


def ssd_heads(
    maps: Maps,
    blocks: ConvBlocks,
    anchors_per_cell: Sequence[int],
    num_classes: int,
    kernel_size: int,
    class_bias: float,
) -> tuple[Maps, Maps]:
    """SSD's predictor: two layers for each map.

    Args:
      maps: [B, H, W, C], finest first.
      blocks: makes the layers.
      anchors_per_cell: of each map.
      num_classes: without background.
      kernel_size: of the layers.
      class_bias: initial bias of the logits.

    Returns:
      Box encodings [B, H * W * anchors, 4] and class logits [B, H * W * anchors, num_classes] of
      each map.
    """
    encodings, logits = [], []
    for index, (x, count) in enumerate(zip(maps, anchors_per_cell, strict=True)):
        predictions = [
            blocks.prediction(
                values * count,
                kernel_size,
                bias,
                f"{kind}_head_{index}",
                keras.initializers.TruncatedNormal(stddev=0.03),
            )(x)
            for kind, values, bias in (("box", 4, 0.0), ("class", num_classes, class_bias))
        ]
        box, logit = predictions
        encodings.append(layers.Reshape((-1, 4), name=f"box_flat_{index}")(box))
        logits.append(layers.Reshape((-1, num_classes), name=f"class_flat_{index}")(logit))
    return encodings, logits


def shared_heads(
    maps: dict[str, keras.KerasTensor],
    blocks: ConvBlocks,
    anchors_per_cell: int,
    num_classes: int,
    *,
    tower_layers: int,
    tower_depth: int,
    separable: bool,
    class_bias: float,
) -> tuple[Maps, Maps]:
    """RetinaNet's predictor: towers and prediction layers that all levels share (section 4).

    As in the Object Detection API's `WeightSharedConvolutionalBoxPredictor`, every level has its
    own batch norms. TF1's `ClassPredictionTower/conv2d_i` with `BatchNorm/feature_j` is
    `class_tower_i` with `class_tower_i_level_l_bn` here, `ClassPredictor` is `class_head`.

    Args:
      maps: [B, H, W, C] by level ("level_3"), finest first.
      blocks: makes the layers.
      anchors_per_cell: of every level.
      num_classes: without background.
      tower_layers: 3x3 layers before each prediction.
      tower_depth: their filters.
      separable: depthwise separable towers with 1x1 predictions, instead of 3x3 convolutions.
      class_bias: initial bias of the logits.

    Returns:
      As `ssd_heads`.
    """
    outputs = []
    for kind, values, bias in (("box", 4, 0.0), ("class", num_classes, class_bias)):
        tower = maps
        for index in range(tower_layers):
            name = f"{kind}_tower_{index}"
            if separable:
                tower = blocks.shared_depthwise(tower, f"{name}_dw")
                tower = blocks.shared_conv(tower, tower_depth, 1, f"{name}_pw")
            else:
                tower = blocks.shared_conv(tower, tower_depth, 3, name)
        predict = blocks.prediction(
            values * anchors_per_cell,
            1 if separable else 3,
            bias,
            f"{kind}_head",
            keras.initializers.RandomNormal(stddev=0.01),
        )
        outputs.append(
            [
                layers.Reshape((-1, values), name=f"{kind}_flat_{level}")(predict(x))
                for level, x in tower.items()
            ]
        )
    encodings, logits = outputs
    return encodings, logits


def join(encodings: Maps, logits: Maps, blocks: ConvBlocks) -> dict[str, keras.KerasTensor]:
    """Joins the predictions of all maps, in the order of the anchors.

    One range for all maps: on the device the concatenation is a copy, without rescaling.

    Returns:
      `box_encodings` float32 [B, N, 4] and `class_logits` float32 [B, N, C].
    """
    encodings = layers.Concatenate(axis=1, name="box_concat")(encodings)
    logits = layers.Concatenate(axis=1, name="class_concat")(logits)
    return {
        "box_encodings": blocks.rounded(encodings, "box_quant", initial_range=(-10.0, 10.0)),
        "class_logits": blocks.rounded(logits, "class_quant", CLASS_LOGIT_RANGE, fixed=True),
    }
