"""The names of the Object Detection API's variables, in terms of our layers.

Sources, in tensorflow/models: `slim/nets/{mobilenet_v1,resnet_v1}.py` and, in `object_detection`,
`models/feature_map_generators.py`, `models/ssd_{mobilenet,resnet}_v1_fpn_feature_extractor.py` and
`predictors/convolutional_box_predictor.py`.

Checked on 2026-11-24 against both detectors with a pyramid, rebuilt with tf_slim 1.1.0 at full
depth and saved by TF1 with random weights (334 and 464 variables): our networks' raw outputs differ
by 3e-6 (MobileNet) and 8e-6 (ResNet) of their spread, at 128 and at 200 pixels.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable

from models.networks.mobilenet_v1 import BLOCKS
from models.networks.resnet50 import STAGES
from models.networks.ssd import EXTRA_MAPS

API_NAMES = {
    "ssd": "ssd_mobilenet_v1",
    "ssd_fpn": "ssd_mobilenet_v1_fpn",
    "retinanet": "ssd_resnet50_v1_fpn",
}
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_EXTRACTOR = "FeatureExtractor/"
_PREDICTOR = "WeightSharedConvolutionalBoxPredictor"
# The graph of the backbone has its scope twice.
_TWICE = re.compile(r"^((?:MobilenetV1|resnet_v1_50)/)\1")
# Maps after the backbone have their kernel and their depth in their names.
_DEPTH = re.compile(r"_(?:1x1|3x3_s2)_\d+(?=/)")
# By what a name of another network gives itself away.
_OTHER_NETWORKS = {
    "an ssd_resnet50_v1_fpn": ("resnet_v1_50/fpn/",),
    "an ssd_mobilenet_v1_fpn": ("MobilenetV1/fpn/",),
    "a network on MobileNet v2": ("MobilenetV2/", "MobileNetV2/"),
    "a network on ResNet": ("resnet_v1_",),
    "a network on Inception": ("Inception",),
    "EfficientNet or EfficientDet": ("efficientnet", "EfficientNet"),
}


@dataclasses.dataclass(frozen=True)
class Names:
    """The names of one network.

    Attributes:
      family: ours.
      levels: of the feature pyramid, from the finest on; none without a pyramid.
      head_layers: layers of each of the pyramid's towers.
    """

    family: str
    levels: range = range(0)
    head_layers: int = 0

    @classmethod
    def found_in(cls, variables: Iterable[str]) -> "Names":
        """What the network with these variables seems to be."""
        text = "\n".join(variables)

        def numbers(pattern: str) -> list[int]:
            return [int(number) for number in re.findall(pattern, text)]

        is_resnet = "resnet_v1_50/" in text
        if "/fpn/" not in text and _PREDICTOR not in text:
            return cls("retinanet" if is_resnet else "ssd")
        # Level 5 has the last projection, and the last smoothing is one level before.
        smoothed = [number + 1 for number in numbers(r"/fpn/smoothing_(\d)/")]
        finest = 6 - max([*smoothed, *numbers(r"/fpn/projection_(\d)/")], default=3)
        levels = [
            5,
            *(number - 8 for number in numbers(r"/bottom_up_Conv2d_(1\d)/")),
            *(number + 1 for number in numbers(r"/bottom_up_block(\d)/")),
            *(number + finest for number in numbers(r"/BatchNorm/feature_(\d)/")),
        ]
        head_layers = 1 + max(numbers(r"PredictionTower/conv2d_(\d)/"), default=-1)
        family = "retinanet" if is_resnet else "ssd_fpn"
        return cls(family, range(finest, max(levels) + 1), head_layers)

    @functools.cached_property
    def layers(self) -> dict[str, str]:
        """Our layers by their scopes there, without the feature extractor's."""
        backbone = _resnet50() if self.family == "retinanet" else _mobilenet_v1()
        if self.family == "ssd":
            return backbone | _ssd()
        return backbone | self._pyramid() | self._shared_heads()

    def _pyramid(self) -> dict[str, str]:
        is_resnet = self.family == "retinanet"
        scope = "resnet_v1_50/fpn" if is_resnet else "MobilenetV1/fpn"
        layers = {}
        for number, level in enumerate(self.levels, start=1):
            if level > 5:
                name = (
                    f"bottom_up_block{level - 1}" if is_resnet else f"bottom_up_Conv2d_{level + 8}"
                )
                layers[f"{scope}/{name}"] = f"bottom_up_level_{level}"
                continue
            layers[f"{scope}/projection_{number}"] = f"projection_level_{level}"
            if level < 5:
                layers[f"{scope}/smoothing_{number}"] = f"smoothing_level_{level}"
        return layers

    def _shared_heads(self) -> dict[str, str]:
        layers = {}
        for kind in ("box", "class") if self.levels else ():
            scope = f"{_PREDICTOR}/{kind.title()}"
            for index in range(self.head_layers):
                tower, name = f"{scope}PredictionTower/conv2d_{index}", f"{kind}_tower_{index}"
                layers[tower] = name
                for feature, level in enumerate(self.levels):
                    layers[f"{tower}/BatchNorm/feature_{feature}"] = f"{name}_level_{level}"
            layers[f"{scope}Predictor"] = f"{kind}_head"
        return layers

    def split(self, name: str) -> tuple[str, str, bool] | None:
        """Whose weights a name stands for.

        Args:
          name: of a variable or tensor, e.g. "FeatureExtractor/MobilenetV1/Conv2d_0/weights".

        Returns:
          Our layer, what is left of the name ("weights"), and whether it is under the detector's
          scope ("FeatureExtractor" or a head); None for a name of anything else.
        """
        path = name.removeprefix(_EXTRACTOR)
        path = _DEPTH.sub("", _TWICE.sub(r"\1", path))
        scope = path
        while "/" in scope:
            scope = scope.rpartition("/")[0]
            layer = self.layers.get(scope)
            if layer:
                in_detector = name.startswith(_EXTRACTOR) or is_predictor(layer)
                return layer, path[len(scope) + 1 :], in_detector
        return None

    def expected(self, *, extras: bool, heads: bool) -> tuple[str, ...]:
        """Our layers that a file must have weights for.

        Args:
          extras: the layers between the backbone and the predictors, too.
          heads: the predictors, too.
        """
        return tuple(
            layer
            for layer in self.layers.values()
            if is_backbone(layer) or (heads if is_predictor(layer) else extras)
        )


