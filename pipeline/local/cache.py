"""TFX's cache in a workdir: it follows a workdir that is moved, and reuses only unchanged files.

TFX's cache keys contain the paths of the inputs and the time of their last update in ML Metadata,
and a cached result counts as long as its folder exists. Its launcher offers no place to step in, so
this replaces the two functions that decide this.
"""

import contextlib
import copy
import itertools
from collections.abc import Iterator
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.portable import cache_utils
from tfx.types import artifact_utils

from pipeline.local.console import say
from pipeline.metadata.facts import damage, read_record
from pipeline.metadata.relocation import replace_folder, replace_in_artifact
from pipeline.metadata.store import open_store

_WORKDIR = "<workdir>"


@contextlib.contextmanager
def careful_cache(connection: metadata_store_pb2.ConnectionConfig, root: Path) -> Iterator[None]:
    """Within this context, TFX's cache behaves as the module says.

    Args:
      connection: to the metadata store.
      root: of the workdir.
    """
    original = cache_utils.get_cache_context, artifact_utils.verify_artifacts
    damages = set()

    def portable(artifact):
        artifact = copy.deepcopy(artifact)
        replace_in_artifact(artifact.mlmd_artifact, str(root), _WORKDIR)
        artifact.mlmd_artifact.ClearField("last_update_time_since_epoch")
        return artifact

    def get_cache_context(*, input_artifacts=None, parameters=None, **others):
        inputs = {
            channel: [portable(artifact) for artifact in artifacts]
            for channel, artifacts in (input_artifacts or {}).items()
        }
        values = {
            name: replace_folder(str(value), str(root), _WORKDIR)
            for name, value in (parameters or {}).items()
        }
        return original[0](input_artifacts=inputs, parameters=values, **others)

    def verify_artifacts(outputs):
        store = open_store(connection)
        for artifact in itertools.chain.from_iterable(outputs.values()):
            found = damage(store, artifact.id, artifact.uri)
            if found is None and read_record(store, "files", str(artifact.id)) is None:
                found = f"the run that made {artifact.uri} was killed before it was recorded"
            if found is not None:
                if found not in damages:  # several executions may have reused it
                    say(f"  {found}: not reused")
                damages.add(found)
                raise RuntimeError(found)  # TFX goes on to the next execution

    cache_utils.get_cache_context = get_cache_context
    artifact_utils.verify_artifacts = verify_artifacts
    try:
        yield
    finally:
        cache_utils.get_cache_context, artifact_utils.verify_artifacts = original
