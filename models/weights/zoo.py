"""Weights of the TF Object Detection API's `ssd_mobilenet_v1`, in terms of our layers.

The readers (`models.weights.tflite_weights`, `models.weights.tf1_checkpoint`) make `ZooWeights` out
of a file; here is what they share: whose weights a name stands for, and whether they fit.
"""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from models.networks.families import DetectorConfig, build_network
from models.networks.mobilenet_v1 import BLOCKS
from models.networks.ssd import EXTRA_MAPS
from models.settings import ModelSettings

_SCOPE = re.compile(
    r"(?:(?P<extractor>FeatureExtractor/)?(?:MobilenetV1/)+(?:"
    r"(?P<stem>Conv2d_0)"
    r"|Conv2d_13_pointwise_(?P<half>[12])_Conv2d_(?P<map>[2-5])_(?:1x1|3x3_s2)_\d+"
    r"|Conv2d_(?P<block>[1-9]|1[0-3])_(?P<kind>depthwise|pointwise)"
    r")|BoxPredictor_(?P<head>[0-5])/(?P<what>BoxEncodingPredictor|ClassPredictor))"
    r"/(?P<variable>.+)"
)
# By what a name of another network gives itself away.
_OTHER_FAMILIES = {
    "ssd_mobilenet_v1_fpn": ("/fpn/", "WeightSharedConvolutionalBoxPredictor"),
    "a network on MobileNet v2": ("MobilenetV2/", "MobileNetV2/"),
    "a network on ResNet": ("resnet_v1_",),
    "a network on Inception": ("Inception",),
    "EfficientNet or EfficientDet": ("efficientnet", "EfficientNet"),
}
_BACKBONE = ("conv1", *(f"conv_{k}_{i}" for i in range(1, len(BLOCKS) + 1) for k in ("dw", "pw")))
NUM_MAPS = 2 + len(EXTRA_MAPS)
# Shapes in each cell of the finest map, see `models.networks.anchors.ssd_anchor_maps`.
_FINEST_ANCHORS = 3
_EXTRAS = tuple(f"map_{i}{half}" for i in range(2, NUM_MAPS) for half in ("_squeeze", ""))
BOX_HEADS = tuple(f"box_head_{i}" for i in range(NUM_MAPS))
CLASS_HEADS = tuple(f"class_head_{i}" for i in range(NUM_MAPS))


