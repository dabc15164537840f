"""Paths in ML Metadata below a folder: what changes when that folder is moved.

Imports neither TensorFlow nor TFX.
"""

import os
import re
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

# In a workdir's pipeline root: the name of its store, and where the workdir was in its last run.
MARKER = "metadata_store"


def last_place(pipeline_root: Path) -> str | None:
    """Where the workdir of a pipeline root was in its last run; None if nothing says so."""
    try:
        lines = (pipeline_root / MARKER).read_text().splitlines()
    except (OSError, ValueError):
        return None
    return lines[1] if len(lines) > 1 else None


def replace_folder(text: str, old: str, new: str) -> str:
    """Replaces a folder's path in a text, not the beginning of another folder's."""
    return re.sub(rf"(?<![\w.-]){re.escape(old)}(?![^/\\\"'])", lambda _: new, text)


def replace_in_artifact(artifact: mlmd.Artifact, old: str, new: str) -> None:
    """Replaces a folder's path in an artifact's uri and properties, in place."""
    artifact.uri = replace_folder(artifact.uri, old, new)
    for properties in (artifact.properties, artifact.custom_properties):
        for name in properties:
            if properties[name].WhichOneof("value") == "string_value":
                text = properties[name].string_value
                properties[name].string_value = replace_folder(text, old, new)


def follow(store: metadata_store.MetadataStore, old: str, new: str) -> int:
    """Rewrites the paths of all artifacts below a folder that was moved.

    Args:
      store: holds the artifacts.
      old: where the folder was.
      new: where it is.

    Returns:
      The number of artifacts that have other paths now.
    """
    moved = []
    for artifact in store.get_artifacts():
        before = artifact.SerializeToString(deterministic=True)
        replace_in_artifact(artifact, os.fspath(old), os.fspath(new))
        if artifact.SerializeToString(deterministic=True) != before:
            moved.append(artifact)
    store.put_artifacts(moved)
    return len(moved)
