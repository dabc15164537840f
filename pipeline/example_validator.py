"""ExampleValidator that stops the run: anomalies that would poison training are errors."""

from tfx import v1 as tfx
from tfx.components.example_validator import executor as example_validator_executor
from tfx.dsl.components.base import executor_spec

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


class StrictExampleValidator(tfx.components.ExampleValidator):
    """ExampleValidator with `ExampleValidatorExecutor`; its id is `ExampleValidator`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ExampleValidatorExecutor)

    def __init__(self, statistics, schema):
        super().__init__(statistics=statistics, schema=schema)
        self.with_id("ExampleValidator")
