"""Publishers: a version appears whole or not at all, and `latest` always names a whole one.

    <destination>/<version>/    detect.tflite, labels.txt, manifest.json
    <destination>/latest        names the newest version

Versions count up from 1. Publishing what is already the latest, as after a crash of the pipeline
between the push and its record, makes no second version of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

FileFacts = dict[str, dict[str, Any]]
"""{name: {"sha256": hex digest, "size_bytes": size}}, as in `pipeline.files.hash_files`."""


@dataclasses.dataclass(frozen=True)
class Published:
    """A version in its place.

    Attributes:
      path: its folder or URL.
      version: its number, in decimals; later versions are greater.
      files: facts about its files, except the manifest.
      manifest: content of its manifest.json.
    """

    path: str
    version: str
    files: FileFacts
    manifest: bytes


class Publisher(Protocol):
    """A place to publish versions."""

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """Publishes a new version and makes it the latest, unless the latest has these files.

        If this raises, `latest` is what it was, or it is the new version, whole.

        Args:
          files: contents by name.
          manifest: facts for manifest.json; `version` and `files` are added to them.

        Returns:
          The new version, or the latest one where that has the same files; its manifest then stays
          as it is.
        """


def file_facts(files: Mapping[str, bytes]) -> FileFacts:
    """What a manifest says about files, given their contents by name."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    }


def manifest_content(manifest: Mapping[str, Any], version: str, files: FileFacts) -> bytes:
    """Content of manifest.json."""
    facts = {**manifest, "version": version, "files": files}
    return (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()
