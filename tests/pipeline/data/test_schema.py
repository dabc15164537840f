import pytest
from google.protobuf import text_format

from pipeline import features
from pipeline.data.schema import class_names_of, load_schema, make_schema
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT


def test_classes_keep_their_order():
    assert class_names_of(make_schema(["rabbit", "cat", "dog"])) == ["rabbit", "cat", "dog"]


def test_objects_are_ragged_and_the_rest_scalar():
    representations = make_schema(["cat"]).tensor_representation_group[""].tensor_representation
    for name in (*features.BOX, features.CLASS_TEXT, *features.FLAGS):
        assert representations[name].HasField("ragged_tensor"), name
    for name in features.REQUIRED:
        assert representations[name].HasField("dense_tensor"), name


@pytest.mark.parametrize("names", [[], ["cat", "dog", "cat"]])
def test_no_class_or_one_twice_is_rejected(names):
    with pytest.raises(UserError, match="at least one class, and each only once"):
        make_schema(names)


def test_a_class_with_a_line_break_is_rejected():
    schema = make_schema(["cat", "fat\ncat"])
    with pytest.raises(UserError, match=r"a schema with 'fat\\ncat'"):
        class_names_of(schema)


def test_a_domain_may_be_inside_its_feature():
    schema = make_schema(["cat"])
    (feature,) = (feature for feature in schema.feature if feature.name == features.CLASS_TEXT)
    feature.string_domain.value[:] = ["a", "b"]
    del schema.string_domain[:]
    assert class_names_of(schema) == ["a", "b"]


def test_a_schema_without_classes_is_rejected():
    schema = make_schema(["cat"])
    del schema.string_domain[:]
    with pytest.raises(UserError, match="which lists the classes"):
        class_names_of(schema)


@pytest.mark.parametrize(("name", "count"), [("demo", 3), ("oxford_iiit_pets", 37)])
def test_curated_schemas_are_of_the_same_kind_as_inferred_ones(name, count):
    schema = load_schema(str(ROOT / "schema" / name))
    names = class_names_of(schema)
    assert len(names) >= count
    assert len(set(names)) == len(names)
    assert text_format.MessageToString(schema) == text_format.MessageToString(make_schema(names))


@pytest.mark.parametrize("content", [None, "feature { nonsense", ""])
def test_an_unreadable_schema_gives_a_one_line_error(tmp_path, content):
    if content is not None:
        (tmp_path / "schema.pbtxt").write_text(content)
    with pytest.raises(UserError) as error:
        load_schema(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_schema_from_before_the_flags_gets_them(tmp_path):
    schema = make_schema(["cat"])
    representations = schema.tensor_representation_group[""].tensor_representation
    for name in features.FLAGS:
        del representations[name]
        schema.feature.remove(next(old for old in schema.feature if old.name == name))
    (tmp_path / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    assert load_schema(str(tmp_path)) == make_schema(["cat"])
