"""An ExampleValidator that stops the run at anomalies, before they poison the training."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from pipeline.errors import UserError


class ExampleValidatorExecutor(example_validator_executor.Executor):
    """Writes the anomalies as TFX's executor does, then stops the run if there are any."""

    def Do(self, input_dict, output_dict, exec_properties):
        """See the class.

        Raises:
          UserError: with every anomaly of every split.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["anomalies"])
        problems: list[str] = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            folder = artifact_utils.get_split_uri([artifact], split)
            path = os.path.join(folder, example_validator_executor.DEFAULT_FILE_NAME)
            with fileio.open(path, "rb") as file:
                problems += _describe(anomalies_pb2.Anomalies.FromString(file.read()))
        if problems:
            raise UserError(
                "Expected examples that fit the schema. Received these anomalies: "
                f"{' '.join(dict.fromkeys(problems))} Correct the annotations, or, if they are "
                "right, the schema: append new classes to its list of classes."
            )
        return result


def _describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    problems = [
        f"{feature}: {info.description}" for feature, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        problems.append(anomalies.dataset_anomaly_info.description)
    return problems


class StrictExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """ExampleValidator's spec, with the fingerprint of our code."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        "code_fingerprint": ExecutionParameter(type=str),
    }


class StrictExampleValidator(base_component.BaseComponent):
    """ExampleValidator with `ExampleValidatorExecutor`; its id is `ExampleValidator`.

    Args:
      statistics: of the examples.
      schema: that the examples must fit.
      code_fingerprint: of the code, so that an edit is a new cache key.
    """

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ExampleValidatorExecutor)

    def __init__(
        self, statistics: types.BaseChannel, schema: types.BaseChannel, code_fingerprint: str
    ):
        super().__init__(
            StrictExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                code_fingerprint=code_fingerprint,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
        self.with_id("ExampleValidator")
