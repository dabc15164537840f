"""The two ExampleGens: Pascal VOC folders, and TFRecords with the Object Detection API's keys.

Both write the same examples (`pipeline/features.py`), after the same checks. The stock driver
fingerprints the input files by glob patterns, so that a change of the data is a change of the
cache key; everything else that the executor has to know is in `custom_config`, which is part of
the key, too.
"""

import os
from collections.abc import Iterable
from typing import Any

from google.protobuf import struct_pb2
from tfx.components.example_gen import component as example_gen
from tfx.components.example_gen.import_example_gen import component as import_example_gen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2

from pipeline.data.example_gen_executor import TfRecordExecutor, VocExecutor
from pipeline.data.split import EVAL, EVAL_LIST, TRAIN, TRAIN_LIST, percent_of
from pipeline.data.voc import Layout, find_layout
from pipeline.errors import UserError
from pipeline.files import sha256_of

NODE_ID = "ExampleGen"
CLASS_SOURCES = ("name", "filename")

# What the driver takes for a pattern: globs, and {SPAN}.
_PATTERN_CHARACTERS = "*?[{"


class VocExampleGen(example_gen.FileBasedExampleGen):
    """Reads Pascal VOC folders."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(VocExecutor)

    def __init__(
        self,
        data: str | None = None,
        *,
        train_data: str | None = None,
        eval_data: str | None = None,
        train_list: str | None = None,
        eval_list: str | None = None,
        images: str | None = None,
        annotations: str | None = None,
        class_from: str = "name",
        eval_fraction: float = 0.2,
        max_set_aside: float = 0.01,
        code_fingerprint: str = "",
    ):
        """Configures the component; its id is `ExampleGen`.

        Args:
          data: folder of the data set; its images are split by hash, or by the two lists.
          train_data: folder of the training images, instead of `data`.
          eval_data: folder of the evaluation images, instead of `data`.
          train_list: text file with the ids of the training images, one a line.
          eval_list: text file with the ids of the evaluation images, one a line.
          images: folder of the pictures in the data set's; found if not given. May hold `{SPAN}`.
          annotations: folder of the XML files in the data set's; likewise.
          class_from: "name" for the `<name>` of every object, "filename" for the picture's name
            up to its last underscore, as in Oxford-IIIT Pets.
          eval_fraction: share of the images to evaluate on, 0.01 to 0.99 in steps of 0.01.
          max_set_aside: the largest share of unusable images that the run puts up with, 0..1.
          code_fingerprint: of the project's code: makes its changes part of the cache key.

        Raises:
          UserError: when the arguments contradict each other or a folder isn't there.
        """
        if class_from not in CLASS_SOURCES:
            raise UserError(
                f"Expected class_from to be one of {', '.join(CLASS_SOURCES)}. Received: "
                f"{class_from!r}."
            )
        roots = _paths_by_side(data, train_data, eval_data)
        for root in roots.values():
            _refuse_glob(root)
        lists = _remote_lists(train_list, eval_list)
        base = _common_base([*roots.values(), *map(os.path.dirname, lists.values())])
        splits = _list_splits(base, lists)
        for side, root in roots.items():
            layout = _layout(root, images, annotations)
            _refuse_undecodable_names(root, layout)
            for group, inner in (("images", layout.images), ("annotations", layout.annotations)):
                splits.append(
                    example_gen_pb2.Input.Split(
                        name=f"{side}_{group}" if side else group,
                        pattern=os.path.join(_below(base, root), inner, "*"),
                    )
                )
        settings = _settings(
            train_list, eval_list, bool(data), eval_fraction, max_set_aside, code_fingerprint
        )
        super().__init__(
            input_base=base,
            input_config=example_gen_pb2.Input(splits=splits),
            custom_config=_pack({**settings, "class_from": class_from}),
        )
        self.with_id(NODE_ID)


class TfRecordExampleGen(import_example_gen.ImportExampleGen):
    """Reads TFRecord files with the keys of the TensorFlow Object Detection API."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TfRecordExecutor)

    def __init__(
        self,
        data: str | None = None,
        *,
        train_data: str | None = None,
        eval_data: str | None = None,
        train_list: str | None = None,
        eval_list: str | None = None,
        eval_fraction: float = 0.2,
        max_set_aside: float = 0.01,
        code_fingerprint: str = "",
    ):
        """Configures the component; its id is `ExampleGen`.

        Args:
          data: a TFRecord file, a glob pattern of such files (it may hold `{SPAN}`), or a folder
            of them; a file is read as GZIP when its name ends in `.gz`. In an object store, which
            isn't asked before the run, a name without a dot, a pattern or `-of-` is a folder's.
          train_data: the same for the training examples, instead of `data`.
          eval_data: the same for the evaluation examples, instead of `data`.
          train_list: as for `VocExampleGen`, and so are all that follow.
          eval_list: see there.
          eval_fraction: see there.
          max_set_aside: see there.
          code_fingerprint: see there.

        Raises:
          UserError: when the arguments contradict each other.
        """
        patterns = {
            side: os.path.join(path, "*") if _is_folder_of_shards(path) else path
            for side, path in _paths_by_side(data, train_data, eval_data).items()
        }
        lists = _remote_lists(train_list, eval_list)
        base = _common_base(map(os.path.dirname, [*patterns.values(), *lists.values()]))
        splits = _list_splits(base, lists) + [
            example_gen_pb2.Input.Split(name=side or "examples", pattern=_below(base, pattern))
            for side, pattern in patterns.items()
        ]
        settings = _settings(
            train_list, eval_list, bool(data), eval_fraction, max_set_aside, code_fingerprint
        )
        # ImportExampleGen's own constructor has no custom_config; all that it adds is a payload
        # format, whose default is the one of its base class.
        super(import_example_gen.ImportExampleGen, self).__init__(
            input_base=base,
            input_config=example_gen_pb2.Input(splits=splits),
            output_config=_output_config(int(settings["eval_percent"])) if data else None,
            custom_config=_pack(settings),
        )
        self.with_id(NODE_ID)


