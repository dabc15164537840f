"""The ExampleGen: labelled images in any of the formats of `pipeline.data.readers`.

The executor finds out the format when it runs, and all formats end as the same examples
(`pipeline/features.py`). The cache key holds the fingerprint that TFX's driver takes of the input
files, and, in `custom_config`, everything else that the executor needs to know. A local data set is
looked at here, too, to fingerprint only the folders that matter. Object stores are not asked before
the run: there, everything below the data set's folder is fingerprinted.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import struct_pb2
from tfx.components.example_gen import component as example_gen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2

from pipeline.data import input_patterns
from pipeline.data.example_gen_executor import DetectionExampleGenExecutor
from pipeline.data.input_patterns import is_pattern, is_remote
from pipeline.data.readers import tfrecord
from pipeline.data.readers.detection import AUTO, READERS, Source, detect, format_of_file
from pipeline.data.readers.labelling import BY_FILENAME, BY_NAME
from pipeline.data.readers.tree import MAX_DEPTH, Tree, walk
from pipeline.data.split import (
    EVAL,
    EVAL_LIST,
    TEST_LIST,
    TRAIN,
    TRAIN_LIST,
    percent_of,
)
from pipeline.errors import UserError
from pipeline.files import sha256_of

NODE_ID = "ExampleGen"
CLASS_SOURCES = (BY_NAME, BY_FILENAME)
FORMATS = (AUTO, *READERS)
# In object stores: pictures are beside such a folder, not in it.
_LABEL_FOLDERS = ("annotations", "annotation", "annots", "labels", "json", "jsons")
_Split = example_gen_pb2.Input.Split


class DetectionExampleGen(example_gen.FileBasedExampleGen):
    """Reads labelled images."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(DetectionExampleGenExecutor)

    def __init__(
        self,
        data: str | None = None,
        *,
        train_data: str | None = None,
        eval_data: str | None = None,
        test_data: str | None = None,
        train_list: str | None = None,
        eval_list: str | None = None,
        test_list: str | None = None,
        data_format: str = AUTO,
        images: str | None = None,
        annotations: str | None = None,
        class_from: str = BY_NAME,
        eval_fraction: float = 0.2,
        max_set_aside: float = 0.01,
        max_megapixels: float = 100.0,
        code_fingerprint: str = "",
    ):
        """Configures the component; its id is `ExampleGen`.

        Args:
          data: a folder, a COCO JSON, a data.yaml or obj.data, a TFRecord file, or a pattern of
            TFRecord files, which may contain `{SPAN}`. TFRecord files whose names end in `.gz` are
            read as GZIP. In object stores, which are not asked before the run, the name tells a
            file from a folder.
          train_data: the same of the training images, instead of `data`.
          eval_data: the same of the evaluation images, instead of `data`.
          test_data: the same of the test images, beside these two.
          train_list: text file with the ids of the training images, one a line.
          eval_list: text file with the ids of the evaluation images, one a line.
          test_list: text file with the ids of the test images, one a line, beside these two.
          data_format: one of `FORMATS`.
          images: folder of the pictures, relative to the data set; found if not given. May contain
            `{SPAN}`, if `annotations` does.
          annotations: folder of the labels; likewise.
          class_from: "name" for the class of every object, "filename" for the picture's name up to
            its last underscore, as in Oxford-IIIT Pets.
          eval_fraction: share of the images to evaluate on, 0.01 to 0.99 in steps of 0.01.
          max_set_aside: the run stops when a larger share of the images is unusable, 0..1.
          max_megapixels: larger pictures are unusable.
          code_fingerprint: of the project's code, so that an edit is a new cache key.

        Raises:
          UserError: when the arguments contradict each other, or a local data set is not there or
            in no known format.
        """
        for name, value, known in (
            ("class_from", class_from, CLASS_SOURCES),
            ("format", data_format, FORMATS),
        ):
            if value not in known:
                raise UserError(
                    f"Expected {name} to be one of {', '.join(known)}. Received: {value!r}."
                )
        paths = input_patterns.paths_by_side(data, train_data, eval_data, test_data)
        own_lists = {TRAIN_LIST: train_list, EVAL_LIST: eval_list, TEST_LIST: test_list}
        lists = input_patterns.remote_lists(own_lists)
        settings = _settings(own_lists, bool(data), eval_fraction, max_set_aside, max_megapixels)
        shards = {side: path for side, path in paths.items() if _is_shards(path, data_format)}
        roots = {side: _root_of(path) for side, path in paths.items() if side not in shards}
        base = input_patterns.common_base(
            [*roots.values(), *map(os.path.dirname, [*shards.values(), *lists.values()])]
        )
        splits = input_patterns.list_splits(base, lists)
        sources = []
        for side, path in paths.items():
            if side in shards:
                _reject_ignored(path, images, annotations, class_from)
                splits += _shard_splits(base, side, path)
                continue
            source = _source(base, side, path, roots[side], images, annotations)
            if is_pattern(source.images):
                splits += _span_splits(side, source)
            elif is_remote(base):
                splits += _all_splits(side, source)
            else:
                splits += _found_splits(base, side, source, data_format)
            sources.append(source)
        settings |= {
            "format": data_format,
            "class_from": class_from,
            "sources": json.dumps([dataclasses.asdict(source) for source in sources]),
            "code_fingerprint": code_fingerprint,
        }
        super().__init__(
            input_base=base,
            input_config=example_gen_pb2.Input(splits=splits),
            # TFX's default for one pattern is a split of 2:1.
            output_config=_output_config(int(settings["eval_percent"]))
            if len(splits) == 1
            else None,
            custom_config=_pack(settings),
        )
        self.with_id(NODE_ID)


