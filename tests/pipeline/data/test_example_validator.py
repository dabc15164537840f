import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as stock

from pipeline import features
from pipeline.data.example_validator import ExampleValidatorExecutor
from pipeline.data.schema import make_schema
from pipeline.errors import UserError


def anomalies(**reasons):
    result = anomalies_pb2.Anomalies()
    for feature, description in reasons.items():
        result.anomaly_info[feature].description = description
    return result


@pytest.fixture
def validate(monkeypatch):
    """Runs the executor over splits with the given anomalies."""

    def run(*splits):
        remaining = list(splits)
        monkeypatch.setattr(
            stock.Executor, "_Validate", lambda self, inputs, outputs: remaining.pop(0)
        )

        def do(self, inputs, outputs, properties):
            for _ in splits:
                self._Validate({}, {})

        monkeypatch.setattr(stock.Executor, "Do", do)
        return ExampleValidatorExecutor().Do({}, {}, {})

    return run


def test_sound_examples_pass(validate):
    validate(anomalies(), anomalies())


def test_every_anomaly_of_every_split_is_named_once(validate):
    with pytest.raises(UserError) as error:
        validate(anomalies(a="A is bad."), anomalies(a="A is bad.", b="B, too."))
    message = str(error.value)
    assert message.count("a: A is bad.") == 1
    assert "b: B, too." in message


def test_an_anomaly_of_the_whole_data_set_counts(validate):
    result = anomalies()
    result.dataset_anomaly_info.description = "No examples."
    with pytest.raises(UserError, match="No examples"):
        validate(result)


def statistics(boxes, names):
    """Of three examples; tests see what TFDV makes of them with our schema."""
    columns = dict(zip(features.BOX, boxes, strict=True)) | {features.CLASS_TEXT: names}
    columns |= {
        features.IMAGE_FILENAME: ["a", "b", "c"],
        features.SOURCE_ID: ["a", "b", "c"],
        features.IMAGE_SHA256: ["1", "2", "3"],
        features.IMAGE_FORMAT: ["jpeg", "png", "jpeg"],
        features.IMAGE_HEIGHT: [1, 2, 3],
        features.IMAGE_WIDTH: [1, 2, 3],
    }
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame(columns))


GOOD_BOXES = [[0.0, 0.1, 0.2], [0.0, 0.1, 0.2], [0.5, 0.6, 1.0], [0.5, 0.6, 1.0]]


@pytest.mark.parametrize(
    ("boxes", "names", "feature"),
    [
        (GOOD_BOXES, ["cat", "dog", "cat"], None),
        (GOOD_BOXES, ["cat", "dog", "horse"], "image/object/class/text"),
        ([[0.0, -0.1, 0.2], *GOOD_BOXES[1:]], ["cat"] * 3, "image/object/bbox/ymin"),
        ([*GOOD_BOXES[:3], [0.5, 0.6, 1.1]], ["cat"] * 3, "image/object/bbox/xmax"),
    ],
)
@pytest.mark.slow
def test_what_the_schema_finds_wrong(boxes, names, feature):
    found = tfdv.validate_statistics(statistics(boxes, names), make_schema(["cat", "dog"]))
    assert list(found.anomaly_info) == ([feature] if feature else [])
    assert not found.HasField("dataset_anomaly_info")
