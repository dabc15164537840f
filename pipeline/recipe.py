"""What suits a user's own data when no preset is given: by its objects, the weights, the machine.

Imports nothing heavy: the command line is checked with it.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# An object is small when its side is less than this fraction of the image's. The smallest anchors
# of SSD have 0.1; at 0.08 they overlap a square object by 0.64, at 0.06 by 0.36.
SMALL = 0.08
# So many of all objects, or of any class, ask for finer maps: mAP is a mean over classes.
_SMALL_SHARE, _SMALL_SHARE_OF_CLASS = 0.1, 0.5
# Classes with fewer objects say nothing.
_LEAST_OBJECTS = 5
# Where half of the objects are smaller than this, twice the pixels are worth half the batch.
_TINY = 0.06
_FOR_TINY = {
    "model.input_size": 448,
    "transform.canvas_size": 512,
    "training.batch_size": 16,
}
# Even a few pictures need some steps. At the 53 images a second that were measured for the SSD of
# depth 0.75, 1,800 steps of 32 take 18 minutes on two cores; a pyramid's take longer.
_STEPS_PER_IMAGE = 9
_LEAST_STEPS, _MOST_STEPS = 600, 6000
_STEPS_PER_CORE, _SSD_STEPS_PER_CORE = 600, 900
# A TPU or GPU is not held up by its host's cores: the steps go up to those of the RetinaNets'
# presets. A batch is the one that the learning rate was measured with, however many replicas share
# it (they share the statistics of the batch norms, too), until more than _MOST_STEPS are wanted;
# then it grows up to the 2018 recipe's share of each replica. steps_per_execution stays 1, as in
# the TPU presets. None of this was measured.
_MOST_ACCELERATED_STEPS = 25_000
_LARGEST_SHARE = 16
# For data that nobody has looked at: the number for which small_data_cpu's own steps are right.
_UNSEEN_IMAGES = 100
_QUANTIZED_SHARE = 0.25
_WARMUP_STEPS = 50
_EVALUATIONS = 24
_BATCH = 32
# Of the backbone of a trained detector.
_FROZEN_BLOCKS = 5

# For people who train on data of their own.
NO_WARM_START = (
    "no --warm-start: from random weights, a few hundred images make a poor detector; give "
    "--warm-start imagenet or, better, the .tflite or TF1 checkpoint of a COCO detector"
)


class Recipe(NamedTuple):
    """A configuration for a data set.

    Attributes:
      preset: the name of the preset to start from.
      settings: `section.key` -> value, on top of it.
      reasons: of the preset, and of the settings.
    """

    preset: str
    settings: dict[str, Any]
    reasons: tuple[str, str]

    def lines(self) -> tuple[str, str]:
        """What was chosen and why, as flags."""
        settings = " ".join(f"{name}={_spelled(value)}" for name, value in self.settings.items())
        flags = f"--set {settings}" if settings else "no other settings"
        return (
            f"chosen: --preset {self.preset} ({self.reasons[0]})",
            f"chosen: {flags} ({self.reasons[1]})",
        )


def choose_recipe(
    given: Mapping[str, Any],
    *,
    cores: int,
    accelerator: str = "",
    replicas: int = 1,
    weights: Mapping[str, Any] | None = None,
    num_images: int = 0,
    box_sizes: Mapping[str, np.ndarray] | None = None,
    num_training: int = 0,
) -> Recipe:
    """Chooses a preset, and the settings that depend on data, weights and machine.

    Args:
      given: the user's own settings, which stay as they are: `section.key` -> value or its text.
      cores: of the machine that trains.
      accelerator: its TPU or GPU, for people; empty when the cores train.
      replicas: devices of the accelerator that share a batch.
      weights: settings of the section `model` that the warm start decides.
      num_images: in the data set; 0 when they have not been looked at.
      box_sizes: by class, float32 [n], sqrt(area) of its objects as a fraction of the image.
      num_training: those of them to train on.

    Returns:
      `Recipe`, without the settings that are given.
    """
    weights = weights or {}
    fits_data, seen = _family(num_images, box_sizes or {})
    family = given.get("model.family") or weights.get("family", fits_data)
    if family == "ssd" and fits_data == "ssd_fpn" and "model.family" not in given:
        family = fits_data  # the backbone of an SSD starts a pyramid, too
    settings: dict[str, Any] = {}
    if weights.get("family", family) == family:
        settings = {f"model.{name}": value for name, value in weights.items()}
    elif "depth_multiplier" in weights:
        settings = {"model.depth_multiplier": weights["depth_multiplier"]}
    if "family" in weights:
        settings["training.frozen_blocks"] = _FROZEN_BLOCKS
    batch_size, why = _BATCH, f"by the weights, the images and {accelerator or f'{cores} cores'}"
    if (
        family == "ssd_fpn"
        and _has_tiny_objects(box_sizes or {})
        and not given.keys() & _FOR_TINY.keys()
    ):
        settings |= _FOR_TINY
        batch_size = _FOR_TINY["training.batch_size"]
        why += f"; half of the objects are smaller than {_TINY:.0%} of the image's side"
    images = num_training if num_images else _UNSEEN_IMAGES
    steps_per_core = _SSD_STEPS_PER_CORE if family == "ssd" else _STEPS_PER_CORE
    most_steps = min(steps_per_core * cores, _MOST_STEPS)
    if accelerator:
        most_steps = _MOST_ACCELERATED_STEPS
        largest = max(replicas * _LARGEST_SHARE, _BATCH)
        while batch_size < largest and _steps(images, batch_size) > _MOST_STEPS:
            batch_size *= 2
    settings |= _schedule(given, images, most_steps, batch_size)
    return Recipe(
        "small_data_cpu" if family == "ssd" else "small_objects_cpu",
        {name: value for name, value in settings.items() if name not in given},
        (f"family {family}: {seen}", why),
    )


def _family(num_images: int, box_sizes: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """The family that suits objects of these sizes, and why."""
    if not box_sizes:
        return "ssd", "no objects are known yet"
    shares = {
        name: float(np.mean(sizes < SMALL))
        for name, sizes in box_sizes.items()
        if len(sizes) >= _LEAST_OBJECTS
    }
    share = float(np.mean(np.concatenate(list(box_sizes.values())) < SMALL))
    count = sum(map(len, box_sizes.values()))
    smaller = f"smaller than {SMALL:.0%} of the image's side"
    text = f"{share:.0%} of {count} objects in {num_images} images are {smaller}"
    smallest = max(shares, key=shares.get, default="")
    if share < _SMALL_SHARE and shares.get(smallest, 0) >= _SMALL_SHARE_OF_CLASS:
        text = f"{shares[smallest]:.0%} of the objects of class {smallest} are {smaller}"
        return "ssd_fpn", text
    return "ssd_fpn" if share >= _SMALL_SHARE else "ssd", text


def _has_tiny_objects(box_sizes: Mapping[str, np.ndarray]) -> bool:
    return bool(box_sizes) and float(np.median(np.concatenate(list(box_sizes.values())))) < _TINY


def _steps(images: int, batch_size: int) -> int:
    """The steps that so many images are worth."""
    return images * _STEPS_PER_IMAGE * _BATCH // max(batch_size, 1)


def _schedule(given: Mapping[str, Any], images: int, most_steps: int, most: int) -> dict[str, int]:
    """The batch, at most so large, and the steps."""
    batch = _number(given, "training.batch_size", min(most, 2 ** int(np.log2(max(images, 16)))))
    settings = {"training.batch_size": batch}
    if given.get("training.minutes"):
        return settings  # the Trainer plans the steps
    wanted = max(_steps(images, batch), _LEAST_STEPS)
    unit = max(_number(given, "training.steps_per_execution", 1), 1)
    steps = min(wanted, most_steps) // unit * unit
    steps = _number(given, "training.steps", steps)
    return settings | {
        "training.steps": steps,
        "training.quantization_delay": int(steps * (1 - _QUANTIZED_SHARE)) // unit * unit,
        "training.warmup_steps": min(_WARMUP_STEPS, steps // 10),
        "training.eval_every": max(steps // _EVALUATIONS // unit, 1) * unit,
    }


def _number(given: Mapping[str, Any], name: str, default: int) -> int:
    """What the user gave; an invalid value is reported when the configuration is checked."""
    text = str(given.get(name, default))
    return int(text) if text.isdecimal() else default


def _spelled(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"'{text}'" if any(character in text for character in "[{ ") else text
