"""What a warm start may be, told by its path, and the files that it consists of.

Light on purpose: a path is checked before TensorFlow is loaded, unless it is on cloud storage.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

Kind = Literal["imagenet", "keras", "tflite", "tf1_checkpoint", "detector"]
# Kinds that hold a network of the TF Object Detection API.
ZOO_KINDS = ("tflite", "tf1_checkpoint")
_INDEX = ".index"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_CHUNK = 1 << 20


def _with_os_errors(read: Callable[..., Any]) -> Callable[..., Any]:
    """Cloud storage fails with TensorFlow's own errors; callers handle OSError."""

    @functools.wraps(read)
    def wrapped(path: str, *arguments):
        if "://" not in path:
            return read(path, *arguments)
        from tensorflow import errors

        try:
            return read(path, *arguments)
        except errors.NotFoundError as error:
            raise FileNotFoundError(error.message) from error
        except errors.OpError as error:
            raise OSError(error.message) from error

    return wrapped


def kind_of(path: str, look: bool = True) -> Kind:
    """What a warm start is.

    Args:
      path: local or on cloud storage.
      look: whether to look at the path, rather than judge by its name alone.

    Returns:
      "imagenet": Keras's own download; "keras": a .h5 or .keras file of the same network;
      "tflite": a .tflite file; "tf1_checkpoint": a TF1 checkpoint, as its .tar.gz, its folder or
      its prefix; "detector": the folder of an earlier run's model, which is also what a path is
      taken for that is nothing else.
    """
    if path == "imagenet":
        return "imagenet"
    if path.endswith((".h5", ".keras")):
        return "keras"
    if path.endswith(".tflite"):
        return "tflite"
    if path.endswith(_ARCHIVES) or ".ckpt" in os.path.basename(path):
        return "tf1_checkpoint"
    if look and checkpoint_prefix(path):
        return "tf1_checkpoint"
    return "detector"


@_with_os_errors
def checkpoint_prefix(path: str) -> str | None:
    """The prefix of a TF1 checkpoint: the path itself, or the newest one in a folder."""
    if exists(path + _INDEX):
        return path
    if not _is_folder(path):
        return None
    prefixes = [name[: -len(_INDEX)] for name in _names(path) if name.endswith(_INDEX)]
    # model.ckpt-9 comes before model.ckpt-10.
    newest = max(prefixes, key=lambda name: (len(name), name), default=None)
    return newest and os.path.join(path, newest)


@_with_os_errors
def files_of(path: str) -> list[str]:
    """The files that a warm start consists of, sorted; none when there are none.

    Raises:
      OSError: when cloud storage can't be read.
    """
    if _is_folder(path):
        return sorted(_walk(path))
    if _is_file(path):
        return [path]
    folder, name = os.path.split(path)
    if not exists(path + _INDEX):
        return []
    return sorted(
        os.path.join(folder, other)
        for other in _names(folder or ".")
        if other == name + _INDEX or other.startswith(f"{name}.data-")
    )


@_with_os_errors
def sha256_of(path: str) -> str:
    """Of a file, or of the files of a folder or checkpoint, one after the other.

    Raises:
      OSError: when one can't be read.
    """
    digest = hashlib.sha256()
    for file in files_of(path):
        with open_file(file) as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


@_with_os_errors
def read_bytes(path: str, most: int) -> bytes:
    """The content of a file.

    Args:
      path: local or on cloud storage.
      most: how many bytes it may have.

    Raises:
      ValueError: when it has more.
      OSError: when there is no such file, or it can't be read.
    """
    if not exists(path):
        raise FileNotFoundError(f"Expected weights. Received: {path}, which does not exist.")
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"Expected a file of at most {most} bytes. Received: more (in {path}).")
    return content


def _gfile():
    from tensorflow.io import gfile

    return gfile


@_with_os_errors
def exists(path: str) -> bool:
    """Whether there is a file or folder, local or on cloud storage."""
    return _gfile().exists(path) if "://" in path else os.path.exists(path)


def _is_file(path: str) -> bool:
    # Not a pipe or device, which may never end.
    return exists(path) if "://" in path else os.path.isfile(path)


def _is_folder(path: str) -> bool:
    return _gfile().isdir(path) if "://" in path else os.path.isdir(path)


def _names(folder: str) -> list[str]:
    return _gfile().listdir(folder) if "://" in folder else os.listdir(folder)


def open_file(path: str):
    """Opens a file, local or on cloud storage, to read bytes."""
    return _gfile().GFile(path, "rb") if "://" in path else open(path, "rb")


def _walk(folder: str) -> Iterator[str]:
    walk = _gfile().walk if "://" in folder else os.walk
    for parent, _, names in walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if "://" in path or os.path.isfile(path):
                yield path
