"""Class heads for new classes out of the class heads for old ones."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import keras
import numpy as np

from models.networks.families import DetectorConfig
from models.training.distribution import predict
from models.training.matching import assign_targets
from models.weights.class_names import same_name
from models.weights.zoo_names import is_class_head

ClassHeads = Literal["auto", "by_name", "fresh"]


class Choice(NamedTuple):
    """Where a new class's weights come from.

    Attributes:
      name: of the new class.
      row: of the old class; None for fresh weights.
      old: its name, or "class 17" when it has none.
      how: in words.
    """

    name: str
    row: int | None
    old: str
    how: str

    def __str__(self) -> str:
        return f"{self.name}: {self.how}" if self.row is None else (
            f"{self.name} from {self.old} ({self.how})"
        )  # fmt: skip


def choose_by_name(
    new: Sequence[str], old: Sequence[str], num_old: int, class_heads: ClassHeads
) -> list[Choice]:
    """The choices that need no pictures.

    Args:
      new: names of the classes to detect.
      old: names by row of the old class heads; empty when they are not known.
      num_old: rows of the old class heads, without background.
      class_heads: the setting.

    Returns:
      One choice for each new class.
    """
    if class_heads == "fresh":
        return [Choice(name, None, "", "fresh") for name in new]
    if not old and len(new) == num_old:
        # As in the Object Detection API: what has the same size is loaded.
        how = "same number of classes, in their order"
        return [Choice(name, row, f"class {row + 1}", how) for row, name in enumerate(new)]
    choices = []
    for name in new:
        rows = [row for row, other in enumerate(old) if same_name(name, other)]
        if rows:
            choices.append(Choice(name, rows[0], old[rows[0]], "same name"))
        else:
            choices.append(Choice(name, None, "", "fresh, no class of that name"))
    return choices


def choose_by_score(choices: list[Choice], old: Sequence[str], scores: np.ndarray) -> list[Choice]:
    """Gives each class without a name of its own the old class that fires most on its objects.

    Args:
      choices: of `choose_by_name`.
      old: names by row, empty when they are not known.
      scores: float [new classes, old classes], of `mean_scores`; NaN for a class without objects.

    Returns:
      The choices, completed.
    """
    completed = []
    for choice, row_scores in zip(choices, scores, strict=True):
        if choice.row is None and np.isfinite(row_scores).all():
            row = int(np.argmax(row_scores))
            name = (old[row] if old else "") or f"class {row + 1}"
            how = f"fires most, mean score {row_scores[row]:.3f}"
            choice = Choice(choice.name, row, name, how)
        completed.append(choice)
    return completed


def mean_scores(
    network: keras.Model, config: DetectorConfig, batches: Iterable, num_new: int, match_iou: float
) -> np.ndarray:
    """How much each old class fires on the objects of each new class.

    Args:
      network: with the old class heads.
      config: the network's.
      batches: of `models.training.input_pipeline.training_batches`.
      num_new: number of new classes.
      match_iou: overlap from which an anchor answers for a box.

    Returns:
      float64 [num_new, old classes]: mean scores of the anchors that answer for the objects, NaN
      for a class without objects.
    """
    totals = np.zeros((num_new, config.num_classes))
    counts = np.zeros(num_new)
    for images, targets in batches:
        logits = predict(network, images)["class_logits"]
        scores = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
        assigned = assign_targets(
            targets["boxes"],
            targets["class_ids"],
            config.anchors,
            num_new,
            iou_threshold=match_iou,
        )
        matched = np.asarray(assigned.class_targets, np.float64)  # [B, N, new]
        totals += np.einsum("bnk,bnc->kc", matched, scores)
        counts += matched.sum(axis=(0, 1))
    with np.errstate(invalid="ignore"):
        return totals / counts[:, None]


def copy_class_heads(
    network: keras.Model, source: keras.Model, choices: list[Choice], num_old: int
) -> None:
    """Sets the class heads; a class without a row keeps what it has.

    Args:
      network: its class heads are changed in place.
      source: with the old class heads.
      choices: one for each class of `network`.
      num_old: classes of `source`.
    """
    new = [index for index, choice in enumerate(choices) if choice.row is not None]
    old = [choice.row for choice in choices if choice.row is not None]
    if not new:
        return
    for name in (layer.name for layer in network.layers if is_class_head(layer.name)):
        weights = []
        pairs = zip(
            network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True
        )
        for ours, theirs in pairs:
            # Within a cell: anchors outside, classes inside.
            split = np.array(ours).reshape(*ours.shape[:-1], -1, len(choices))
            split[..., new] = theirs.reshape(*theirs.shape[:-1], -1, num_old)[..., old]
            weights.append(split.reshape(ours.shape))
        network.get_layer(name).set_weights(weights)
