"""The executor of the ExampleGen: read, check, decide, write.

A first Beam pipeline reads and checks every input, and stages the usable examples and one line
about each input. From these lines the census decides, outside Beam, what is kept, and on which
side; it also raises the errors for the user. A second Beam pipeline copies the staged examples to
the files of their splits.

Both pipelines only hand out work and collect lines: a picture goes from file to file within one
worker (`pipeline/data/staging.py`). The examples of a split are ordered by a hash of their id: the
files depend neither on how the work was shared, nor on the format that the images came in, and the
first images of a split are a fair sample of it.
"""

import hashlib
import itertools
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from google.protobuf import struct_pb2
from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from pipeline.data.census import (
    Census,
    Checked,
    Ignored,
    SplitRule,
    require_usable,
    take_census,
)
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.raw_example import to_example
from pipeline.data.readers import Inputs, tfrecord
from pipeline.data.readers.detection import Source, find_inputs, merge
from pipeline.data.split import (
    ALL_SIDES,
    EVAL_LIST,
    SIDES,
    TEST,
    TEST_LIST,
    TRAIN_LIST,
    parse_lists,
)
from pipeline.data.staging import Place, StagingFile, plan_shards, write_shard

_STAGING = "staging"
_LISTS = (TRAIN_LIST, EVAL_LIST, TEST_LIST)
# Items that a worker gets at a time, at most; fewer when there are few, so that all get some.
_BATCH, _FAIR_SHARE = 64, 128


class _Check(beam.DoFn):
    """Reads batches of items, stages examples, and yields a line about each input."""

    def __init__(
        self, read: Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]], staging: str
    ):
        self._read = read
        self._staging = staging
        self._seen = 0

    def setup(self):
        # Decoding, hashing and waiting for files leave the interpreter to other threads.
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def start_bundle(self):
        self._file = StagingFile(self._staging)

    def process(self, items: list[Any]) -> Iterator[str]:
        threads = os.cpu_count()
        for lines in self._pool.map(self._check, (items[n::threads] for n in range(threads))):
            if lines:
                yield "\n".join(lines)
        self._seen += len(items)
        logging.info("ExampleGen: this worker has checked %d items.", self._seen)

    def finish_bundle(self):
        self._file.close()

    def teardown(self):
        self._pool.shutdown()

    def _check(self, items: list[Any]) -> list[str]:
        lines = []
        for checked, image in itertools.chain.from_iterable(map(self._read, items)):
            place = None
            if image is not None:
                record = to_example(image).SerializeToString(deterministic=True)
                place = self._file.append(record)
            lines.append(json.dumps({"checked": vars(checked), "place": place}))
        return lines


class DetectionExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Reads labelled images in any format."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the Examples artifact: the splits, three report files, and the counts.

        Raises:
          UserError: when the data cannot be used; see `census.require_usable`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        settings = read_settings(exec_properties)

        inputs = _find_inputs(base, _patterns(exec_properties), settings)
        rule = split_rule(settings)
        staging = os.path.join(artifact.uri, _STAGING)
        for line in (f"{len(inputs.items)} items of {inputs.title} in {base}", *inputs.notes):
            logging.info("ExampleGen: %s.", line)
        self._check(inputs, staging)
        checked, places = _read_lines(staging)
        census = _census_of(checked, inputs, rule)
        require_usable(census, rule, settings["max_set_aside"], base)
        sides = [*SIDES, TEST] if census.count(TEST) else list(SIDES)
        artifact.split_names = artifact_utils.encode_split_names(sides)
        self._write_splits(artifact, staging, census, places)
        fileio.rmtree(staging)
        _record(artifact, census, exec_properties)

    def _check(self, inputs: Inputs, staging: str) -> None:
        items = inputs.items
        size = max(1, min(_BATCH, len(items) // _FAIR_SHARE))
        batches = (items[start : start + size] for start in range(0, len(items), size))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Items" >> _HandOut(batches, os.path.join(staging, "items"))
                | "Check" >> beam.ParDo(_Check(inputs.read, os.path.join(staging, "examples")))
                | "WriteLines" >> beam.io.WriteToText(os.path.join(staging, "lines"))
            )

    def _write_splits(
        self,
        artifact: types.Artifact,
        staging: str,
        census: Census,
        places: Mapping[str, Place],
    ) -> None:
        shards = []
        for side in artifact_utils.decode_split_names(artifact.split_names):
            kept = [item for item, on in census.kept if on == side]
            shards += plan_shards(
                artifact_utils.get_split_uri([artifact], side),
                write_split.DEFAULT_TF_RECORD_FILE_NAME,
                [places[item.file] for item in sorted(kept, key=_order)],
            )
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> _HandOut(shards, os.path.join(staging, "shards"))
                | "Write" >> beam.Map(write_shard)
            )


class _HandOut(beam.PTransform):
    """Spreads work over the workers.

    Args:
      work: what can be pickled. It goes through a file: what is part of a Beam pipeline's own
        description may have 10 MB on Dataflow.
      path: of the file.
    """

    def __init__(self, work: Iterable[Any], path: str):
        super().__init__()
        self._path = path
        fileio.makedirs(os.path.dirname(path))
        with tf.io.TFRecordWriter(path) as file:
            for item in work:
                file.write(pickle.dumps(item))

    def expand(self, pipeline):
        return (
            pipeline
            | beam.io.ReadFromTFRecord(self._path)
            | beam.Map(pickle.loads)
            | beam.Reshuffle()
        )


