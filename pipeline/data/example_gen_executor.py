"""The executor of the ExampleGen: read, check, decide, write.

A first Beam pipeline reads and checks every input, and stages the usable examples and one line
about each input. From these lines the census decides, outside Beam, what is kept, and on which
side; it also raises the errors for the user. A second Beam pipeline writes the staged examples to
their splits.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
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
from pipeline.data.split import EVAL, EVAL_LIST, SIDES, TRAIN, TRAIN_LIST, parse_lists

_LOG_EVERY = 1000
_STAGING = "staging"
# Between an input's name and its serialized example in the staging files.
_SEPARATOR = b"\0"


class _Check(beam.DoFn):
    """Reads items; yields staged examples, and a line about each input as output `CHECKED`."""

    CHECKED = "checked"

    def __init__(self, read: Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]]):
        self._read = read
        self._seen = 0

    def process(self, item: Any) -> Iterator[Any]:
        for checked, image in self._read(item):
            self._seen += 1
            if self._seen % _LOG_EVERY == 0:
                logging.info("ExampleGen: this worker has checked %d inputs.", self._seen)
            yield beam.pvalue.TaggedOutput(self.CHECKED, checked.to_json())
            if image is not None:
                name = checked.file.encode("utf-8", "surrogateescape")
                yield name + _SEPARATOR + to_example(image).SerializeToString()


def _route(staged: bytes, sides: dict[bytes, str]) -> Iterator[tuple[str, bytes]]:
    name, _, example = staged.partition(_SEPARATOR)
    if name in sides:
        yield sides[name], example


def _is_on(routed: tuple[str, bytes], side: str) -> bool:
    return routed[0] == side


def _example_of(routed: tuple[str, bytes]) -> bytes:
    return routed[1]


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
        artifact.split_names = artifact_utils.encode_split_names(list(SIDES))
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        settings = read_settings(exec_properties)

        inputs = _find_inputs(base, _patterns(exec_properties), settings)
        rule = split_rule(settings)
        staging = os.path.join(artifact.uri, _STAGING)
        for line in (f"{len(inputs.items)} items of {inputs.title} in {base}", *inputs.notes):
            logging.info("ExampleGen: %s.", line)
        self._check(inputs, staging)
        census = _census_of(staging, inputs, rule)
        require_usable(census, rule, settings["max_set_aside"], base)
        self._write_splits(artifact, staging, census, exec_properties)
        fileio.rmtree(staging)
        _record(artifact, census, exec_properties)

    def _check(self, inputs: Inputs, staging: str) -> None:
        with self._make_beam_pipeline() as pipeline:
            outputs = (
                pipeline
                | "Items" >> beam.Create(inputs.items)
                | "Distribute" >> beam.Reshuffle()
                | "Check" >> beam.ParDo(_Check(inputs.read)).with_outputs(
                    _Check.CHECKED, main="examples"
                )
            )  # fmt: skip
            _ = outputs[_Check.CHECKED] | "WriteChecked" >> beam.io.WriteToText(
                os.path.join(staging, "checked")
            )
            _ = outputs.examples | "WriteStaged" >> beam.io.WriteToTFRecord(
                os.path.join(staging, "examples")
            )

    def _write_splits(
        self,
        artifact: types.Artifact,
        staging: str,
        census: Census,
        exec_properties: dict[str, Any],
    ) -> None:
        sides = {item.file.encode("utf-8", "surrogateescape"): side for item, side in census.kept}
        with self._make_beam_pipeline() as pipeline:
            by_name = beam.pvalue.AsDict(pipeline | "Sides" >> beam.Create(list(sides.items())))
            routed = (
                pipeline
                | "ReadStaged" >> beam.io.ReadFromTFRecord(os.path.join(staging, "examples*"))
                | "Route" >> beam.FlatMap(_route, by_name)
            )
            for side in SIDES:
                _ = (
                    routed
                    | f"On[{side}]" >> beam.Filter(_is_on, side)
                    | f"Example[{side}]" >> beam.Map(_example_of).with_output_types(bytes)
                    | f"WriteSplit[{side}]" >> write_split.WriteSplit(
                        artifact_utils.get_split_uri([artifact], side),
                        exec_properties.get(standard_component_specs.OUTPUT_FILE_FORMAT_KEY),
                        exec_properties,
                    )
                )  # fmt: skip


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
    shards = {group: patterns[group] for group in (TRAIN, EVAL, "examples") if group in patterns}
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
    return {
        split.name: split.pattern
        for split in config.splits
        if split.name not in (TRAIN_LIST, EVAL_LIST)
    }


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
        for key in (TRAIN_LIST, EVAL_LIST):
            with fileio.open(settings[key], "rb") as file:
                # Some editors put a byte order mark before the first id.
                texts.append(file.read().decode("utf-8-sig", "surrogateescape"))
        listed = parse_lists(*texts)
    return SplitRule(int(settings["eval_percent"]), listed)


def _census_of(staging: str, inputs: Inputs, rule: SplitRule) -> Census:
    checked = []
    for path in fileio.glob(os.path.join(staging, "checked*")):
        with fileio.open(path) as lines:
            checked.extend(Checked.from_json(line) for line in lines)
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
    examples_utils.set_file_format(
        artifact,
        write_split.to_file_format_str(
            exec_properties.get(standard_component_specs.OUTPUT_FILE_FORMAT_KEY)
            or example_gen_pb2.FILE_FORMAT_UNSPECIFIED
        ),
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
            "%d pictures are in both train and eval, byte for byte: the evaluation is too good. "
            "images.jsonl of the Examples artifact lists the sha256 of every picture.",
            properties["leaked_images"],
        )