def _mobilenet_v1() -> dict[str, str]:
    layers = {"MobilenetV1/Conv2d_0": "conv1"}
    for block in range(1, len(BLOCKS) + 1):
        layers[f"MobilenetV1/Conv2d_{block}_depthwise"] = f"conv_dw_{block}"
        layers[f"MobilenetV1/Conv2d_{block}_pointwise"] = f"conv_pw_{block}"
    return layers


def _resnet50() -> dict[str, str]:
    layers = {"resnet_v1_50/conv1": "conv1"}
    for stage, (_, units, _) in enumerate(STAGES, start=1):
        for unit in range(1, units + 1):
            scope = f"resnet_v1_50/block{stage}/unit_{unit}/bottleneck_v1"
            name = f"conv{stage + 1}_block{unit}"
            if unit == 1:
                layers[f"{scope}/shortcut"] = f"{name}_0"
            layers |= {f"{scope}/conv{index}": f"{name}_{index}" for index in (1, 2, 3)}
    return layers


def _ssd() -> dict[str, str]:
    layers = {}
    last = "MobilenetV1/Conv2d_13_pointwise"
    for index in range(2, 2 + len(EXTRA_MAPS)):
        layers[f"{last}_1_Conv2d_{index}"] = f"map_{index}_squeeze"
        layers[f"{last}_2_Conv2d_{index}"] = f"map_{index}"
    for name, kind in (("BoxEncodingPredictor", "box"), ("ClassPredictor", "class")):
        for index in range(2 + len(EXTRA_MAPS)):
            layers[f"BoxPredictor_{index}/{name}"] = f"{kind}_head_{index}"
    return layers


def variables_of(layer: str) -> tuple[str, ...]:
    """The variables that a layer of ours has in a checkpoint, without the scope `BatchNorm`.

    A tower's layer is several here: `box_tower_0` has the kernel, `box_tower_0_level_3` a batch
    norm.
    """
    if has_bias(layer):
        return ("weights", "biases")
    if re.fullmatch(r"(box|class)_tower_\d", layer):
        return ("weights",)
    if is_predictor(layer):
        return BATCH_NORM
    return ("depthwise_weights" if layer.startswith("conv_dw") else "weights", *BATCH_NORM)


def has_bias(layer: str) -> bool:
    """Whether a layer has a bias where others have a batch norm."""
    return "_head" in layer or layer.startswith("projection")


def batch_norm_epsilon(family: str, layer: str) -> float:
    """What the batch norm of a layer adds to the variance there.

    The detectors' 0.001 does not reach the backbone of ResNet: its convolutions hand TF-Slim's own
    to their batch norms (`normalizer_params` of `resnet_arg_scope`), which the detector's
    `conv_hyperparams` leave as they are.
    """
    return 1e-5 if family == "retinanet" and is_backbone(layer) else 1e-3


def is_backbone(layer: str) -> bool:
    """Whether a layer belongs to the backbone."""
    return layer.startswith("conv")


def is_predictor(layer: str) -> bool:
    """Whether a layer belongs to the predictors, which are outside of the feature extractor."""
    return layer.startswith(("box_", "class_"))


def is_class_head(layer: str) -> bool:
    """Whether a layer has a row for each class."""
    return layer.startswith("class_head")


def network_in_words(names: Iterable[str]) -> str:
    """What the network with variables of these names seems to be."""
    text = "\n".join(names)
    for network, marks in _OTHER_NETWORKS.items():
        if any(mark in text for mark in marks):
            return network
    return "another network"
