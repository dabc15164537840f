"""Questions about models, answered from ML Metadata. Imports neither TensorFlow nor TFX.

`python -m pipeline.lineage` is the command line; in Python:

    backend = open_backend("workdir/metadata.sqlite")
    trace(backend, "workdir/pushed/latest")

Every answer is a dataclass whose `to_json` is what the command prints with --json. Nothing here
writes to a store.
"""

from pathlib import Path

from pipeline.lineage.backend import Backend
from pipeline.lineage.diff import diff
from pipeline.lineage.impact import impact
from pipeline.lineage.mlmd_backend import MlmdBackend
from pipeline.lineage.runs import runs
from pipeline.lineage.trace import trace
from pipeline.lineage.verify import verify
from pipeline.lineage.why import why
from pipeline.metadata import store
from pipeline.metadata.relocation import last_place

__all__ = ["Backend", "diff", "impact", "open_backend", "runs", "trace", "verify", "why"]


def open_backend(location: str) -> Backend:
    """Opens a store for reading.

    Args:
      location: a SQLite file, mysql://user@host:port/database,
        postgresql://user@host:port/database, or vertex://PROJECT/LOCATION[/METADATASTORE].

    Raises:
      UserError: there is no store, it is empty, or it has another schema version.
    """
    if location.startswith("vertex://"):
        from pipeline.lineage.vertex_backend import VertexBackend  # loads Google's client

        return VertexBackend(location)
    connection = store.connection_config(location, read_only=True)
    opened = store.open_store(connection, read_only=True)
    return MlmdBackend(opened, store.describe(connection), moved=_move_of(location))


def _move_of(location: str) -> tuple[str, str] | None:
    """Where the workdir around a SQLite file was in its last run, and is; None if it stayed."""
    if "://" in location:
        return None
    root = Path(location).absolute().parent
    before = last_place(root / "pipeline_root")
    return (before, str(root)) if before not in (None, str(root)) else None
