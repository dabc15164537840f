"""The weights that training starts from: reads what `--warm-start` names, and says what it gave."""

import functools
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from tensorflow import errors
from tensorflow.io import gfile

from models.networks.families import DetectorConfig
from models.settings import ModelSettings, TrainingSettings
from models.training import checkpoint
from models.weights import warm_start, zoo, zoo_start
from models.weights.source import ZOO_KINDS, kind_of, sha256_of
from models.weights.zoo import ZooWeights
from pipeline.config import flatten
from pipeline.errors import UserError, one_line
from pipeline.files import SERVING_FOLDER, write_whole

# In the state of a training run and in the model artifact: what became of the weights.
TABLE_FILE = "warm_start.json"
# Pictures that folded batch norms and class heads are measured on.
NUM_PICTURES = 192

# In the names of Keras's files: mobilenet_7_5_224_tf_no_top.h5.
_DEPTHS = {
    "mobilenet_1_0_": 1.0,
    "mobilenet_7_5_": 0.75,
    "mobilenet_5_0_": 0.5,
    "mobilenet_2_5_": 0.25,
}

_log = logging.getLogger("detector")


def read_zoo(settings: dict) -> ZooWeights | None:
    """The weights of the Object Detection API that a run starts from; None for other starts.

    Args:
      settings: the section `warm_start` of the configuration.

    Raises:
      UserError: when they are damaged or another network's.
    """
    if kind_of(settings["weights"]) not in ZOO_KINDS:
        return None
    # Asked for the settings, for the check and by the Trainer; a checkpoint takes a while to read.
    known_by_content = bool(settings["sha256"])
    read = _read_zoo if known_by_content else _read_zoo.__wrapped__
    try:
        return read(json.dumps(settings, sort_keys=True))
    except (ValueError, OSError, errors.OpError) as error:
        raise UserError(str(error)) from error


@functools.lru_cache(maxsize=1)
def _read_zoo(settings_json: str) -> ZooWeights:
    settings = json.loads(settings_json)
    return zoo_start.read_zoo_weights(
        settings["weights"],
        checkpoint_type=settings["fine_tune_checkpoint_type"],
        load_all=settings["load_all_detection_checkpoint_vars"],
        labels=settings["labels"],
    )


def settings_of_weights(settings: dict) -> dict[str, Any]:
    """The settings of the network that the weights are from.

    Args:
      settings: the section `warm_start` of the configuration.

    Returns:
      Of the section `model`, dotted key -> value: everything for a detector, the depth multiplier
      for a classifier that names it (mobilenet_2_5_224_tf_no_top.h5), nothing where any network
      fits.

    Raises:
      UserError: when they are damaged or another network's.
    """
    path = settings["weights"]
    weights = read_zoo(settings)
    if weights is not None:
        return {"family": weights.family, **zoo.settings_of(weights)}
    kind = kind_of(path)
    if kind == "keras":
        depths = [depth for name, depth in _DEPTHS.items() if name in os.path.basename(path)]
        return {"depth_multiplier": depths[0]} if depths else {}
    if not path or kind == "imagenet":
        return {}
    try:
        config = checkpoint.read_description(_folder_of_detector(path))["config"]
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    model = {name: value for name, value in config.items() if name in ModelSettings.model_fields}
    return flatten(model)


def weights_file_of(path: str) -> str | None:
    """The file that holds the weights of a saved detector, by which a copy is known again.

    Args:
      path: what the setting `warm_start.weights` names.

    Returns:
      Its path; None for weights of another kind, and for a folder that holds no detector.
    """
    if not path or kind_of(path) != "detector":
        return None
    file = os.path.join(_folder_of_detector(path), checkpoint.WEIGHTS_FILE)
    return file if gfile.exists(file) else None


def check_warm_start(settings: dict, model: ModelSettings) -> None:
    """Finds out before anything else runs whether weights fit.

    Args:
      settings: the section `warm_start` of the configuration.
      model: the section `model`.

    Raises:
      UserError: when they do not.
    """
    weights = read_zoo(settings)
    try:
        if weights is not None:
            zoo.fitted(weights, model)
        elif kind_of(settings["weights"]) in ("imagenet", "keras"):
            warm_start.check_imagenet(model, settings["weights"])
        elif settings["weights"]:
            checkpoint.read_description(_folder_of_detector(settings["weights"]))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error


