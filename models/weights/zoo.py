"""Weights of the TF Object Detection API's detectors, in terms of our layers.

The readers (`models.weights.tflite_weights`, `models.weights.tf1_checkpoint`) make `ZooWeights` out
of a file, by the names of its variables (`models.weights.zoo_names`); here is whether they fit.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable

import keras
import numpy as np

from models.networks.families import DetectorConfig, anchor_scale, build_network
from models.networks.mobilenet_v1 import BLOCK_LAYERS, BLOCKS
from models.networks.ssd import EXTRA_MAPS
from models.settings import ModelSettings
from models.weights.zoo_names import (
    API_NAMES,
    Names,
    has_bias,
    is_backbone,
    is_class_head,
    network_in_words,
)

# Shapes in each cell: of ssd's finest map, and of a pyramid.
_ANCHORS = {"class_head_0": 3, "class_head": 6}
# By which a pyramid is told. Its input is the backbone's last block.
_PYRAMID_LAYER = "projection_level_5"
# Of the zoo's pyramids; a checkpoint does not say.
_ANCHOR_SCALE = 4.0


@dataclasses.dataclass(frozen=True)
class LayerWeights:
    """Of one convolution, or of one of the batch norms after a shared one.

    Attributes:
      kernel: float32 [h, w, in, out], depthwise [h, w, C, 1]; None for a batch norm alone.
      bias: float32 [out]; None with a batch norm.
      batch_norm: float32 gamma, beta, mean and variance, [out] each; None when there is none, or
        when it is folded into kernel and bias.
    """

    kernel: np.ndarray | None
    bias: np.ndarray | None = None
    batch_norm: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable or constant of the file, and what became of it.

    Attributes:
      name: in the file.
      shape: in the file.
      layer: our layer that it belongs to; "" for none.
      note: why it was left out, or how it was loaded if not as it is.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ZooWeights:
    """A network of the Object Detection API.

    Attributes:
      source: where it is from, for messages.
      layers: by the names of our layers.
      variables: everything that the file holds.
      class_names: by row of the class heads, without the background; "" where a row is no class.
        Empty when the names are not known.
      scales: smallest and largest scale of the anchors, of ssd.
      family: ours.
    """

    source: str
    layers: dict[str, LayerWeights]
    variables: list[Variable]
    class_names: tuple[str, ...] = ()
    scales: tuple[float, float] = (0.2, 0.95)
    family: str = "ssd"

    @property
    def num_classes(self) -> int:
        """Classes of the class heads, without background; 0 when there are no heads."""
        for name, anchors in _ANCHORS.items():
            if name in self.layers:
                return self.layers[name].kernel.shape[-1] // anchors - 1
        return 0

    @property
    def folded(self) -> list[str]:
        """Layers whose batch norms are folded."""
        return [
            name
            for name, layer in self.layers.items()
            if layer.bias is not None and not has_bias(name)
        ]

    def without(self, layers: Collection[str], note: str) -> "ZooWeights":
        """The same without some layers; the note says why, among the variables."""
        return dataclasses.replace(
            self,
            layers={name: layer for name, layer in self.layers.items() if name not in layers},
            variables=[
                Variable(row.name, row.shape, "", note) if row.layer in layers else row
                for row in self.variables
            ],
        )


def check_layers(
    source: str, found: Iterable[str], variables: list[str], names: Names, *, extras, heads
) -> None:
    """Checks that a file has weights for every layer.

    Args:
      source: of the file, for the message.
      found: our layers that it has weights for.
      variables: the names of everything in it, by which another network is told.
      names: of the network that it should be.
      extras: whether the layers after the backbone are needed.
      heads: whether the predictors are needed.

    Raises:
      ValueError: when one is missing.
    """
    found = set(found)
    expected = names.expected(extras=extras, heads=heads)
    backbone = [name for name in expected if is_backbone(name)]
    missing = [name for name in expected if name not in found]
    if len(found.intersection(backbone)) < len(backbone) / 2:
        raise ValueError(
            f"Expected weights of the Object Detection API's {API_NAMES[names.family]}. "
            f"Received: {source}, which is {network_in_words(variables)}."
        )
    if missing:
        raise ValueError(
            f"Expected weights for all layers of {API_NAMES[names.family]}. Received: {source}, "
            f"which has none for {shortened(missing)}."
        )


def check_classes(weights: ZooWeights) -> None:
    """Checks that class heads, if there are any, have a row for the background and one for a class.

    Raises:
      ValueError: when they have fewer.
    """
    for name in _ANCHORS:
        if name in weights.layers and weights.num_classes < 1:
            raise ValueError(
                "Expected class heads for a background and a class at least. Received: "
                f"{weights.source}, whose {name} has a kernel of shape "
                f"{weights.layers[name].kernel.shape}."
            )


def fitted(weights: ZooWeights, settings: ModelSettings) -> ZooWeights:
    """The weights that a network takes, up to its classes.

    Args:
      weights: of the file.
      settings: of the network; an open scale of the anchors (null) fits any.

    Returns:
      The weights themselves, or, for another family on the same backbone, their backbone; what is
      left out says so among the variables.

    Raises:
      ValueError: says which settings fit, or which layer has another shape.
    """
    if settings.family != weights.family:
        weights = _backbone_of(weights, settings.family)
    if _PYRAMID_LAYER not in weights.layers and settings.backbone_blocks < len(BLOCKS):
        last = [name for name in BLOCK_LAYERS[settings.backbone_blocks + 1 :] for name in name]
        note = f"left out: model.backbone_blocks is {settings.backbone_blocks}"
        weights = weights.without(last, note)
    wanted = settings_of(weights)
    received = settings.model_dump()
    received |= {f"pyramid.{name}": value for name, value in received["pyramid"].items()}
    received["extra_depth_multiplier"] = (
        settings.extra_depth_multiplier or settings.depth_multiplier
    )
    received = {name: wanted[name] if received[name] is None else received[name] for name in wanted}
    if not all(_same(received[name], value) for name, value in wanted.items()):
        raise ValueError(
            "Expected weights for a network with "
            + _spelled(received)
            + f". Received: {weights.source}, which fits --set {_spelled(wanted)}."
        )
    network = build_network(config_of(weights, settings))
    for layer, found in weights.layers.items():
        _check_arrays(weights, layer, found, network)
    return weights


def with_anchors(settings: ModelSettings, weights: ZooWeights) -> ModelSettings:
    """Fills in the scale of the anchors where it is open and the weights have box heads.

    Box heads are worth something with the anchors that they were trained on alone.
    """
    is_open = anchor_scale(settings) is None
    if not is_open or settings.family != weights.family or not weights.num_classes:
        return settings
    if settings.family == "ssd":
        low, high = weights.scales
        return settings.model_copy(update={"min_scale": low, "max_scale": high})
    pyramid = settings.pyramid.model_copy(update={"anchor_scale": _ANCHOR_SCALE})
    return settings.model_copy(update={"pyramid": pyramid})


def config_of(weights: ZooWeights, settings: ModelSettings) -> DetectorConfig:
    """The config of the network that the weights are from, as far as they say."""
    values = settings.model_dump() | {"num_classes": max(weights.num_classes, 1)}
    if settings.family == "ssd":
        values["min_scale"], values["max_scale"] = weights.scales
    else:
        values["pyramid"]["anchor_scale"] = settings.pyramid.anchor_scale or _ANCHOR_SCALE
    return DetectorConfig(**values)


def _backbone_of(weights: ZooWeights, family: str) -> ZooWeights:
    if "retinanet" in (family, weights.family):
        raise ValueError(
            f"Expected weights for model.family={family}. Received: {weights.source}, an "
            f"{API_NAMES[weights.family]}, which fits --set model.family={weights.family}."
        )
    others = [name for name in weights.layers if not is_backbone(name)]
    return weights.without(others, f"left out: {family} has no such layer")


def _same(a, b) -> bool:
    return abs(a - b) <= 1e-3 if isinstance(b, float) else a == b


def _spelled(settings: dict) -> str:
    def value_of(value) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value).lower()

    return " ".join(f"model.{name}={value_of(value)}" for name, value in settings.items())


def _check_arrays(
    weights: ZooWeights, layer: str, found: LayerWeights, network: keras.Model
) -> None:
    if found.kernel is None:
        outputs = network.get_layer(f"{layer}_bn").gamma.shape[0]
    else:
        shape = tuple(network.get_layer(layer).kernel.shape)
        if is_class_head(layer):
            # Theirs has a column for the background besides.
            shape = (*shape[:3], shape[3] // weights.num_classes * (weights.num_classes + 1))
        if found.kernel.shape != shape:
            raise ValueError(
                f"Expected a kernel of shape {shape} for {layer}. Received: {found.kernel.shape} "
                f"(in {weights.source})."
            )
        outputs = shape[2] if layer.startswith("conv_dw_") else shape[3]
    vectors = [vector for vector in (found.bias, *(found.batch_norm or ())) if vector is not None]
    for vector in vectors:
        if vector.shape != (outputs,):
            raise ValueError(
                f"Expected biases and batch norms of shape ({outputs},) for {layer}. Received: "
                f"{vector.shape} (in {weights.source})."
            )
    arrays = vectors if found.kernel is None else [found.kernel, *vectors]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            f"Expected finite weights for {layer}. Received: others (in {weights.source})."
        )
    if found.batch_norm is not None and not (found.batch_norm[3] >= 0).all():
        raise ValueError(
            f"Expected moving variances of 0 or more for {layer}. Received: negative ones (in "
            f"{weights.source})."
        )


def settings_of(weights: ZooWeights) -> dict:
    """The settings with which a network has layers of these shapes, and these anchors."""

    def shape(layer: str) -> tuple[int, ...]:
        return weights.layers[layer].kernel.shape

    is_resnet = weights.family == "retinanet"
    last, filters = ("conv5_block3_3", 2048) if is_resnet else ("conv_pw_12", BLOCKS[11][0])
    settings = {"depth_multiplier": shape(last)[-1] / filters}
    if "map_2" in weights.layers:
        settings["extra_depth_multiplier"] = shape("map_2")[-1] / EXTRA_MAPS[0]
    if "box_head_0" in weights.layers:
        settings["head_kernel_size"] = shape("box_head_0")[0]
        settings["min_scale"], settings["max_scale"] = weights.scales
    if _PYRAMID_LAYER in weights.layers:
        levels = [
            int(name[-1])
            for name in weights.layers
            if re.fullmatch(r"(projection|bottom_up)_level_\d", name)
        ]
        settings |= {
            "pyramid.min_level": min(levels),
            "pyramid.max_level": max(levels),
            "pyramid.depth": shape(_PYRAMID_LAYER)[-1],
            "pyramid.separable": False,
        }
        settings |= {"resnet_activation": "relu6"} if is_resnet else {"backbone_blocks": 13}
    if "box_head" in weights.layers:
        towers = [name for name in weights.layers if re.fullmatch(r"box_tower_\d", name)]
        settings |= {
            "pyramid.head_layers": len(towers),
            "pyramid.head_depth": shape("box_head")[2],
            "pyramid.anchor_scale": _ANCHOR_SCALE,
        }
    return settings


def shortened(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
