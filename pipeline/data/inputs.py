"""Finds what there is to read, in Pascal VOC folders and in sets of TFRecord files."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import PICTURE_SUFFIXES, LabelledImage
from pipeline.data.split import SIDES
from pipeline.data.tfrecord_reader import ShardItem, read_shard
from pipeline.data.voc_reader import VocItem, read_voc
from pipeline.errors import UserError

# Parts of file names by which a folder's TFRecord files are told from other files.
_SHARD_NAMES = ("record", ".tfr")


@dataclass(frozen=True)
class Inputs:
    """What an ExampleGen found to read.

    Attributes:
      items: one a unit of work, in any order.
      read: turns an item into pairs of what is known and, if it is usable, the image; runs on
        Beam workers.
      pictures: picture files that are examples only if some annotation is about them.
      ignored: files that are known to be no examples.
    """

    items: list
    read: Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]]
    pictures: frozenset[str]
    ignored: list[Ignored]


def _list_folder(folder: str) -> list[str]:
    try:
        # Object stores put a slash behind folders.
        return sorted(name.rstrip("/") for name in fileio.listdir(folder))
    except (fileio.NotFoundError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        raise UserError(
            f"Expected a folder. Received: {folder}, which does not exist. Check the path and the "
            "names of the folders in it."
        ) from None


def find_voc_inputs(base: str, patterns: Mapping[str, str], class_from: str) -> Inputs:
    """Pairs the annotations of Pascal VOC folders with the pictures beside them.

    Args:
      base: root that the patterns are relative to.
      patterns: `FOLDER/*` by group: `images` and `annotations`, or the same two with `train_` and
        with `eval_` before them.
      class_from: see `read_voc`.

    Raises:
      UserError: when a folder does not exist.
    """
    items: list[VocItem] = []
    pictures: set[str] = set()
    ignored: list[Ignored] = []
    for side in SIDES if "train_images" in patterns else ("",):
        prefix = f"{side}_" if side else ""
        images = os.path.dirname(patterns[f"{prefix}images"])
        annotations = os.path.dirname(patterns[f"{prefix}annotations"])
        by_stem: dict[str, list[str]] = {}
        for name in _list_folder(os.path.join(base, images)):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in PICTURE_SUFFIXES and not name.startswith("."):
                by_stem.setdefault(stem, []).append(name)
                pictures.add(os.path.join(images, name))
            else:
                ignored.append(_ignored(base, os.path.join(images, name), "not a picture"))
        for name in _list_folder(os.path.join(base, annotations)):
            stem, suffix = os.path.splitext(name)
            path = os.path.join(annotations, name)
            if suffix.lower() == ".xml" and not name.startswith("."):
                items.append(VocItem(base, path, images, tuple(by_stem.get(stem, ())), side))
            else:
                ignored.append(_ignored(base, path, "not an annotation"))
    read = functools.partial(read_voc, class_from=class_from)
    return Inputs(items, read, frozenset(pictures), ignored)


def _ignored(base: str, path: str, reason: str) -> Ignored:
    # A folder has no suffix, mostly: not every stray file is worth a question.
    if not os.path.splitext(path)[1] and fileio.isdir(os.path.join(base, path)):
        reason = "a folder; pictures and annotations have to be directly in theirs"
    return Ignored(path, reason)


def find_shards(base: str, patterns: Mapping[str, str]) -> Inputs:
    """Lists TFRecord files.

    Args:
      base: root that the patterns are relative to.
      patterns: glob pattern by group: `examples`, or `train` and `eval`. A pattern that ends in
        `/*`, or is `*`, stands for a folder: files there that aren't named like TFRecord files
        are ignored.

    Raises:
      UserError: when a pattern matches no file.
    """
    items: list[ShardItem] = []
    ignored: list[Ignored] = []
    for group, pattern in patterns.items():
        side = group if group in SIDES else ""
        whole = os.path.join(base, pattern)
        shards = sorted(path for path in fileio.glob(whole) if not fileio.isdir(path))
        if os.path.basename(pattern) == "*":
            named = [p for p in shards if any(n in os.path.basename(p) for n in _SHARD_NAMES)]
            strays = sorted(set(shards) - set(named))
            ignored.extend(Ignored(_under(base, p), "not named like a TFRecord") for p in strays)
            shards = named
        if not shards:
            raise UserError(
                f"Expected TFRecord files at {whole}. Received: none"
                f"{f' among the {len(ignored)} files there' if ignored else ''}. Check the path; "
                f"in a folder, names of TFRecord files hold one of {', '.join(_SHARD_NAMES)}."
            )
        items.extend(ShardItem(base, _under(base, path), side) for path in shards)
    return Inputs(items, read_shard, frozenset(), ignored)


def _under(base: str, path: str) -> str:
    return path.removeprefix(base).lstrip("/")
