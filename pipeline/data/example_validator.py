"""ExampleValidator that stops the run: anomalies that would poison training are errors."""

from tfx import types
from tfx.components.example_validator import executor as example_validator_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from pipeline.errors import UserError


class ExampleValidatorExecutor(example_validator_executor.Executor):
    """Writes the anomalies as TFX's executor does, then stops the run if there are any."""

    def __init__(self, context=None):
        super().__init__(context)
        self._problems: list[str] = []

    def _Validate(self, inputs, outputs):
        anomalies = super()._Validate(inputs, outputs)
        for feature, info in sorted(anomalies.anomaly_info.items()):
            self._problems.append(f"{feature}: {info.description}")
        if anomalies.HasField("dataset_anomaly_info"):
            self._problems.append(anomalies.dataset_anomaly_info.description)
        return anomalies

    def Do(self, input_dict, output_dict, exec_properties):
        """See the class.

        Raises:
          UserError: with every anomaly of every split.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        if self._problems:
            problems = " ".join(dict.fromkeys(self._problems))
            raise UserError(
                "Expected examples that fit the schema. Received these anomalies: "
                f"{problems} Correct the annotations, or, if the data is right, the schema: a new "
                "class belongs at the end of its list of classes."
            )
        return result


class StrictExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """ExampleValidator's, and the fingerprint of our code."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        "code_fingerprint": ExecutionParameter(type=str),
    }


class StrictExampleValidator(base_component.BaseComponent):
    """ExampleValidator with `ExampleValidatorExecutor`; its id is `ExampleValidator`.

    Args:
      statistics: of the examples.
      schema: what they have to be.
      code_fingerprint: part of the cache key, so that an edit of the code validates anew.
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
