"""What ML Metadata 1.16 can't do on PostgreSQL, and a pipeline needs.

Texts of more than 2,704 bytes: it indexes properties whole, where PostgreSQL sets that limit. A
schema of some dozens of classes is longer, and a record of the environment.

Texts with a backslash: it writes such a one as 'E'...'', which is a syntax error. JSON has them
wherever a text has quotes in it, such as TFMA's EvalConfig with the settings of a metric.
"""

import contextlib
import functools

from google.protobuf.message import Message
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.metadata.database import connect

_KINDS = ("artifact", "execution", "context")
# As many characters as ML Metadata's own indexes have on MySQL.
_INDEXED = 255
# Stands for a backslash in the database: of the private use area, where no text has anything.
_BACKSLASH = "\uf05c"


def prepare(config: metadata_store_pb2.ConnectionConfig) -> None:
    """Makes an ML Metadata store on PostgreSQL take texts of any length.

    Nothing here asks for properties by their values. The indexes keep their names: ML Metadata goes
    on as if they were its own.
    """
    with contextlib.closing(connect(config)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() "
            "AND indexname LIKE 'idx_%_property_string' AND indexdef NOT LIKE '%left%'"
        )
        whole = {row[0] for row in cursor.fetchall()}
        for kind in _KINDS:
            index = f"idx_{kind}_property_string"
            if index in whole:
                cursor.execute(f"DROP INDEX {index}")
                cursor.execute(
                    f"CREATE INDEX {index} ON {kind}property "
                    f'(name, is_custom_property, "left"(string_value, {_INDEXED}))'
                )
        connection.commit()


def let_backslashes_through() -> None:
    """From now on, every store on PostgreSQL that this process opens takes backslashes.

    TFX opens stores of its own, so it is ML Metadata's class that learns it. Other stores are
    called as before.
    """
    original = metadata_store.MetadataStore._pywrap_cc_call
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def call(self, method, request, response):
        if not isinstance(self._config, metadata_store_pb2.ConnectionConfig) or (
            not self._config.HasField("postgresql")
        ):
            return original(self, method, request, response)
        sent = type(request).FromString(request.SerializeToString())
        replace(sent, "\\", _BACKSLASH)
        result = original(self, method, sent, response)
        replace(response, _BACKSLASH, "\\")
        return result

    metadata_store.MetadataStore._pywrap_cc_call = call


def replace(message: Message, old: str, new: str) -> None:
    """Replaces a character in every text of a message and of the messages in it."""
    if old.encode() not in message.SerializeToString():
        return
    for field, value in message.ListFields():
        is_text = field.type == field.TYPE_STRING
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            texts = field.message_type.fields_by_name["value"].type == field.TYPE_STRING
            for name in list(value):
                if texts:
                    value[name] = value[name].replace(old, new)
                elif isinstance(value[name], Message):
                    replace(value[name], old, new)
        elif field.label == field.LABEL_REPEATED:
            for number, item in enumerate(value):
                if is_text:
                    value[number] = item.replace(old, new)
                elif isinstance(item, Message):
                    replace(item, old, new)
        elif is_text:
            setattr(message, field.name, value.replace(old, new))
        elif isinstance(value, Message):
            replace(value, old, new)
