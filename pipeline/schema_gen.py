"""The two SchemaGens: one for a curated schema, one that infers it from the data.

Inferring means the class names; everything else that a detection example has to be is known. Plain
inference would guess the rest from what happens to be there, and miss the tensor representations
that Transform needs.
"""

import os

import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.components.schema_gen import executor as schema_gen_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_artifacts

from models.checkpoint import write_atomically
from pipeline import features
from pipeline.errors import UserError
from pipeline.schema import SCHEMA_FILE, make_schema

# More classes than this are a mistake in the data rather than classes.
MAX_CLASSES = 1000


class SchemaGenExecutor(schema_gen_executor.Executor):
    """Infers the classes of all splits, sorted by name."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Writes `schema.pbtxt` into the Schema artifact."""
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        names: set[str] = set()
        for split in artifact_utils.decode_split_names(statistics.split_names):
            proto = stats_artifact_utils.load_statistics(statistics, split).proto()
            inferred = tfdv.infer_schema(proto, max_string_domain_size=MAX_CLASSES)
            for domain in inferred.string_domain:
                if domain.name == features.CLASS_TEXT:
                    names.update(domain.value)
        if not names:
            raise UserError(
                f"Expected between 1 and {MAX_CLASSES} classes in {features.CLASS_TEXT}. "
                "Received: none, or too many, in the examples. Check the class names in the data, "
                "and --class-from."
            )
        folder = artifact_utils.get_single_uri(output_dict["schema"])
        tfdv.write_schema_text(make_schema(sorted(names)), os.path.join(folder, SCHEMA_FILE))


class DetectionSchemaGen(tfx.components.SchemaGen):
    """SchemaGen with `SchemaGenExecutor`; its id is `SchemaGen`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SchemaGenExecutor)

    def __init__(self, statistics):
        super().__init__(statistics=statistics)
        self.with_id("SchemaGen")


@tfx.dsl.components.component
def CuratedSchemaGen(
    schema: tfx.dsl.components.OutputArtifact[standard_artifacts.Schema],
    schema_text: tfx.dsl.components.Parameter[str],
) -> None:
    """Brings a curated schema into the pipeline.

    TFX's ImportSchemaGen is cached by the file's path; this is cached by what the file says.

    Args:
      schema: gets `schema.pbtxt`.
      schema_text: its content.
    """
    write_atomically(os.path.join(schema.uri, SCHEMA_FILE), schema_text.encode())
