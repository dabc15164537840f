"""Connections to ML Metadata stores. Imports neither TensorFlow nor TFX."""

import os

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.errors import UserError

# A context of this type names the store: its pipeline roots carry the same name.
IDENTITY_TYPE = "detector_store"


def connection_config(location: str) -> metadata_store_pb2.ConnectionConfig:
    """Where a store is.

    Args:
      location: path of a SQLite file, which is made if need be.

    Raises:
      UserError: when it can't be one.
    """
    if "://" in location:
        raise UserError(
            f"Expected the path of a SQLite file. Received: {location}. "
            "Other metadata stores are not supported."
        )
    path = os.path.abspath(location)
    if os.path.isdir(path):
        raise UserError(f"Expected the path of a SQLite file. Received: {path}, a folder.")
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as file:
            if file.read(15) != b"SQLite format 3":
                raise UserError(
                    f"Expected a SQLite file. Received: {path}, which is something else. "
                    "Name another file, or one that does not exist yet."
                )
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    config.sqlite.connection_mode = (
        metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    )
    return config


def open_store(config: metadata_store_pb2.ConnectionConfig) -> metadata_store.MetadataStore:
    """Opens a store; one that does not exist yet is made."""
    if config.WhichOneof("config") == "sqlite":
        os.makedirs(os.path.dirname(config.sqlite.filename_uri), exist_ok=True)
    return metadata_store.MetadataStore(config)


def identity(store: metadata_store.MetadataStore, proposal: str) -> str:
    """The store's name; `proposal` becomes it when it has none yet."""
    contexts = _contexts_of_type(store, IDENTITY_TYPE)
    if contexts:
        return contexts[0].name
    type_id = store.put_context_type(metadata_store_pb2.ContextType(name=IDENTITY_TYPE))
    store.put_contexts([metadata_store_pb2.Context(type_id=type_id, name=proposal)])
    return proposal


def _contexts_of_type(store: metadata_store.MetadataStore, name: str) -> list:
    known = {context_type.name for context_type in store.get_context_types()}
    return store.get_contexts_by_type(name) if name in known else []
