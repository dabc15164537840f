"""Files that hold weights: a detector's own folder, and the state of a training run.

Every file is written whole: a run that resumes after a crash finds the old state or the new one.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from tensorflow.io import gfile

from models.files import write_whole
from models.networks.families import DetectorConfig, build_network

WEIGHTS_FILE = "weights.npz"
# How to build the network again, and facts about it.
NETWORK_FILE = "detector.json"
# Beside a quantized network: the float one that it came from, for warm starts.
FLOAT_FOLDER = "float"


def _read(path: str) -> bytes:
    with gfile.GFile(path, "rb") as file:
        return file.read()


def _pack(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _load(path: str) -> dict[str, np.ndarray]:
    """The arrays in a file, by name.

    Raises:
      ValueError: when the file is damaged; what zip files hold is checked against its CRC.
    """
    content = io.BytesIO(_read(path))
    try:
        with np.load(content) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}).") from error


def save_detector(folder: str, network: keras.Model, config: DetectorConfig, facts: dict) -> None:
    """Saves a network so that `load_detector` can build it again.

    Args:
      folder: is created; files of the same names are replaced.
      network: float or quantized, from `models.networks.families.build_network`.
      config: the network's.
      facts: anything else worth knowing about it, JSON.
    """
    quantized = network.name.endswith("quantized")
    arrays = {variable.path: np.asarray(variable) for variable in network.variables}
    write_whole(os.path.join(folder, WEIGHTS_FILE), _pack(arrays))
    description = {"config": config.model_dump(), "quantized": quantized, "facts": facts}
    content = json.dumps(description, indent=2, sort_keys=True).encode()
    write_whole(os.path.join(folder, NETWORK_FILE), content)


def load_detector(folder: str) -> tuple[keras.Model, DetectorConfig, dict]:
    """Loads what `save_detector` saved.

    Args:
      folder: where.

    Returns:
      The network, its config, and the facts.

    Raises:
      FileNotFoundError: when there is no detector in the folder.
      ValueError: when a file is damaged, or the weights do not match the config.
    """
    description = read_description(folder)
    config = DetectorConfig(**description["config"])
    network = build_network(config, quantized=description["quantized"])
    arrays = _load(os.path.join(folder, WEIGHTS_FILE))
    names = {variable.path for variable in network.variables}
    if names != set(arrays):
        raise ValueError(
            f"Expected weights {sorted(names ^ set(arrays))[:5]} to stand both in "
            f"{NETWORK_FILE}'s network and in {WEIGHTS_FILE} (in {folder})."
        )
    for variable in network.variables:
        variable.assign(arrays[variable.path])
    return network, config, description["facts"]


def read_description(folder: str) -> dict[str, Any]:
    """What a saved detector says of itself.

    Returns:
      JSON: `config` of the network, `quantized`, and `facts`.

    Raises:
      FileNotFoundError: when there is no detector in the folder.
      ValueError: when its description is none.
    """
    for name in (NETWORK_FILE, WEIGHTS_FILE):
        if not gfile.exists(os.path.join(folder, name)):
            raise FileNotFoundError(
                f"Expected a saved detector ({NETWORK_FILE} and {WEIGHTS_FILE}). "
                f"Received: {folder}, which has no {name}."
            )
    try:
        description = json.loads(_read(os.path.join(folder, NETWORK_FILE)))
    except ValueError:  # no JSON, or no text
        description = None
    try:
        DetectorConfig(**description["config"])
        known = {"quantized", "facts"} <= set(description)
    except (LookupError, TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(
            f"Expected a {NETWORK_FILE} with the config of a network. Received: another one (in "
            f"{folder})."
        )
    return description


def float_folder(folder: str) -> str:
    """Where the float network of a saved detector is.

    Args:
      folder: of a saved detector.

    Returns:
      The folder to load; the given one when it has no float network of its own.
    """
    candidate = os.path.join(folder, FLOAT_FOLDER)
    return candidate if gfile.exists(os.path.join(candidate, NETWORK_FILE)) else folder


def save_state(path: str, model: keras.Model, progress: dict[str, Any]) -> None:
    """Saves everything that a training run needs to resume: variables, optimizer, progress.

    The state before this one stays beside it, for `load_progress` to fall back on.

    Args:
      path: the file.
      model: built and compiled.
      progress: of the training loop, JSON.
    """
    arrays = {f"{index:05d}": np.asarray(v) for index, v in enumerate(_state(model))}
    arrays["progress"] = np.array(json.dumps(progress))
    if gfile.exists(path):
        gfile.rename(path, previous_state(path), overwrite=True)
    write_whole(path, _pack(arrays))


def previous_state(path: str) -> str:
    """Where the state before the one in a state file is."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"previous_{name}")


def load_progress(path: str, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The progress in a state file, or else in the one before; None when there is neither.

    Args:
      path: the file. One that is damaged is replaced by the one before.
      say: is told of a damaged file.

    Raises:
      ValueError: when none that there is, is whole.
    """
    places = [place for place in (path, previous_state(path)) if gfile.exists(place)]
    for place in places:
        try:
            arrays = _load(place)
        except ValueError as error:
            say(str(error))
            continue
        if place != path:
            gfile.copy(place, path, overwrite=True)
        return json.loads(str(arrays["progress"]))
    if places:
        raise ValueError(
            f"Expected a whole training state in {os.path.dirname(path)}. Received: damaged files. "
            "Delete this folder to start over."
        )
    return None


def restore_state(path: str, model: keras.Model) -> None:
    """Restores a model's variables, and its optimizer's, from a state file.

    Raises:
      ValueError: when the file is damaged, or was written by another model.
    """
    variables = _state(model)
    arrays = _load(path)
    if len(arrays) != len(variables) + 1:
        raise ValueError(
            f"Expected a training state of {len(variables)} variables. "
            f"Received: {len(arrays) - 1} (in {path}). Delete it to start over."
        )
    for index, variable in enumerate(variables):
        variable.assign(arrays[f"{index:05d}"])


def _state(model: keras.Model) -> list:
    return [*model.network.variables, *model.optimizer.variables]