def _is_shards(path: str, data_format: str) -> bool:
    """Whether the path is a TFRecord file or a pattern of some, rather than a folder."""
    if not is_remote(path):
        if os.path.isdir(path):
            return False
        if is_pattern(path):
            return _names_shards(path, data_format)
        if not os.path.exists(path):
            return tfrecord.is_named_like_shard(path)
        if data_format == AUTO and format_of_file(path):
            return False
        return data_format in (AUTO, "tfrecord")
    name = os.path.basename(path)
    if is_pattern(path) or "-of-" in name:
        return _names_shards(path, data_format)
    if data_format == "tfrecord":
        return "." in name
    # A folder's name may hold the word, but not behind a dot.
    return data_format == AUTO and tfrecord.is_named_like_shard(f".{name.partition('.')[2]}")


def _names_shards(pattern: str, data_format: str) -> bool:
    """Whether a pattern is one of files: a mere {SPAN} may also be in a folder's name."""
    name = os.path.basename(pattern)
    return (
        data_format == "tfrecord"
        or any(character in name for character in "*?[")
        or "-of-" in name
        or tfrecord.is_named_like_shard(name)
    )


def _is_label_file(path: str) -> bool:
    return bool(format_of_file(path)) and (is_remote(path) or os.path.isfile(path))


def _root_of(path: str) -> str:
    """The folder to search for the data set at a path that is not one of TFRecord files."""
    if not _is_label_file(path):
        return path
    root, parent = os.path.dirname(path), os.path.dirname(os.path.dirname(path))
    if is_remote(path):
        beside = os.path.basename(root).lower() in _LABEL_FOLDERS
    else:
        beside = parent != root and not walk(root, "").pictures
    return parent if beside else root


def _reject_ignored(
    path: str, images: str | None, annotations: str | None, class_from: str
) -> None:
    ignored = {"data.images": images, "data.annotations": annotations}
    ignored["data.class_from"] = class_from if class_from != BY_NAME else None
    for name, value in ignored.items():
        if value:
            raise UserError(
                f"{path} is read as TFRecord files, with pictures and classes. {name}={value} "
                "would be ignored: leave it out."
            )


def _shard_splits(base: str, side: str, path: str) -> list[_Split]:
    if not is_remote(path) and not is_pattern(path) and not tfrecord.is_shard(path):
        raise UserError(
            "Expected a folder, a COCO JSON (.json), a YOLO data.yaml or obj.data, or a TFRecord "
            f"file. Received: {path}, which is none of them. Name the folder of the data set."
        )
    splits = [_Split(name=side or "examples", pattern=input_patterns.below(base, path))]
    folder = os.path.dirname(path)
    if "{" not in folder:  # a span without label maps would be an error
        label_maps = os.path.join(input_patterns.below(base, folder), "*.pbtxt")
        splits.append(
            _Split(name=f"{side}_label_maps" if side else "label_maps", pattern=label_maps)
        )
    return splits


def _source(
    base: str, side: str, path: str, root: str, images: str | None, annotations: str | None
) -> Source:
    """Where to search for the data set at a path."""
    if "{" in path:
        raise UserError(
            f"Expected a folder's path without {{SPAN}}. Received: {path}. Put it into both "
            "data.images and data.annotations, or into a pattern of TFRecord files."
        )
    file = input_patterns.below(base, path) if _is_label_file(path) else ""
    inside = input_patterns.below(base, root)
    named = {}
    for what, folder in (("images", images), ("annotations", annotations)):
        if folder:
            plain = os.path.normpath(folder.strip("/"))
            if plain.startswith("..") or os.path.isabs(folder):
                raise UserError(
                    f"Expected data.{what} to be a folder inside of {path}. Received: {folder}."
                )
            named[what] = "/".join(filter(None, [inside, plain if plain != "." else ""]))
    spans = ["{" in folder for folder in named.values()]
    if any(spans):
        if spans != [True, True]:
            raise UserError(
                "Expected {SPAN} in both data.images and data.annotations. Received: "
                f"data.images={images}, data.annotations={annotations}."
            )
        return Source(named["images"], "", side, **named, depth=1)
    return Source(inside, file, side, **named)


