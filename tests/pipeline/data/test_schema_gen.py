import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tfx.types import artifact_utils, standard_artifacts

from pipeline import features
from pipeline.data import schema_gen
from pipeline.data.schema import class_names_of, load_schema, make_schema
from pipeline.errors import UserError


class Statistics:
    """Of one split."""

    def __init__(self, names):
        column = {features.CLASS_TEXT: names} if names else {"other": [1, 2]}
        self._proto = tfdv.generate_statistics_from_dataframe(pd.DataFrame(column))

    def proto(self):
        return self._proto


@pytest.fixture
def infer(tmp_path, monkeypatch):
    """Infers a schema from the class names of the splits; gives the folder."""

    def run(**splits):
        monkeypatch.setattr(
            schema_gen.stats_artifact_utils,
            "load_statistics",
            lambda artifact, split: Statistics(splits[split]),
        )
        statistics, schema = standard_artifacts.ExampleStatistics(), standard_artifacts.Schema()
        statistics.split_names = artifact_utils.encode_split_names(list(splits))
        statistics.uri, schema.uri = str(tmp_path / "statistics"), str(tmp_path / "schema")
        (tmp_path / "schema").mkdir()
        schema_gen.SchemaGenExecutor().Do({"statistics": [statistics]}, {"schema": [schema]}, {})
        return schema.uri

    return run


@pytest.mark.slow
def test_classes_of_all_splits_in_alphabetical_order(infer):
    folder = infer(train=["dog", "cat", "dog"], eval=["rabbit", "cat"])
    schema = load_schema(folder)
    assert class_names_of(schema) == ["cat", "dog", "rabbit"]
    expected = make_schema(["cat", "dog", "rabbit"])
    assert text_format.MessageToString(schema) == text_format.MessageToString(expected)


@pytest.mark.slow
def test_images_without_objects_are_named_as_such(infer):
    with pytest.raises(UserError, match=r"labelled objects.*without a single object"):
        infer(train=[], eval=[])


@pytest.mark.slow
def test_too_many_classes_are_an_error(infer, monkeypatch):
    monkeypatch.setattr(schema_gen, "MAX_CLASSES", 3)
    with pytest.raises(UserError, match=r"at most 3 classes.*more, in 8 objects"):
        infer(train=["a", "b", "c", "d"], eval=["e", "f", "g", "h"])
