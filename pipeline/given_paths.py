"""The paths that a user gives: mistyped ones are found before TensorFlow and TFX are loaded."""

import glob
import hashlib
import json
import os
from pathlib import Path

from models.weights.class_names import label_files
from models.weights.source import ZOO_KINDS, files_of, kind_of, sha256_of
from pipeline.config import PipelineConfig
from pipeline.errors import UserError, one_line
from pipeline.files import SCHEMA_FILE
from pipeline.fingerprint import ROOT
from pipeline.settings import DataSettings, WarmStart

# The weights that some settings of a warm start are for.
_KINDS_OF = {
    "class_heads": ZOO_KINDS,
    "labels": ZOO_KINDS,
    "load_all_detection_checkpoint_vars": ZOO_KINDS,
    "fine_tune_checkpoint_type": ("tf1_checkpoint",),
}
_IN_WORDS = {
    "imagenet": "ImageNet weights",
    "keras": "weights of keras.applications",
    "tflite": "a .tflite file",
    "detector": "an earlier run's model",
}


def require_local_paths(config: PipelineConfig) -> None:
    """Checks what is on this machine; URLs are left to whoever reads them.

    Raises:
      UserError: data, schema or weights that do not exist.
    """
    require_data(config.data)
    if config.schema_dir:
        schema_folder(config.schema_dir)
    weights = config.warm_start.weights
    if weights and weights != "imagenet" and "://" not in weights:
        require_weights(weights)


def require_data(data: DataSettings) -> None:
    """Checks the data sets' paths; those with `{SPAN}` are not checked.

    Raises:
      UserError: when nothing exists at a local path.
    """
    for path in (data.path, data.train, data.eval, data.test):
        if "://" in path or "{" in path:
            continue
        if path and not os.path.exists(path) and not glob.glob(path):
            raise UserError(
                f"There is no data at {path}. Check the path; quote a pattern, so that the shell "
                "does not expand it."
            )


def schema_folder(schema_dir: str) -> str:
    """The absolute path of a schema's folder; the presets' are beside the code.

    Raises:
      UserError: when there is no schema.
    """
    here = Path(schema_dir)
    folder = (here if here.exists() else ROOT / here).absolute()
    if not (folder / SCHEMA_FILE).is_file():
        raise UserError(
            f"Expected --schema to be a folder with a {SCHEMA_FILE}. Received: {here}, which is "
            "not. Leave --schema out to infer a schema from the data."
        )
    return str(folder)


def require_weights(weights: str) -> None:
    """Checks the path of weights to start from.

    Raises:
      UserError: when there are none, or they can't be read.
    """
    try:
        files = files_of(weights)
    except OSError as error:
        raise unusable_weights(weights, f"can't be read: {one_line(error)}") from error
    if "://" not in weights and os.path.exists(weights):
        if os.path.isdir(weights):
            if kind_of(weights, look=False) in ("keras", "tflite"):
                raise unusable_weights(weights, "is a folder")
            if not os.access(weights, os.R_OK | os.X_OK):
                raise unusable_weights(weights, "can't be read: permission denied")
        elif not files:
            raise unusable_weights(weights, "is no regular file")
    if not files:
        what = "is empty" if os.path.isdir(weights) else "does not exist"
        raise unusable_weights(weights, what)


def with_content(warm_start: WarmStart) -> dict[str, str]:
    """What is filled in of a warm start: absolute paths, and hashes of what they hold.

    Args:
      warm_start: hashes that it has already must be right.

    Returns:
      `warm_start.key` -> value; nothing for weights without a file.

    Raises:
      UserError: weights or labels that are not there, can't be read, or have another hash, or a
        setting that has no effect on weights of this kind.
    """
    weights, labels = warm_start.weights, warm_start.labels
    has_file = weights not in ("", "imagenet")
    if has_file:
        require_weights(weights)
    kind = kind_of(weights) if weights else "random weights"
    _require_effect(warm_start, kind)
    if not has_file:
        return {}
    filled = {"weights": absolute(weights), "sha256": _hash([weights], "--warm-start")}
    if kind in ZOO_KINDS:
        filled["labels"] = labels and absolute(labels)
        filled["labels_sha256"] = _hash(label_files(weights, labels), "warm_start.labels")
    for name in ("sha256", "labels_sha256"):
        expected, found = getattr(warm_start, name), filled.get(name, "")
        if expected not in ("", found):
            raise UserError(
                f"Expected weights with warm_start.{name}={expected}. Received: {weights} with "
                f"{found or 'none'}."
            )
    return {f"warm_start.{name}": value for name, value in filled.items()}


def _require_effect(warm_start: WarmStart, kind: str) -> None:
    """Refuses what the user set for weights of another kind."""
    for name, kinds in _KINDS_OF.items():
        default = WarmStart.model_fields[name].default
        if kind not in kinds and getattr(warm_start, name) != default:
            raise UserError(
                f"warm_start.{name} has no effect on a start from {_IN_WORDS.get(kind, kind)}: "
                f"leave it at its default ({json.dumps(default)})."
            )


def _hash(paths: list[str], flag: str) -> str:
    """Of one path its own, of several the hash of theirs, of none an empty string."""
    try:
        hashes = [sha256_of(path) for path in paths if files_of(path)]
    except OSError as error:
        raise UserError(
            f"Expected {flag} to be readable. Received: {', '.join(paths)} ({one_line(error)})."
        ) from error
    if len(hashes) < len(paths):
        raise UserError(f"Expected {flag} to exist. Received: {', '.join(paths)}.")
    if len(hashes) > 1:
        return hashlib.sha256("".join(hashes).encode()).hexdigest()
    return hashes[0] if hashes else ""


def absolute(path: str) -> str:
    """Makes a local path absolute; a URL stays as it is."""
    return path if "://" in path else os.path.abspath(path)


def unusable_weights(weights: str, what: str) -> UserError:
    """The error for weights that can't be used; `what` says what they are or why."""
    return UserError(
        "Expected --warm-start to be 'imagenet', a weights file, a TF1 checkpoint, or the model "
        f"folder of an earlier run. Received: {weights}, which {what}."
    )
