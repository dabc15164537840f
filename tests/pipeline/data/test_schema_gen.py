import pytest
from google.protobuf import text_format
from tfx.types import standard_artifacts

from pipeline import features
from pipeline.data import schema_gen
from pipeline.data.schema import class_names_of, load_schema, make_schema
from pipeline.errors import UserError


@pytest.fixture
def infer(statistics_of, tmp_path):
    """Infers a schema from the class names in the splits; returns its folder."""

    def run(**splits):
        columns = {
            split: {features.CLASS_TEXT: names} if names else {"other": [1, 2]}
            for split, names in splits.items()
        }
        schema = standard_artifacts.Schema()
        schema.uri = str(tmp_path / "schema")
        (tmp_path / "schema").mkdir()
        inputs = {"statistics": [statistics_of(**columns)]}
        schema_gen.SchemaGenExecutor().Do(inputs, {"schema": [schema]}, {})
        return schema.uri

    return run


def test_the_classes_of_all_splits_are_in_alphabetical_order(infer):
    folder = infer(train=["dog", "cat", "dog"], eval=["rabbit", "cat"])
    schema = load_schema(folder)
    assert class_names_of(schema) == ["cat", "dog", "rabbit"]
    expected = make_schema(["cat", "dog", "rabbit"])
    assert text_format.MessageToString(schema) == text_format.MessageToString(expected)


def test_images_without_objects_are_rejected(infer):
    with pytest.raises(UserError, match=r"labelled objects.*without a single object"):
        infer(train=[], eval=[])


def test_too_many_classes_are_rejected(infer, monkeypatch):
    monkeypatch.setattr(schema_gen, "MAX_CLASSES", 3)
    with pytest.raises(UserError, match=r"at most 3 classes.*more, in 8 objects"):
        infer(train=["a", "b", "c", "d"], eval=["e", "f", "g", "h"])
