"""Questions about models, answered from ML Metadata. Imports neither TensorFlow nor TFX.

`python -m pipeline.lineage` is the command line; in Python:

    backend = open_backend("workdir/metadata.sqlite")
    trace(backend, "workdir/pushed/latest")

Every answer is a dataclass whose `to_json` is what the command prints with --json. Nothing here
writes to a store.
"""

from pipeline.lineage.backend import Backend
from pipeline.lineage.diff import diff
from pipeline.lineage.impact import impact
from pipeline.lineage.open_backend import open_backend
from pipeline.lineage.runs import runs
from pipeline.lineage.trace import trace
from pipeline.lineage.verify import verify
from pipeline.lineage.why import why

__all__ = ["Backend", "diff", "impact", "open_backend", "runs", "trace", "verify", "why"]