def set_initial_weights(
    network: keras.Model,
    detector: DetectorConfig,
    settings: dict,
    *,
    weights: ZooWeights | None,
    class_names: Sequence[str],
    training: TrainingSettings,
    batches: Callable[[], Iterable],
    state_dir: str,
) -> None:
    """Sets the weights of a network that is about to be trained, and logs where they come from.

    Args:
      network: float; changed in place.
      detector: the network's config.
      settings: the section `warm_start` of the configuration.
      weights: of `read_zoo`.
      class_names: to detect.
      training: the optimisation's settings.
      batches: gives endless training batches, the same at each call.
      state_dir: folder for `TABLE_FILE`.

    Raises:
      UserError: when the weights do not fit.
    """
    path = settings["weights"]
    kind = kind_of(path)
    sha256 = _sha256_now(settings)
    if not path:
        _say("random initial weights")
    elif weights is not None:
        start = zoo_start.load_zoo_weights(
            network,
            detector,
            weights,
            class_names,
            heads=settings["class_heads"],
            match_iou=training.match_iou,
            batches=lambda: batches().take(-(-NUM_PICTURES // training.batch_size)),
        )
        _report(weights.source, sha256, start, state_dir)
    elif kind in ("imagenet", "keras"):
        loaded = warm_start.load_imagenet_weights(network, detector, path)
        _say(f"{len(loaded)} backbone layers from {path}")
    else:
        try:
            source, _, _ = checkpoint.load_detector(_folder_of_detector(path))
        except (OSError, ValueError) as error:
            raise UserError(
                f"Expected a saved detector to start from. Received: {path}: {one_line(error)}"
            ) from error
        loaded, kept = warm_start.load_matching_weights(network, source)
        if not loaded:
            raise UserError(
                "Expected a warm start that shares layers with this network. "
                f"Received: {path}, of which no layer fits. Compare model.depth_multiplier."
            )
        _say(f"{len(loaded)} layers from {path}; new: {', '.join(kept) or 'none'}")


def copy_table(state_dir: str, folder: str) -> None:
    """Copies the account of a warm start into the model artifact, if there is one."""
    source = os.path.join(state_dir, TABLE_FILE)
    if gfile.exists(source):
        gfile.copy(source, os.path.join(folder, TABLE_FILE), overwrite=True)


def _folder_of_detector(path: str) -> str:
    # An earlier run's Model artifact holds a saved detector; other folders are one.
    inside = os.path.join(path, SERVING_FOLDER)
    return checkpoint.float_folder(inside if gfile.exists(inside) else path)


def _sha256_now(settings: dict) -> str:
    """Of the weights, which must be those that the run was started with."""
    path, recorded = settings["weights"], settings["sha256"]
    if path in ("", "imagenet"):
        return ""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UserError(f"Expected weights in {path}. Received: {one_line(error)}.") from error
    if recorded not in ("", found):
        raise UserError(
            f"Expected the weights that this run was started with, sha256 {recorded}. Received: "
            f"{path} with {found}: it has changed since. Start (or schedule) the run again."
        )
    return found


def _report(path: str, sha256: str, start: zoo_start.ZooStart, state_dir: str) -> None:
    kind = kind_of(path)
    loaded = [variable for variable in start.variables if variable.layer]
    layers = {variable.layer for variable in loaded}
    _say(
        f"{len(layers)} layers from {path} ({kind}): {len(loaded)} of its {len(start.variables)} "
        f"variables; {TABLE_FILE} in the model says where each went, or why not"
    )
    if start.unfolded:
        _say(f"its folded batch norms got the statistics of {start.unfolded} training pictures")
    if start.choices:
        _say("class heads: " + "; ".join(map(str, start.choices)))
    # Hundreds of lines, for the log alone: consoles show what "detector" itself says.
    logging.getLogger("detector.warm_start").info("variables of %s\n%s", path, start.table())
    facts = {"source": path, "kind": kind, "sha256": sha256, **start.to_json()}
    content = json.dumps(facts, indent=1).encode()
    write_whole(os.path.join(state_dir, TABLE_FILE), content)


def _say(line: str) -> None:
    _log.info("Trainer: %s", line)
