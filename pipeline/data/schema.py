"""The schema: what an example must look like, and the one list of classes.

A curated schema is a folder with `schema.pbtxt` under `schema/`. The string_domain of
`image/object/class/text` is the list of classes; a class's position in it is its id, everywhere.
"""

import os
from collections.abc import Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from models.labels import is_fit
from pipeline import features
from pipeline.errors import UserError
from pipeline.files import SCHEMA_FILE

CLASS_DOMAIN = "classes"
_BYTES, _INT, _FLOAT = schema_pb2.BYTES, schema_pb2.INT, schema_pb2.FLOAT
_FORMATS = ("jpeg", "png")


def make_schema(class_names: Sequence[str]) -> schema_pb2.Schema:
    """The schema of raw detection examples with the given classes, in this order.

    Raises:
      UserError: without classes, or with one twice.
    """
    if not class_names or len(set(class_names)) != len(class_names):
        raise UserError(
            "Expected at least one class, and each only once. "
            f"Received: {list(class_names)}. Do the images have labelled objects?"
        )
    schema = schema_pb2.Schema()
    schema.string_domain.add(name=CLASS_DOMAIN, value=list(class_names))
    schema.string_domain.add(name="formats", value=_FORMATS)
    representations = schema.tensor_representation_group[""].tensor_representation

    def required(name: str, kind: int) -> schema_pb2.Feature:
        feature = schema.feature.add(name=name, type=kind)
        feature.presence.min_fraction = 1.0
        feature.shape.SetInParent()  # a scalar
        representations[name].dense_tensor.column_name = name
        representations[name].dense_tensor.shape.SetInParent()
        return feature

    # ExampleGen ensures that every example has a picture, but StatisticsGen leaves out its bytes:
    # requiring their presence here, or a shape, would be an anomaly.
    picture = required(features.IMAGE_ENCODED, _BYTES)
    picture.ClearField("presence")
    picture.ClearField("shape")
    for name in (features.IMAGE_FILENAME, features.SOURCE_ID, features.IMAGE_SHA256):
        required(name, _BYTES)
    required(features.IMAGE_FORMAT, _BYTES).domain = "formats"
    for name in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH):
        required(name, _INT).int_domain.min = 1
    for name in features.BOX:
        feature = _of_objects(schema, name, _FLOAT)
        feature.float_domain.min, feature.float_domain.max = 0.0, 1.0
        feature.float_domain.disallow_nan = True
    _of_objects(schema, features.CLASS_TEXT, _BYTES).domain = CLASS_DOMAIN
    _add_flags(schema)
    return schema


def _add_flags(schema: schema_pb2.Schema) -> None:
    """Adds the flags of objects, if an older schema does not have them."""
    known = {feature.name for feature in schema.feature}
    for name in features.FLAGS:
        if name not in known:
            _of_objects(schema, name, _INT).int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=1))


def _of_objects(schema: schema_pb2.Schema, name: str, kind: int) -> schema_pb2.Feature:
    # Absent, or empty, in an image without objects.
    feature = schema.feature.add(name=name, type=kind)
    representations = schema.tensor_representation_group[""].tensor_representation
    representations[name].ragged_tensor.feature_path.step.append(name)
    return feature


def class_names_of(schema: schema_pb2.Schema) -> list[str]:
    """The classes of a schema; a class's position is its id.

    Raises:
      UserError: when the schema has no list of classes, or one of them has a line break.
    """
    domain = None
    for feature in schema.feature:
        if feature.name == features.CLASS_TEXT:
            domain = feature.string_domain if feature.HasField("string_domain") else None
            for candidate in schema.string_domain:
                if feature.domain and candidate.name == feature.domain:
                    domain = candidate
    if domain is None or not domain.value:
        raise UserError(
            f"Expected a schema with a string_domain for {features.CLASS_TEXT}, which lists the "
            "classes. Received: one without. Compare it with schema/demo/schema.pbtxt."
        )
    unfit = [name for name in domain.value if not is_fit(name)]
    if unfit:
        raise UserError(
            "Expected classes without line breaks and control characters, which would break a "
            f"label file. Received: a schema with {unfit[0]!r}. Rename the class."
        )
    return list(domain.value)


def load_schema(folder: str) -> schema_pb2.Schema:
    """Reads a curated schema, and adds the flags of objects if it is older than they are.

    Args:
      folder: holds `schema.pbtxt`.

    Raises:
      UserError: when it is missing or unreadable, or lists no classes.
    """
    path = os.path.join(folder, SCHEMA_FILE)
    try:
        schema = tfdv.load_schema_text(path)
    except Exception as error:  # whatever its file system and parser raise
        raise UserError(
            f"Expected a folder with a {SCHEMA_FILE}. Received: {folder} ({error}). "
            "Leave --schema out to infer a schema from the data."
        ) from error
    class_names_of(schema)
    _add_flags(schema)
    return schema