def _absolute(path: str) -> str:
    """Makes a local path absolute, so that the working directory is no part of its meaning."""
    return path.rstrip("/") if _is_remote(path) else os.path.abspath(path)


def _paths_by_side(
    data: str | None, train_data: str | None, eval_data: str | None
) -> dict[str, str]:
    """Returns the absolute paths of the inputs by side; the side "" stands for both."""
    if bool(data) == bool(train_data or eval_data) or bool(train_data) != bool(eval_data):
        raise UserError(
            "Expected either data, or both train_data and eval_data. Received: "
            f"data={data}, train_data={train_data}, eval_data={eval_data}."
        )
    if data:
        return {"": _absolute(data)}
    paths = {TRAIN: _absolute(train_data), EVAL: _absolute(eval_data)}
    if paths[TRAIN] == paths[EVAL]:
        raise UserError(
            "Expected different data for training and for evaluation. Received: "
            f"{train_data} for both."
        )
    return paths


def _common_base(folders: Iterable[str]) -> str:
    """Returns the deepest folder that holds all of them and needs no globbing."""
    shared = []
    for parts in zip(*(folder.split("/") for folder in folders), strict=False):
        if len(set(parts)) > 1 or any(character in parts[0] for character in _PATTERN_CHARACTERS):
            break
        shared.append(parts[0])
    base = "/".join(shared) or "/"
    # Of two buckets: joining with `gs:/` would lose a slash.
    return f"{base}/" if base.endswith(":/") else base


def _below(base: str, path: str) -> str:
    return path[len(base) :].lstrip("/")


def _is_remote(path: str) -> bool:
    """Whether asking about the path would need the network, and credentials."""
    return "://" in path


def _is_folder_of_shards(path: str) -> bool:
    if not _is_remote(path):
        return fileio.isdir(path)
    name = os.path.basename(path)
    is_pattern = any(character in name for character in _PATTERN_CHARACTERS)
    return not (is_pattern or "." in name or "-of-" in name)


