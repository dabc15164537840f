"""The rehearsal's metadata: replaces Vertex ML Metadata with one JSON file."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from pipeline.vertex.results import Artifacts

_PARENT = "projects/rehearsal/locations/local/metadataStores/default/artifacts"
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.artifacts\['(\w+)'\]\.metadata\['(\w+)'\]\}\}")
_CONDITION = re.compile(r'([\w.]+)="?([^"]*)"?')


class RehearsalStore:
    """Artifacts in the order of their creation, and the outputs of finished tasks by cache key.

    An artifact is a dict of `name`, `schema_title`, `state`, `uri`, `type` (as in the component's
    definition), `metadata` and `pipeline`. Vertex AI's resolvers and cache look only at the
    artifacts of the same pipeline name, and so does this store.

    Args:
      path: of the file; it is read if it exists.
      pipeline: name of the pipeline.
    """

    def __init__(self, path: Path, pipeline: str):
        self._path = path
        self._pipeline = pipeline
        content = json.loads(path.read_text()) if path.exists() else {}
        self._artifacts: list[dict[str, Any]] = content.get("artifacts", [])
        self._cache: dict[str, dict[str, list[str]]] = content.get("cache", {})
        self._count = content.get("count", 0)

    def new_name(self) -> str:
        """A name that no other artifact has."""
        self._count += 1
        return f"{_PARENT}/{self._count}"

    def cached(self, key: str) -> Artifacts | None:
        """The outputs of an earlier task with this key; None if there is none."""
        names = self._cache.get(f"{self._pipeline} {key}")
        if names is None:
            return None
        by_name = {artifact["name"]: artifact for artifact in self._artifacts}
        return {output: [by_name[name] for name in listed] for output, listed in names.items()}

    def known(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """The latest artifact of the same type and place that has all of its metadata."""
        for artifact in reversed(self._artifacts):
            same = all(artifact[field] == wanted[field] for field in ("schema_title", "uri"))
            if same and wanted["metadata"].items() <= artifact["metadata"].items():
                return artifact
        return None

    def record(self, key: str, outputs: Artifacts) -> None:
        """Records the outputs of a task that has succeeded, under its cache key."""
        self._artifacts += [
            {**one, "pipeline": self._pipeline} for listed in outputs.values() for one in listed
        ]
        self._cache[f"{self._pipeline} {key}"] = {
            output: [one["name"] for one in listed] for output, listed in outputs.items()
        }
        self._save()

    def _save(self) -> None:
        content = {"artifacts": self._artifacts, "cache": self._cache, "count": self._count}
        temporary = self._path.with_suffix(".writing")
        temporary.write_text(json.dumps(content, indent=1))
        os.replace(temporary, self._path)

    def query(self, filter_text: str, inputs: Artifacts) -> list[dict[str, Any]]:
        """The latest artifact that matches a resolver's filter, or an empty list.

        Args:
          filter_text: conditions `field=value`, joined by AND.
          inputs: of the resolver, to fill the placeholders of the filter.
        """

        def fill(match: re.Match) -> str:
            artifacts = inputs[match[1]]
            return str(artifacts[0]["metadata"].get(match[2], "")) if artifacts else ""

        conditions = _conditions(_PLACEHOLDER.sub(fill, filter_text))
        for artifact in reversed(self._artifacts):
            if artifact.get("pipeline") == self._pipeline and all(
                _field(artifact, field) == value for field, value in conditions
            ):
                return [artifact]
        return []


def cache_key(*parts: Any) -> str:
    """Hex sha256 of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _conditions(text: str) -> list[tuple[str, str]]:
    conditions = []
    for condition in text.split(" AND "):
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise ValueError(f"Expected field=value in a resolver's filter. Received: {condition}")
        conditions.append((match[1], match[2]))
    return conditions


def _field(artifact: dict[str, Any], field: str) -> str | None:
    section, _, rest = field.partition(".")
    if section != "metadata":
        return artifact.get(section)
    key, _, kind = rest.partition(".")
    value = artifact["metadata"].get(key)
    if kind == "number_value" and isinstance(value, (int, float)):
        return f"{value:g}"
    return value
