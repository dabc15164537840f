"""The ExampleGens: for Pascal VOC folders, and TFRecords with the Object Detection API's keys.

Both write the same examples (`pipeline/features.py`), after the same checks. The cache key holds
the fingerprint that TFX's driver takes of the input files, and, in `custom_config`, everything else
that the executor needs to know.
"""

import os
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2
from tfx.components.example_gen import component as example_gen
from tfx.components.example_gen.import_example_gen import component as import_example_gen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2

from pipeline.data import input_patterns
from pipeline.data.example_gen_executor import TfRecordExecutor, VocExecutor
from pipeline.data.readers import tfrecord, voc
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
CLASS_SOURCES = ("name", "filename")


class VocExampleGen(example_gen.FileBasedExampleGen):
    """Reads Pascal VOC folders."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(VocExecutor)

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
        images: str | None = None,
        annotations: str | None = None,
        class_from: str = "name",
        eval_fraction: float = 0.2,
        max_set_aside: float = 0.01,
        max_megapixels: float = 100.0,
        code_fingerprint: str = "",
    ):
        """Configures the component; its id is `ExampleGen`.

        Args:
          data: folder of the data set; its images are split by hash, or by the two lists.
          train_data: folder of the training images, instead of `data`.
          eval_data: folder of the evaluation images, instead of `data`.
          test_data: folder of the test images, beside these two.
          train_list: text file with the ids of the training images, one a line.
          eval_list: text file with the ids of the evaluation images, one a line.
          test_list: text file with the ids of the test images, one a line, beside these two.
          images: folder of the pictures, relative to the data set; found if not given. May contain
            `{SPAN}`.
          annotations: folder of the XML files; likewise.
          class_from: "name" for the `<name>` of every object, "filename" for the picture's name
            up to its last underscore, as in Oxford-IIIT Pets.
          eval_fraction: share of the images to evaluate on, 0.01 to 0.99 in steps of 0.01.
          max_set_aside: the run stops when a larger share of the images is unusable, 0..1.
          max_megapixels: larger pictures are unusable.
          code_fingerprint: of the project's code, so that an edit is a new cache key.

        Raises:
          UserError: when the arguments contradict each other or a folder does not exist.
        """
        if class_from not in CLASS_SOURCES:
            raise UserError(
                f"Expected class_from to be one of {', '.join(CLASS_SOURCES)}. Received: "
                f"{class_from!r}."
            )
        roots = input_patterns.paths_by_side(data, train_data, eval_data, test_data)
        for root in roots.values():
            input_patterns.require_plain(root)
        all_lists = {TRAIN_LIST: train_list, EVAL_LIST: eval_list, TEST_LIST: test_list}
        lists = input_patterns.remote_lists(all_lists)
        base = input_patterns.common_base([*roots.values(), *map(os.path.dirname, lists.values())])
        splits = input_patterns.list_splits(base, lists)
        for side, root in roots.items():
            layout = voc.resolve_layout(root, images, annotations)
            voc.require_utf8_names(root, layout)
            for group, inner in (("images", layout.images), ("annotations", layout.annotations)):
                splits.append(
                    example_gen_pb2.Input.Split(
                        name=f"{side}_{group}" if side else group,
                        pattern=os.path.join(input_patterns.below(base, root), inner, "*"),
                    )
                )
        settings = _settings(
            all_lists,
            bool(data),
            eval_fraction,
            max_set_aside,
            max_megapixels,
            code_fingerprint,
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
        test_data: str | None = None,
        train_list: str | None = None,
        eval_list: str | None = None,
        test_list: str | None = None,
        eval_fraction: float = 0.2,
        max_set_aside: float = 0.01,
        max_megapixels: float = 100.0,
        code_fingerprint: str = "",
    ):
        """Configures the component; its id is `ExampleGen`.

        Args:
          data: a TFRecord file, a glob pattern of such files (it may contain `{SPAN}`), or a
            folder of them; a file is read as GZIP when its name ends in `.gz`. Object stores are
            not asked before the run: there, a name without a dot, a pattern or `-of-` is taken
            for a folder.
          train_data: the same for the training examples, instead of `data`.
          eval_data: the same for the evaluation examples, instead of `data`.
          test_data: the same for the test examples, beside these two.
          train_list: as for `VocExampleGen`, like the rest.
          eval_list: see there.
          eval_fraction: see there.
          max_set_aside: see there.
          max_megapixels: see there.
          code_fingerprint: see there.

        Raises:
          UserError: when the arguments contradict each other.
        """
        patterns = {
            side: os.path.join(path, "*") if tfrecord.is_folder_of_shards(path) else path
            for side, path in input_patterns.paths_by_side(
                data, train_data, eval_data, test_data
            ).items()
        }
        all_lists = {TRAIN_LIST: train_list, EVAL_LIST: eval_list, TEST_LIST: test_list}
        lists = input_patterns.remote_lists(all_lists)
        base = input_patterns.common_base(
            map(os.path.dirname, [*patterns.values(), *lists.values()])
        )
        splits = input_patterns.list_splits(base, lists) + [
            example_gen_pb2.Input.Split(
                name=side or "examples", pattern=input_patterns.below(base, pattern)
            )
            for side, pattern in patterns.items()
        ]
        settings = _settings(
            all_lists,
            bool(data),
            eval_fraction,
            max_set_aside,
            max_megapixels,
            code_fingerprint,
        )
        # ImportExampleGen's own constructor takes no custom_config; it only adds a payload format,
        # whose default is that of its base class.
        super(import_example_gen.ImportExampleGen, self).__init__(
            input_base=base,
            input_config=example_gen_pb2.Input(splits=splits),
            output_config=_output_config(int(settings["eval_percent"])) if data else None,
            custom_config=_pack(settings),
        )
        self.with_id(NODE_ID)


def _settings(
    lists: Mapping[str, str | None],
    one_data_set: bool,
    eval_fraction: float,
    max_set_aside: float,
    max_megapixels: float,
    code_fingerprint: str,
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
        "code_fingerprint": code_fingerprint,
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
