"""Opens the store that a location names."""

from pipeline.lineage.backend import Backend
from pipeline.lineage.mlmd_backend import MlmdBackend
from pipeline.metadata import store


def open_backend(location: str) -> Backend:
    """Opens a store for reading.

    Args:
      location: a SQLite file, mysql://user@host:port/database,
        postgresql://user@host:port/database, or vertex://PROJECT/LOCATION[/METADATASTORE].

    Raises:
      UserError: when there is none, it is empty, or it has another schema version.
    """
    if location.startswith("vertex://"):
        from pipeline.lineage.vertex_backend import VertexBackend  # loads Google's client

        return VertexBackend(location)
    connection = store.connection_config(location, read_only=True)
    return MlmdBackend(store.open_store(connection, read_only=True), store.describe(connection))