@dataclasses.dataclass(frozen=True)
class LayerWeights:
    """Of one convolution.

    Attributes:
      kernel: float32 [h, w, in, out], depthwise [h, w, C, 1].
      bias: float32 [out]; None with a batch norm.
      batch_norm: float32 gamma, beta, mean and variance, [out] each; None when there is none, or
        when it is folded into kernel and bias.
    """

    kernel: np.ndarray
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
      scales: smallest and largest scale of the anchors.
    """

    source: str
    layers: dict[str, LayerWeights]
    variables: list[Variable]
    class_names: tuple[str, ...] = ()
    scales: tuple[float, float] = (0.2, 0.95)

    @property
    def num_classes(self) -> int:
        """Classes of the class heads, without background; 0 when there are no heads."""
        if CLASS_HEADS[0] not in self.layers:
            return 0
        return self.layers[CLASS_HEADS[0]].kernel.shape[-1] // _FINEST_ANCHORS - 1


def split_name(name: str) -> tuple[str, str, bool] | None:
    """Whose weights a name stands for.

    Args:
      name: of a variable or tensor, e.g. "FeatureExtractor/MobilenetV1/Conv2d_0/weights".

    Returns:
      Our layer, what is left of the name ("weights"), and whether it is under the detector's
      scope ("FeatureExtractor" or a head); None for a name of anything else.
    """
    match = _SCOPE.fullmatch(name)
    if match is None:
        return None
    if match["stem"]:
        layer = "conv1"
    elif match["map"]:
        layer = f"map_{match['map']}{'_squeeze' if match['half'] == '1' else ''}"
    elif match["block"]:
        layer = f"conv_{'dw' if match['kind'] == 'depthwise' else 'pw'}_{match['block']}"
    else:
        kind = "box" if match["what"] == "BoxEncodingPredictor" else "class"
        layer = f"{kind}_head_{match['head']}"
    return layer, match["variable"], bool(match["extractor"] or match["head"])


def expected_layers(*, extras: bool, heads: bool) -> tuple[str, ...]:
    """Our layers that a file must have weights for."""
    return (
        *_BACKBONE,
        *(_EXTRAS if extras else ()),
        *(BOX_HEADS + CLASS_HEADS if heads else ()),
    )


def family_of(names: Iterable[str]) -> str:
    """What the network with variables of these names seems to be, in words."""
    names = list(names)
    for family, marks in _OTHER_FAMILIES.items():
        if any(mark in name for name in names for mark in marks):
            return family
    return "another network"


def check_layers(source: str, found: Iterable[str], names: list[str], *, extras, heads) -> None:
    """Checks that a file has weights for every layer.

    Args:
      source: of the file, for the message.
      found: our layers that it has weights for.
      names: of everything in it, by which another family is told.
      extras: whether the maps after the backbone are needed.
      heads: whether the predictors are needed.

    Raises:
      ValueError: when one is missing.
    """
    found = set(found)
    missing = [name for name in expected_layers(extras=extras, heads=heads) if name not in found]
    if len(missing) > len(_BACKBONE) // 2:
        raise ValueError(
            "Expected weights of the Object Detection API's ssd_mobilenet_v1. "
            f"Received: {source}, which is {family_of(names)}."
        )
    if missing:
        raise ValueError(
            f"Expected weights for all layers of ssd_mobilenet_v1. Received: {source}, which has "
            f"none for {shortened(missing)}."
        )


def fitted(weights: ZooWeights, settings: ModelSettings) -> ZooWeights:
    """The weights that a network takes, up to its classes.

    Args:
      weights: of the file.
      settings: of the network; a null `min_scale` fits any.

    Returns:
      The weights themselves, or, for another family on the same backbone, their backbone; what is
      left out says so among the variables.

    Raises:
      ValueError: says which settings fit, or which layer has another shape.
    """
    if settings.family != "ssd":
        weights = _backbone_of(weights, settings.family)
    wanted = _settings_of(weights)
    received = settings.model_dump()
    received["extra_depth_multiplier"] = (
        settings.extra_depth_multiplier or settings.depth_multiplier
    )
    received = {name: wanted[name] if received[name] is None else received[name] for name in wanted}
    if any(abs(received[name] - value) > 1e-3 for name, value in wanted.items()):
        raise ValueError(
            "Expected weights for a network with "
            + _spelled(received)
            + f". Received: {weights.source}, which fits --set {_spelled(wanted)}."
        )
    network = build_network(config_of(weights, settings))
    for layer, found in weights.layers.items():
        shape = tuple(network.get_layer(layer).kernel.shape)
        if layer in CLASS_HEADS:
            # Theirs has a column for the background besides.
            shape = (*shape[:3], shape[3] // weights.num_classes * (weights.num_classes + 1))
        _check_arrays(weights.source, layer, found, shape)
    return weights


def config_of(weights: ZooWeights, settings: ModelSettings) -> DetectorConfig:
    """The config of the network that the weights are from, as far as they say."""
    values = settings.model_dump() | {"num_classes": max(weights.num_classes, 1)}
    if settings.family == "ssd":
        values["min_scale"], values["max_scale"] = weights.scales
    else:
        # A backbone alone: any anchors do.
        values["pyramid"]["anchor_scale"] = settings.pyramid.anchor_scale or 1.0
    return DetectorConfig(**values)


def _backbone_of(weights: ZooWeights, family: str) -> ZooWeights:
    if family != "ssd_fpn":
        raise ValueError(
            f"Expected weights for model.family={family}. Received: {weights.source}, an "
            "ssd_mobilenet_v1, which fits --set model.family=ssd; its backbone fits "
            "model.family=ssd_fpn, too."
        )
    note = f"left out: {family} has no such layer"
    return dataclasses.replace(
        weights,
        layers={name: layer for name, layer in weights.layers.items() if name in _BACKBONE},
        variables=[
            row
            if row.layer in _BACKBONE or not row.layer
            else Variable(row.name, row.shape, "", note)
            for row in weights.variables
        ],
    )


def _spelled(settings: dict[str, float]) -> str:
    return " ".join(f"model.{name}={value:g}" for name, value in settings.items())


def _check_arrays(source: str, layer: str, found: LayerWeights, shape: tuple[int, ...]) -> None:
    if found.kernel.shape != shape:
        raise ValueError(
            f"Expected a kernel of shape {shape} for {layer}. Received: {found.kernel.shape} "
            f"(in {source})."
        )
    outputs = shape[2] if layer.startswith("conv_dw_") else shape[3]
    vectors = [vector for vector in (found.bias, *(found.batch_norm or ())) if vector is not None]
    for vector in vectors:
        if vector.shape != (outputs,):
            raise ValueError(
                f"Expected biases and batch norms of shape ({outputs},) for {layer}. Received: "
                f"{vector.shape} (in {source})."
            )
    if not all(np.isfinite(array).all() for array in (found.kernel, *vectors)):
        raise ValueError(f"Expected finite weights for {layer}. Received: others (in {source}).")


def _settings_of(weights: ZooWeights) -> dict[str, float]:
    """The settings with which a network has layers of these shapes, and these anchors."""
    settings = {"depth_multiplier": weights.layers["conv_pw_13"].kernel.shape[-1] / BLOCKS[-1][0]}
    if "map_2" in weights.layers:
        extra = weights.layers["map_2"].kernel.shape[-1] / EXTRA_MAPS[0]
        settings["extra_depth_multiplier"] = extra
    if BOX_HEADS[0] in weights.layers:
        settings["head_kernel_size"] = weights.layers[BOX_HEADS[0]].kernel.shape[0]
        settings["min_scale"], settings["max_scale"] = weights.scales
    return settings


def shortened(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
