"""The two SchemaGens: one for a curated schema, one that infers it from the data.

Only the class names are inferred: the rest of a detection example is known. TFX's inference would
guess it from this data set, and leave out the tensor representations that Transform needs.
"""

import os

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.components.schema_gen import executor as schema_gen_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from pipeline import features
from pipeline.data.schema import make_schema
from pipeline.errors import UserError
from pipeline.files import SCHEMA_FILE, write_whole

# More than this are a mistake in the data, such as ids in place of names.
MAX_CLASSES = 1000


class SchemaGenExecutor(schema_gen_executor.Executor):
    """Infers the classes of all splits, sorted by name."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Writes `schema.pbtxt` into the Schema artifact."""
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        names: set[str] = set()
        num_objects = 0
        for split in artifact_utils.decode_split_names(statistics.split_names):
            view = stats_artifact_utils.load_statistics(statistics, split)
            inferred = tfdv.infer_schema(view.proto(), max_string_domain_size=MAX_CLASSES)
            for domain in inferred.string_domain:
                if domain.name == features.CLASS_TEXT:
                    names.update(domain.value)
            num_objects += _num_objects(view.proto())
        if not num_objects:
            raise UserError(
                "Expected labelled objects to infer the classes from. Received: images without a "
                "single object. Check the annotations."
            )
        if not 0 < len(names) <= MAX_CLASSES:
            raise UserError(
                f"Expected at most {MAX_CLASSES} classes. Received: more, in {num_objects} "
                "objects. Check the class names in the data, and --class-from."
            )
        folder = artifact_utils.get_single_uri(output_dict["schema"])
        tfdv.write_schema_text(make_schema(sorted(names)), os.path.join(folder, SCHEMA_FILE))


def _num_objects(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> int:
    return sum(
        feature.string_stats.common_stats.tot_num_values
        for dataset in statistics.datasets
        for feature in dataset.features
        if feature.path.step == [features.CLASS_TEXT] or feature.name == features.CLASS_TEXT
    )


class DetectionSchemaGenSpec(standard_component_specs.SchemaGenSpec):
    """SchemaGen's spec, with the fingerprint of our code."""

    PARAMETERS = {
        **standard_component_specs.SchemaGenSpec.PARAMETERS,
        "code_fingerprint": ExecutionParameter(type=str),
    }


class DetectionSchemaGen(base_component.BaseComponent):
    """SchemaGen with `SchemaGenExecutor`; its id is `SchemaGen`.

    Args:
      statistics: of the examples.
      code_fingerprint: of the code, so that an edit is a new cache key.
    """

    SPEC_CLASS = DetectionSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SchemaGenExecutor)

    def __init__(self, statistics: types.BaseChannel, code_fingerprint: str):
        super().__init__(
            DetectionSchemaGenSpec(
                statistics=statistics,
                code_fingerprint=code_fingerprint,
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
        self.with_id("SchemaGen")


@tfx.dsl.components.component
def CuratedSchemaGen(
    schema: tfx.dsl.components.OutputArtifact[standard_artifacts.Schema],
    schema_text: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
) -> None:
    """Brings a curated schema into the pipeline.

    TFX's ImportSchemaGen is cached by the file's path, this component by its content.

    Args:
      schema: gets `schema.pbtxt`.
      schema_text: its content.
      code_fingerprint: of the code, as above.
    """
    del code_fingerprint
    write_whole(os.path.join(schema.uri, SCHEMA_FILE), schema_text)