def _span_splits(side: str, source: Source) -> list[_Split]:
    prefix = f"{side}_" if side else ""
    return [
        _Split(name=f"{prefix}{group}", pattern=os.path.join(folder, "*"))
        for group, folder in (("images", source.images), ("annotations", source.annotations))
    ]


def _all_splits(side: str, source: Source) -> list[_Split]:
    """Everything that may be searched, level by level."""
    levels = {source.root: MAX_DEPTH}
    if source.images and source.annotations:
        levels = {source.root: 1, source.images: MAX_DEPTH, source.annotations: MAX_DEPTH}
    return [
        _Split(
            name=f"{side or 'data'}_{number}_{level}",
            pattern="/".join(filter(None, [folder, *["*"] * level])),
        )
        for number, (folder, depth) in enumerate(levels.items())
        for level in range(1, depth + 1)
    ]


def _found_splits(base: str, side: str, source: Source, data_format: str) -> list[_Split]:
    """The folders that matter of a local data set."""
    detected = detect(base, source, data_format)
    tree = detected.tree
    files = [*detected.labels, *detected.sources, *tree.pictures]
    folders = sorted({path.rpartition("/")[0] for path in files})
    _require_sound_names(tree, folders)
    return [
        _Split(
            name=f"{side or 'data'}_{number}",
            pattern="/".join(filter(None, [_literal(folder), "*"])),
        )
        for number, folder in enumerate(folders)
    ]


def _literal(folder: str) -> str:
    """A pattern that the folder matches, whatever characters are in its name."""
    return re.sub(r"[*?\[\]{}\\]", "?", folder)


def _require_sound_names(tree: Tree, folders: Iterable[str]) -> None:
    """Rejects local files on which the driver would fail: their names, or links to nowhere.

    Raises:
      UserError: names the first one.
    """
    wanted = set(folders)
    files = [path for path in tree.files if path.rpartition("/")[0] in wanted]
    broken = [path for path in files if not _is_utf8(path)]
    if broken:
        raise UserError(
            f"Expected file names in UTF-8. Received: {len(broken)} others in {tree.where}, the "
            f"first is {os.fsencode(broken[0])!r}. Rename them."
        )
    lost = [path for path in files if not os.path.exists(tree.full(path))]
    if lost:
        raise UserError(
            f"Expected files in {tree.where}. Received: {len(lost)} links that lead nowhere, the "
            f"first is {lost[0]}. Restore what they link to, or remove them."
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settings(
    lists: Mapping[str, str | None],
    one_data_set: bool,
    eval_fraction: float,
    max_set_aside: float,
    max_megapixels: float,
) -> dict[str, Any]:
    if not 0 <= max_set_aside <= 1:
        raise UserError(f"Expected a max_set_aside of 0 to 1. Received: {max_set_aside}.")
    train, eval_, test = (bool(lists[name]) for name in (TRAIN_LIST, EVAL_LIST, TEST_LIST))
    if train != eval_ or (test and not train) or (train and not one_data_set):
        raise UserError(
            "Expected train_list and eval_list together, with data, and then perhaps test_list. "
            f"Received: {', '.join(f'{name}={path}' for name, path in lists.items())}"
            f"{'' if one_data_set else ' with train_data and eval_data'}."
        )
    settings = {
        "eval_percent": percent_of(eval_fraction),
        "max_set_aside": max_set_aside,
        "max_megapixels": max_megapixels,
    }
    for name, path in lists.items():
        settings[name] = input_patterns.absolute(path) if path else ""
        settings[f"{name}_sha256"] = (
            _sha256(settings[name]) if path and not input_patterns.is_remote(path) else ""
        )
    return settings


def _sha256(path: str) -> str:
    if not fileio.exists(path) or fileio.isdir(path):
        raise UserError(
            f"Expected a text file of image ids. Received: {path}, which is not a file. "
            "Check the path."
        )
    return sha256_of(path)


def _pack(settings: dict[str, Any]) -> example_gen_pb2.CustomConfig:
    struct = struct_pb2.Struct()
    struct.update(settings)
    config = example_gen_pb2.CustomConfig()
    # Deterministic, because the bytes are part of the cache key.
    config.custom_config.Pack(struct, deterministic=True)
    return config


def _output_config(eval_percent: int) -> example_gen_pb2.Output:
    """Records the split that the executor makes, instead of TFX's default of 2:1."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[
                split(name=TRAIN, hash_buckets=100 - eval_percent),
                split(name=EVAL, hash_buckets=eval_percent),
            ]
        )
    )