def _order(item: Checked) -> bytes:
    return hashlib.sha256(item.image_id.encode("utf-8", "surrogateescape")).digest()


def names_spans(example_gen: FileBasedExampleGen) -> bool:
    """Whether TFX's driver resolves, when the component runs, which data it reads."""
    return any("{" in pattern for pattern in _patterns(example_gen.exec_properties).values())


def find_all_inputs(example_gen: FileBasedExampleGen) -> Inputs:
    """Lists the inputs of an ExampleGen that has not run.

    Args:
      example_gen: with the executor of this module; without `{SPAN}`.

    Raises:
      UserError: when a file or folder that should exist does not, or the format is not known.
    """
    properties = example_gen.exec_properties
    base = properties[standard_component_specs.INPUT_BASE_KEY]
    return _find_inputs(base, _patterns(properties), read_settings(properties))


def _find_inputs(base: str, patterns: dict[str, str], settings: dict[str, Any]) -> Inputs:
    """Lists the inputs.

    Args:
      base: the component's `input_base`.
      patterns: glob patterns by group, relative to `base`, with spans resolved.
      settings: see `read_settings`.
    """
    parts = []
    shards = {group: patterns[group] for group in (*ALL_SIDES, "examples") if group in patterns}
    if shards:
        parts.append(tfrecord.find_shards(base, shards, settings["max_megapixels"]))
    sources = [Source(**fields) for fields in json.loads(settings["sources"])]
    if sources:
        parts.append(
            find_inputs(
                base,
                [_in_span(source, patterns) for source in sources],
                settings["format"],
                class_from=settings["class_from"],
                max_megapixels=settings["max_megapixels"],
                has_lists=bool(settings[TRAIN_LIST]),
            )
        )
    return parts[0] if len(parts) == 1 else merge(parts)


def _in_span(source: Source, patterns: dict[str, str]) -> Source:
    """The source with the folders that the driver has resolved."""
    prefix = f"{source.side}_" if source.side else ""
    if f"{prefix}images" not in patterns:
        return source
    images, annotations = (
        os.path.dirname(patterns[f"{prefix}{group}"]) for group in ("images", "annotations")
    )
    return replace(source, root=images, images=images, annotations=annotations)


def _patterns(exec_properties: dict[str, Any]) -> dict[str, str]:
    """The glob patterns by group."""
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
    # The lists are only fingerprinted.
    return {split.name: split.pattern for split in config.splits if split.name not in _LISTS}


def read_settings(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """Unpacks the settings that the component packed into its `custom_config`."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    settings = struct_pb2.Struct()
    config.custom_config.Unpack(settings)
    return dict(settings)


def split_rule(settings: dict[str, Any]) -> SplitRule:
    """How these settings, see `read_settings`, split the images; reads the user's lists."""
    listed = None
    if settings[TRAIN_LIST]:
        texts = []
        for key in _LISTS:
            if not settings[key]:
                continue
            with fileio.open(settings[key], "rb") as file:
                # Some editors put a byte order mark before the first id.
                texts.append(file.read().decode("utf-8-sig", "surrogateescape"))
        listed = parse_lists(*texts)
    return SplitRule(int(settings["eval_percent"]), listed)


def _read_lines(staging: str) -> tuple[list[Checked], dict[str, Place]]:
    """What was found, and where the examples of usable inputs are by `Checked.file`."""
    checked, places = [], {}
    for path in fileio.glob(os.path.join(staging, "lines*")):
        with fileio.open(path) as lines:
            for line in map(json.loads, lines):
                item = Checked(**line["checked"])
                checked.append(item)
                if line["place"]:
                    places[item.file] = Place(*line["place"])
    return checked, places


def _census_of(checked: list[Checked], inputs: Inputs, rule: SplitRule) -> Census:
    alone = inputs.pictures - {item.picture for item in checked}
    ignored = [Ignored(picture, "a picture without an annotation") for picture in alone]
    return take_census(checked, rule, [*inputs.ignored, *ignored])


def _record(artifact: types.Artifact, census: Census, exec_properties: dict[str, Any]) -> None:
    """Writes the report files and the artifact's properties."""
    for name, text in census.files().items():
        with fileio.open(os.path.join(artifact.uri, name), "w") as file:
            file.write(text)
    examples_utils.set_payload_format(
        artifact, exec_properties[standard_component_specs.OUTPUT_DATA_FORMAT_KEY]
    )
    properties = census.properties()
    for name, value in properties.items():
        if isinstance(value, int):
            artifact.set_int_custom_property(name, value)
        else:
            artifact.set_string_custom_property(name, value)
    logging.info("ExampleGen: %s", properties)
    if properties["leaked_images"]:
        logging.warning(
            "%d pictures are on more than one side, byte for byte: the figures are too good. "
            "images.jsonl of the Examples artifact lists the sha256 of every picture.",
            properties["leaked_images"],
        )
