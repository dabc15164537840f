"""Starts a network from weights of the TF Object Detection API.

The weights first become a network of their own, with the file's classes: what it holds, measured
statistics and class heads for the new classes included, then goes into the network to train.

Measured on 2026-11-24 with the COCO file of Google's Android sample (0.75 depth, 300x300, uint8):
our float network with its weights against the file in the TFLite runtime, on 48 photographs of
pets. Root mean square of the difference, relative to the spread: 0.041 for the box encodings, 0.044
for the logits (correlation 0.999). All 72 detections from score 0.5 up are found again with their
class, 68 of them with an overlap above 0.85. Anchors are within half a quantization step.
Trained for 300 steps (`small_data_cpu` at depth 0.75, 5 frozen blocks, 157 photographs of three
breeds), the int8 file has mAP@.5 0.926 and mAP@[.5:.95] 0.726 on the 43 others.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from models.networks.families import DetectorConfig, build_network
from models.settings import ModelSettings
from models.weights import class_heads, zoo
from models.weights.class_heads import Choice, ClassHeads
from models.weights.class_names import find_class_names
from models.weights.source import kind_of
from models.weights.tf1_checkpoint import CheckpointType, read_tf1_checkpoint
from models.weights.tflite_weights import read_tflite
from models.weights.unfolding import set_folded, unfold, with_epsilon
from models.weights.zoo import Variable, ZooWeights
from models.weights.zoo_names import batch_norm_epsilon, is_class_head, is_predictor


@dataclasses.dataclass(frozen=True)
class ZooStart:
    """What became of a file of weights.

    Attributes:
      variables: everything that the file holds: where it was loaded, or why it was left out.
      choices: where the weights of each class come from.
      unfolded: how many pictures gave folded batch norms their statistics; 0 when none were folded.
    """

    variables: list[Variable]
    choices: list[Choice]
    unfolded: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "variables": [dataclasses.asdict(variable) for variable in self.variables],
            "classes": [choice._asdict() for choice in self.choices],
            "pictures_for_batch_norms": self.unfolded,
        }

    def table(self) -> str:
        """The variables, a line each."""
        rows = [
            (variable.name, "x".join(map(str, variable.shape)), variable.layer, variable.note)
            for variable in self.variables
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows
        )


def read_zoo_weights(
    path: str, *, checkpoint_type: CheckpointType, load_all: bool, labels: str
) -> ZooWeights:
    """Reads weights of the Object Detection API.

    Args:
      path: a .tflite file or a TF1 checkpoint, see `models.weights.source`.
      checkpoint_type: of a TF1 checkpoint, see `models.weights.tf1_checkpoint`.
      load_all: the predictors too.
      labels: see `models.weights.class_names`.

    Raises:
      ValueError: when they are damaged or another network's.
      FileNotFoundError: when they, or the labels, do not exist.
    """
    if kind_of(path) == "tflite":
        weights, content = read_tflite(path)
        if not load_all:
            heads = [name for name in weights.layers if is_predictor(name)]
            note = "left out: load_all_detection_checkpoint_vars is off"
            weights = weights.without(heads, note)
    else:
        weights, content = read_tf1_checkpoint(path, checkpoint_type, load_all), None
    if not weights.num_classes:
        return weights
    names, _ = find_class_names(path, content, labels, weights.num_classes)
    return dataclasses.replace(weights, class_names=names)


def network_of(weights: ZooWeights, settings: ModelSettings) -> tuple[keras.Model, DetectorConfig]:
    """The network that the weights are from, with the file's classes.

    Args:
      weights: fit the settings, see `models.weights.zoo.fitted`.
      settings: of the network to train.

    Returns:
      The float network, with identity batch norms where they are folded, and its config. Layers
      that the weights do not have are random.
    """
    config = zoo.config_of(weights, settings)
    network = build_network(config)
    for name, layer in weights.layers.items():
        if name in weights.folded:
            set_folded(network, name, layer.kernel, layer.bias)
            continue
        if layer.batch_norm is not None:
            batch_norm = network.get_layer(f"{name}_bn")
            epsilon = batch_norm_epsilon(weights.family, name)
            batch_norm.set_weights(with_epsilon(layer.batch_norm, epsilon, batch_norm.epsilon))
        if layer.kernel is not None:
            values = [array for array in (layer.kernel, layer.bias) if array is not None]
            if is_class_head(name):
                values = [_without_background(array, config.num_classes) for array in values]
            network.get_layer(name).set_weights(values)
    return network, config


def _without_background(array, num_classes: int):
    """[..., A * (1 + C)] -> [..., A * C]."""
    by_anchor = array.reshape(*array.shape[:-1], -1, num_classes + 1)
    return by_anchor[..., 1:].reshape(*array.shape[:-1], -1)


def load_zoo_weights(
    network: keras.Model,
    settings: ModelSettings,
    weights: ZooWeights,
    class_names: Sequence[str],
    *,
    heads: ClassHeads,
    match_iou: float,
    batches: Callable[[], Iterable],
) -> ZooStart:
    """Loads weights into a network.

    Args:
      network: float, to train; changed in place.
      settings: of the network.
      weights: see `read_zoo_weights`.
      class_names: to detect, in the order of their ids.
      heads: where class heads come from.
      match_iou: overlap from which an anchor answers for a box.
      batches: gives training batches to look at, the same at each call; see
        `models.training.input_pipeline.training_batches`.

    Returns:
      What became of the weights.

    Raises:
      ValueError: when they do not fit.
    """
    weights = zoo.fitted(weights, settings)
    source, config = network_of(weights, settings)
    pictures = unfold(source, weights.folded, batches()) if weights.folded else 0
    for layer in network.layers:
        name = layer.name.removesuffix("_bn")
        if name in weights.layers and not is_class_head(name):
            layer.set_weights(source.get_layer(layer.name).get_weights())
    choices = []
    if weights.num_classes:
        names, count = weights.class_names, weights.num_classes
        choices = class_heads.choose_by_name(class_names, names, count, heads)
        if heads == "auto" and any(choice.row is None for choice in choices):
            scores = class_heads.mean_scores(source, config, batches(), len(choices), match_iou)
            choices = class_heads.choose_by_score(choices, names, scores)
        class_heads.copy_class_heads(network, source, choices, count)
    variables = [_noted(row, choices, row.layer in weights.folded) for row in weights.variables]
    return ZooStart(variables, choices, pictures)


def _noted(row: Variable, choices: list[Choice], folded: bool) -> Variable:
    if is_class_head(row.layer):
        rows = ", ".join(choice.old for choice in choices if choice.row is not None)
        if not rows:
            return dataclasses.replace(row, layer="", note="left out: the class heads are fresh")
        return dataclasses.replace(row, note=f"the rows of {rows}")
    if folded and len(row.shape) == 1:
        return dataclasses.replace(row, note="in the batch norm, with measured statistics")
    return row