def _remote_lists(train_list: str | None, eval_list: str | None) -> dict[str, str]:
    """Split lists in an object store, by the names of their fingerprint groups."""
    lists = {TRAIN_LIST: train_list, EVAL_LIST: eval_list}
    return {group: path for group, path in lists.items() if path and _is_remote(path)}


def _list_splits(base: str, lists: dict[str, str]) -> list[example_gen_pb2.Input.Split]:
    """Has the driver fingerprint lists, at run time, that can't be read before."""
    return [
        example_gen_pb2.Input.Split(name=group, pattern=_below(base, path))
        for group, path in lists.items()
    ]


def _refuse_glob(path: str) -> None:
    """The driver globs for its fingerprint; with such a path it would find, and notice, nothing."""
    if any(character in path for character in _PATTERN_CHARACTERS):
        raise UserError(
            f"Expected a folder's path without {' '.join(_PATTERN_CHARACTERS)}. Received: {path}. "
            "Rename the folder, or link to it under another name."
        )


def _refuse_undecodable_names(root: str, layout: Layout) -> None:
    """The driver's glob would end in a UnicodeDecodeError; object stores have UTF-8 names only."""
    for folder in (layout.images, layout.annotations):
        path = os.path.join(root, folder)
        names = os.listdir(path) if os.path.isdir(path) else []
        broken = [name for name in names if not _is_utf8(name)]
        if broken:
            raise UserError(
                f"Expected file names in UTF-8. Received: {len(broken)} others in {path}, the "
                f"first is {os.fsencode(broken[0])!r}. Rename them."
            )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _layout(root: str, images: str | None, annotations: str | None) -> Layout:
    if images and annotations:
        return Layout(images.strip("/"), annotations.strip("/"))
    if images or annotations:
        raise UserError(
            "Expected images and annotations together, or neither. Received: "
            f"images={images}, annotations={annotations}."
        )
    return find_layout(root, fileio.isdir)


def _settings(
    train_list: str | None,
    eval_list: str | None,
    splits_itself: bool,
    eval_fraction: float,
    max_set_aside: float,
    code_fingerprint: str,
) -> dict[str, Any]:
    if not 0 <= max_set_aside <= 1:
        raise UserError(f"Expected a max_set_aside of 0 to 1. Received: {max_set_aside}.")
    if bool(train_list) != bool(eval_list) or (train_list and not splits_itself):
        raise UserError(
            "Expected train_list and eval_list together, with data. Received: "
            f"train_list={train_list}, eval_list={eval_list}"
            f"{'' if splits_itself else ' with train_data and eval_data'}."
        )
    settings = {
        "eval_percent": percent_of(eval_fraction),
        "max_set_aside": max_set_aside,
        "code_fingerprint": code_fingerprint,
    }
    for name, path in ((TRAIN_LIST, train_list), (EVAL_LIST, eval_list)):
        settings[name] = _absolute(path) if path else ""
        settings[f"{name}_sha256"] = (
            _sha256(settings[name]) if path and not _is_remote(path) else ""
        )
    return settings


def _sha256(path: str) -> str:
    if not fileio.exists(path) or fileio.isdir(path):
        raise UserError(
            f"Expected a text file of image ids. Received: {path}, which is no file. "
            "Check the path."
        )
    return sha256_of(path)


def _pack(settings: dict[str, Any]) -> example_gen_pb2.CustomConfig:
    struct = struct_pb2.Struct()
    struct.update(settings)
    config = example_gen_pb2.CustomConfig()
    # Deterministic: the bytes of the same settings must be the same cache key.
    config.custom_config.Pack(struct, deterministic=True)
    return config


def _output_config(eval_percent: int) -> example_gen_pb2.Output:
    """States the split that the executor makes; TFX would record its own default, 2:1."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[
                split(name=TRAIN, hash_buckets=100 - eval_percent),
                split(name=EVAL, hash_buckets=eval_percent),
            ]
        )
    )
