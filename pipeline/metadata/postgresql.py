"""Backslashes in texts on PostgreSQL, which ML Metadata cannot write, up to 1.21.

It quotes such a text as 'E'...'', which is a syntax error, and JSON has backslashes wherever a text
contains quotes, such as TFMA's EvalConfig with the settings of a metric. TFX opens stores itself
and offers no place to step in, so this replaces a private method of ML Metadata's own class.
tests/pipeline/metadata/test_postgresql.py fails once a new version writes backslashes: then this
file can go.
"""

import functools
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

# Stands for a backslash in the database. It is in Unicode's private use area: no text contains it.
_STAND_IN = "\uf05c"


@functools.cache
def let_backslashes_through() -> None:
    """From now on, every store on PostgreSQL that this process opens takes backslashes.

    Calls to other stores stay as they were.
    """
    original = metadata_store.MetadataStore._pywrap_cc_call

    @functools.wraps(original)
    def call(self, method, request, response):
        config = self._config
        if not isinstance(config, mlmd.ConnectionConfig) or not config.HasField("postgresql"):
            return original(self, method, request, response)
        sent = type(request)()
        sent.CopyFrom(request)
        _replace(sent, "\\", _STAND_IN)
        result = original(self, method, sent, response)
        _replace(response, _STAND_IN, "\\")
        return result

    metadata_store.MetadataStore._pywrap_cc_call = call


def _replace(message: Message, old: str, new: str) -> None:
    """Replaces a character in all texts of a message."""
    if old.encode() in message.SerializeToString():
        plain = json_format.MessageToDict(message)
        message.Clear()
        json_format.ParseDict(_replaced(plain, old, new), message)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item, old, new) for name, item in value.items()}
    return value
