"""The rehearsal's metadata: stands in for Vertex ML Metadata, in one JSON file."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

_PARENT = "projects/rehearsal/locations/local/metadataStores/default/artifacts"
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.artifacts\['(\w+)'\]\.metadata\['(\w+)'\]\}\}")
_CONDITION = re.compile(r'([\w.]+)="?([^"]*)"?')


class RehearsalStore:
    """Artifacts in the order of their creation, and the outputs of finished tasks by cache key.

    An artifact is a dict of `name`, `schema_title`, `state`, `uri`, `type` (as in the component's
    definition) and `metadata`.

    Args:
      path: of the file; it is read when it exists.
    """

    def __init__(self, path: Path):
        self._path = path
        content = json.loads(path.read_text()) if path.exists() else {}
        self._artifacts: list[dict[str, Any]] = content.get("artifacts", [])
        self._cache: dict[str, dict[str, list[str]]] = content.get("cache", {})
        self._count = content.get("count", 0)

    def new_name(self) -> str:
        """A name that no artifact has."""
        self._count += 1
        return f"{_PARENT}/{self._count}"

    def add(self, artifacts: list[dict[str, Any]]) -> None:
        """Records artifacts whose task has succeeded."""
        self._artifacts += artifacts

    def cached(self, key: str) -> dict[str, list[dict[str, Any]]] | None:
        """The outputs of an earlier task of this key, by output; None when there is none."""
        names = self._cache.get(key)
        if names is None:
            return None
        by_name = {artifact["name"]: artifact for artifact in self._artifacts}
        return {output: [by_name[name] for name in listed] for output, listed in names.items()}

    def remember(self, key: str, outputs: dict[str, list[dict[str, Any]]]) -> None:
        """Makes the outputs of a task available to later tasks of the same key."""
        self._cache[key] = {
            output: [artifact["name"] for artifact in listed] for output, listed in outputs.items()
        }

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        content = {"artifacts": self._artifacts, "cache": self._cache, "count": self._count}
        temporary = self._path.with_suffix(".writing")
        temporary.write_text(json.dumps(content, indent=1))
        os.replace(temporary, self._path)

    def query(
        self, filter_text: str, inputs: dict[str, list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """The latest artifact that a resolver's filter describes; none when there is none.

        Args:
          filter_text: conditions `field=value`, joined by AND.
          inputs: of the resolver, for the placeholders in the filter.
        """

        def fill(match: re.Match) -> str:
            artifacts = inputs[match[1]]
            return str(artifacts[0]["metadata"].get(match[2], "")) if artifacts else ""

        conditions = _conditions(_PLACEHOLDER.sub(fill, filter_text))
        for artifact in reversed(self._artifacts):
            if all(_field(artifact, field) == value for field, value in conditions):
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
