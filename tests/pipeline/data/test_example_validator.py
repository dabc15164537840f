"""The whole executor, on statistics and schemas that hold real anomalies."""

import pytest
import tensorflow_data_validation as tfdv
from tfx.types import artifact_utils, standard_artifacts

from pipeline import features
from pipeline.data.example_validator import ExampleValidatorExecutor
from pipeline.data.schema import make_schema
from pipeline.errors import UserError

NAMES, YMIN, XMAX = features.CLASS_TEXT, features.YMIN, features.XMAX
GOOD = {
    features.IMAGE_FILENAME: ["a", "b", "c"],
    features.SOURCE_ID: ["a", "b", "c"],
    features.IMAGE_SHA256: ["1", "2", "3"],
    features.IMAGE_FORMAT: ["jpeg", "png", "jpeg"],
    features.IMAGE_HEIGHT: [1, 2, 3],
    features.IMAGE_WIDTH: [1, 2, 3],
    features.YMIN: [0.0, 0.1, 0.2],
    features.XMIN: [0.0, 0.1, 0.2],
    features.YMAX: [0.5, 0.6, 1.0],
    features.XMAX: [0.5, 0.6, 1.0],
    features.CLASS_TEXT: ["cat", "dog", "cat"],
}


@pytest.fixture
def validate(statistics_of, tmp_path):
    """Runs the executor on the columns of both splits; returns the Anomalies artifact."""

    def run(train, evaluation, schema=None):
        artifact = standard_artifacts.Schema()
        artifact.uri = str(tmp_path / "schema")
        (tmp_path / "schema").mkdir()
        schema = schema or make_schema(["cat", "dog"])
        tfdv.write_schema_text(schema, str(tmp_path / "schema" / "schema.pbtxt"))
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(tmp_path / "anomalies")
        inputs = {"statistics": [statistics_of(train=train, eval=evaluation)], "schema": [artifact]}
        ExampleValidatorExecutor().Do(inputs, {"anomalies": [anomalies]}, {})
        return anomalies

    return run


def test_sound_examples_pass(validate):
    anomalies = validate(GOOD, GOOD)
    assert artifact_utils.decode_split_names(anomalies.split_names) == ["train", "eval"]


@pytest.mark.parametrize(
    ("column", "values", "description"),
    [
        (NAMES, ["cat", "dog", "horse"], "horse"),
        (YMIN, [0.0, -0.1, 0.2], "Unexpectedly low values"),
        (XMAX, [0.5, 0.6, 1.1], "Unexpectedly high value"),
    ],
)
def test_an_anomaly_stops_the_run(validate, column, values, description):
    with pytest.raises(UserError, match=f"these anomalies: {column}: .*{description}.* Correct"):
        validate(GOOD, GOOD | {column: values})


def test_the_anomalies_of_both_splits_are_named_once(validate):
    low = GOOD | {YMIN: [0.0, -0.1, 0.2]}
    with pytest.raises(UserError) as error:
        validate(low, low | {NAMES: ["cat", "dog", "horse"]})
    message = str(error.value)
    assert message.count(YMIN) == 1
    assert message.count(NAMES) == 1


def test_an_anomaly_of_the_whole_data_set_stops_the_run(validate):
    schema = make_schema(["cat", "dog"])
    schema.dataset_constraints.min_examples_count = 4
    with pytest.raises(UserError, match="3 examples, which is fewer than expected"):
        validate(GOOD, GOOD, schema)
