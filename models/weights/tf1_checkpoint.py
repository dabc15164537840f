"""Reads a TF1 checkpoint of the TF Object Detection API's zoo, without the Object Detection API.

What is loaded is what `fine_tune_checkpoint_type` and `load_all_detection_checkpoint_vars` mean
there (research/object_detection/protos/train.proto): a "detection" checkpoint gives what is under
its feature extractor and, with the second, the predictors too; a "classification" checkpoint, one
of TF-Slim's image classifiers, has the same backbone without the feature extractor's scope.

TensorFlow's reader aborts the process over some damaged files. It runs in a process of its own.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from models.weights import tf1_reader, zoo
from models.weights.source import checkpoint_prefix, open_file
from models.weights.tf1_reader import NO_WEIGHTS
from models.weights.zoo import LayerWeights, Variable, ZooWeights
from models.weights.zoo_names import (
    API_NAMES,
    BATCH_NORM,
    Names,
    is_predictor,
    network_in_words,
    variables_of,
)

Contents = dict[str, tuple[tuple[int, ...], np.ndarray | None]]
CheckpointType = Literal["detection", "classification"]
_TIMEOUT_SECONDS = 600
# Of an archive unpacked; the zoo's SSDs have 100 to 400 MB with all that is around the checkpoint.
_MAX_BYTES = 1 << 32
_CHECKPOINT_FILE = re.compile(r".+\.(index|data-\d{5}-of-\d{5})")
_LEFT_OUT_OF_CLASSIFIERS = (
    (r"(MobilenetV1/(Aux)?Logits|resnet_v1_50/logits)/.*", "a detector has no classifier"),
    (r"(resnet_v1_50/)?mean_rgb", "the network has the mean colour itself"),
)


def read_tf1_checkpoint(
    path: str, checkpoint_type: CheckpointType = "detection", load_all: bool = True
) -> ZooWeights:
    """Reads a checkpoint.

    Args:
      path: its .tar.gz, its folder or its prefix (`.../model.ckpt`), local or on cloud storage.
      checkpoint_type: see the module.
      load_all: the predictors too.

    Returns:
      Its weights, still without names of the classes; every variable of the checkpoint is among
      its `variables`.

    Raises:
      ValueError: when it is damaged, or not of this network.
    """
    with _prefix_of(path) as prefix:
        found = _read_apart(prefix, path)
        # Of several checkpoints in a folder, messages name the one that was taken.
        source = prefix if os.path.dirname(prefix) == path.rstrip("/") else path
    return weights_of(found, source, checkpoint_type, load_all)


def weights_of(
    found: Contents, path: str, checkpoint_type: CheckpointType, load_all: bool
) -> ZooWeights:
    """`read_tf1_checkpoint` of a checkpoint that is read.

    Args:
      found: shape and values of every variable; None for values that are not wanted or no float32.
      path: for messages.
      checkpoint_type: see `read_tf1_checkpoint`.
      load_all: see `read_tf1_checkpoint`.
    """
    names = Names.found_in(found)
    rows, arrays, extra = [], {}, []
    for name, (shape, values) in sorted(found.items()):
        row, key = _account(name, shape, names, checkpoint_type, load_all)
        if row is None:
            extra.append(name)
            continue
        rows.append(row)
        if key is not None:
            arrays[key] = _checked(values, name, path)
    _check_scope(found, names, checkpoint_type, path)
    is_detector = checkpoint_type == "detection"
    zoo.check_layers(
        path,
        (layer for layer, _ in arrays),
        list(found),
        names,
        extras=is_detector,
        heads=is_detector and load_all,
    )
    if extra:
        raise ValueError(
            f"Expected only variables of {API_NAMES[names.family]}. Received: {path}, which also "
            f"has {zoo.shortened(extra)}: it is {network_in_words(extra)}."
        )
    layers = _layers(arrays, path)
    weights = ZooWeights(path, layers, rows, family=names.family)
    zoo.check_classes(weights)
    return weights


def _account(
    name: str, shape: tuple[int, ...], names: Names, checkpoint_type: str, load_all: bool
) -> tuple[Variable | None, tuple[str, str] | None]:
    """The row of a variable, None for an unknown one, and (layer, variable) if it is loaded."""
    patterns = NO_WEIGHTS
    if checkpoint_type == "classification":
        patterns += _LEFT_OUT_OF_CLASSIFIERS
    for pattern, reason in patterns:
        if re.fullmatch(pattern, name):
            return Variable(name, shape, "", f"left out: {reason}"), None
    split = names.split(name)
    if split is None:
        return None, None
    layer, variable, in_detector = split
    if in_detector != (checkpoint_type == "detection"):
        return None, None
    if is_predictor(layer) and not load_all:
        note = "left out: load_all_detection_checkpoint_vars is off"
        return Variable(name, shape, "", note), None
    variable = variable.removeprefix("BatchNorm/")
    if variable not in variables_of(layer):
        return None, None
    return Variable(name, shape, layer), (layer, variable)


def _checked(values: np.ndarray | None, name: str, path: str) -> np.ndarray:
    if values is None:
        raise ValueError(f"Expected float32 values for {name}. Received: others (in {path}).")
    return values


def _check_scope(found: Contents, names: Names, checkpoint_type: str, path: str) -> None:
    """Tells the two types of checkpoint apart."""
    kinds = {split[2] for split in map(names.split, found) if split}
    if kinds == {checkpoint_type != "detection"}:
        other = {"detection": "classification", "classification": "detection"}[checkpoint_type]
        raise ValueError(
            f"Expected a {checkpoint_type} checkpoint. Received: {path}, a {other} checkpoint. "
            f"Set warm_start.fine_tune_checkpoint_type={other}."
        )


def _layers(arrays: dict[tuple[str, str], np.ndarray], path: str) -> dict[str, LayerWeights]:
    layers = {}
    for layer in dict.fromkeys(layer for layer, _ in arrays):
        own = {variable: array for (other, variable), array in arrays.items() if other == layer}
        needed = variables_of(layer)
        if set(own) != set(needed):
            raise ValueError(
                f"Expected {', '.join(needed)} for {layer}. Received: {path}, which has only "
                f"{', '.join(own)}."
            )
        batch_norm = tuple(own[name] for name in BATCH_NORM if name in own)
        kernel = own.get("depthwise_weights", own.get("weights"))
        if kernel is not None and kernel.ndim != 4:
            raise ValueError(
                f"Expected a kernel of rank 4 for {layer}. Received: {kernel.shape} (in {path})."
            )
        layers[layer] = LayerWeights(kernel, own.get("biases"), batch_norm or None)
    return layers


@contextlib.contextmanager
def _prefix_of(path: str) -> Iterator[str]:
    """The prefix of the checkpoint, unpacked if it is packed."""
    if not path.endswith((".tar.gz", ".tgz", ".tar")):
        prefix = checkpoint_prefix(path)
        if prefix is None:
            raise FileNotFoundError(
                f"Expected a TF1 checkpoint (model.ckpt.index and its data). Received: {path}, "
                "which has none."
            )
        yield prefix
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with open_file(path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                _unpack(archive, folder, path)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise ValueError(
                f"Expected a .tar.gz with a TF1 checkpoint. Received: {path} ({error})."
            ) from error
        prefix = checkpoint_prefix(folder)
        if prefix is None:
            raise ValueError(
                "Expected a .tar.gz with a TF1 checkpoint (model.ckpt.index and its data). "
                f"Received: {path}, which has none."
            )
        yield prefix


def _unpack(archive: tarfile.TarFile, folder: str, path: str) -> None:
    """Writes the checkpoint's files; no name in the archive decides where."""
    size, targets = 0, set()
    for member in archive:
        name = Path(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
            raise ValueError(
                "Expected an archive of plain files and folders inside of it. Received: "
                f"{member.name[:100]!r} (in {path})."
            )
        size += member.size
        if member.size < 0 or size > _MAX_BYTES:
            raise ValueError(
                f"Expected at most {_MAX_BYTES} bytes unpacked. Received: more (in {path})."
            )
        if member.isfile() and _CHECKPOINT_FILE.fullmatch(name.name):
            target = os.path.join(folder, name.name)
            if target in targets:
                raise ValueError(
                    f"Expected one checkpoint. Received: two files {name.name!r} (in {path})."
                )
            targets.add(target)
            with archive.extractfile(member) as content, open(target, "wb") as file:
                shutil.copyfileobj(content, file)


def _read_apart(prefix: str, path: str) -> Contents:
    """The variables of a checkpoint, read by another process."""
    root = str(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "variables.npz")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", tf1_reader.__name__, prefix, out],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
            failure = "" if done.returncode == 0 else _last_line(done.stderr)
        except subprocess.TimeoutExpired:
            failure = f"not read within {_TIMEOUT_SECONDS} s"
        if failure:
            raise ValueError(
                f"Expected a whole TF1 checkpoint. Received: {path}, which is truncated or damaged "
                f"({failure})."
            )
        with np.load(out, allow_pickle=False) as arrays:
            index = json.loads(str(arrays["index"]))
            return {
                name: (tuple(shape), arrays[key] if key in arrays.files else None)
                for key, (name, shape) in index.items()
            }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the reader crashed"
