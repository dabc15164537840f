"""The names of a foreign detector's classes: packed into its file, beside it, or given."""

import io
import os
import re
import zipfile

from models.labels import parse_label_map
from models.weights.source import exists, read_bytes

_NAMES_BESIDE = (
    "labels.txt",
    "labelmap.txt",
    "coco_labels.txt",
    "label_map.pbtxt",
    "mscoco_label_map.pbtxt",
)
_MAX_BYTES = 1 << 20
# How label files say that a row is no class.
_NO_CLASS = "???"


def find_class_names(
    path: str, content: bytes | None, labels: str, num_classes: int
) -> tuple[tuple[str, ...], str]:
    """Looks for the names of a detector's classes.

    Args:
      path: of the weights.
      content: of a .tflite file, which may hold its label file.
      labels: a label file that was given: .txt, one name a line, or a label map (.pbtxt); "" looks
        inside of the file and then beside it.
      num_classes: without background.

    Returns:
      A name for each row of the class heads, "" where a row is no class, and where they are from;
      no names, when there is no label file for this number of classes.

    Raises:
      ValueError: when the given label file is not one of these classes.
    """
    if labels:
        names = _parse(labels, read_bytes(labels, _MAX_BYTES), num_classes)
        if names is None:
            raise ValueError(
                f"Expected labels for {num_classes} classes, with or without a first line for the "
                f"background. Received: {labels}, which has others."
            )
        return names, labels
    packed = _packed_labels(content) if content else None
    names = packed and _parse("labels.txt", packed, num_classes)
    if names:
        return names, "inside of the file"
    for file in label_files(path):
        names = _parse(file, read_bytes(file, _MAX_BYTES), num_classes)
        if names:
            return names, file
    return (), ""


def label_files(path: str, labels: str = "") -> list[str]:
    """The label files that may name the classes of a detector, best first.

    Args:
      path: of the weights.
      labels: the one that was given; "" looks beside the weights.

    Raises:
      OSError: when cloud storage can't be read.
    """
    if labels:
        return [labels]
    stem = os.path.basename(path).split(".")[0]
    parents = (path, os.path.dirname(path))
    names = (f"{stem}_labels.txt", f"{stem}.txt", *_NAMES_BESIDE)
    candidates = [os.path.join(parent, name) for name in names for parent in parents]
    return [candidate for candidate in candidates if exists(candidate)]


def same_name(a: str, b: str) -> bool:
    """Whether two class names are the same but for case, and for how words are separated."""
    return _plain(a) == _plain(b) != ""


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _parse(path: str, content: bytes, num_classes: int) -> tuple[str, ...] | None:
    text = content.decode("utf-8", "replace")
    if path.endswith(".pbtxt"):
        return _parse_label_map(text, num_classes)
    lines = [line.strip() for line in text.splitlines()]
    while len(lines) > num_classes and not lines[-1]:
        lines.pop()
    if len(lines) == num_classes + 1:
        lines = lines[1:]  # the background's
    if len(lines) != num_classes:
        return None
    return tuple("" if line == _NO_CLASS else line for line in lines)


def _parse_label_map(text: str, num_classes: int) -> tuple[str, ...] | None:
    names = [""] * num_classes
    for number, name in parse_label_map(text).items():
        if not 1 <= number <= num_classes:
            return None
        names[number - 1] = name
    return tuple(names) if any(names) else None


def _packed_labels(content: bytes) -> bytes | None:
    """The label file that TFLite metadata packs behind the model, as a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if name.endswith(".txt"):
                    with archive.open(name) as file:
                        return file.read(_MAX_BYTES)
    except Exception:  # zipfile, zlib and lzma each raise their own for a damaged archive
        return None
    return None
