"""Opens the store that a location names."""

from pipeline import store
from pipeline.lineage.backend import Backend
from pipeline.lineage.mlmd_backend import MlmdBackend


def open_backend(location: str) -> Backend:
    """Opens a store for reading.

    Args:
      location: a SQLite file, mysql://user@host:port/database or
        postgresql://user@host:port/database.

    Raises:
      UserError: when there is none, it is empty, or it has another schema version.
    """
    connection = store.connection_config(location, read_only=True)
    return MlmdBackend(store.open_store(connection), store.describe(connection))
