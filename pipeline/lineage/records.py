"""Artifacts, executions, events and runs, as every store gives them."""

import datetime
import functools
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

NodeId = int | str
"""An ML Metadata id, or the last part of a Vertex resource name."""

COMPLETE, CACHED, FAILED, RUNNING = "complete", "cached", "failed", "running"

# The ids of the pipeline's components, which its component classes end in.
_NODES = (
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "TFLiteRewriter",
    "Evaluator",
    "DeviceCheck",
    "Pusher",
)
_OTHER_NODES = {"Importer": "WarmStart", "Resolver": "LatestBlessedModel"}


class Artifact(NamedTuple):
    """An artifact.

    Attributes:
      id: in its store.
      type: such as "Examples".
      uri: of its files.
      created_ms: since the epoch.
      properties: declared and custom ones; JSON texts are parsed.
    """

    id: NodeId
    type: str
    uri: str
    created_ms: int
    properties: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "type": self.type,
            "uri": self.uri,
            "created": iso(self.created_ms),
            "properties": dict(sorted(self.properties.items())),
        }


class Execution(NamedTuple):
    """An execution of a component.

    Attributes:
      id: in its store.
      type: name of the component's class.
      state: COMPLETE, CACHED, FAILED or RUNNING; the last one also when its process died.
      started_ms: since the epoch.
      finished_ms: likewise; of its last update.
      properties: declared and custom ones; JSON texts are parsed.
    """

    id: NodeId
    type: str
    state: str
    started_ms: int
    finished_ms: int
    properties: Mapping[str, Any]

    @property
    def node(self) -> str:
        """The component's id in this pipeline; of a foreign one the name of its class."""
        return _node(self.type)

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return 0.0 if self.state == CACHED else (self.finished_ms - self.started_ms) / 1000

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "type": self.type,
            "node": self.node,
            "state": self.state,
            "started": iso(self.started_ms),
            "seconds": round(self.seconds, 3),
            "properties": dict(sorted(self.properties.items())),
        }


@functools.cache
def _node(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    known = next((node for node in _NODES if name.endswith(node)), name)
    return _OTHER_NODES.get(name, known)


class Event(NamedTuple):
    """An input or output of an execution, under the name of its channel."""

    execution: NodeId
    artifact: NodeId
    is_output: bool
    channel: str


class Run(NamedTuple):
    """A run: its name, its context's id, when it began, and the facts recorded of it.

    The facts are those of `pipeline.metadata.run_facts`; a run of before it was recorded has none.
    """

    name: str
    context: NodeId
    created_ms: int
    facts: Mapping[str, Any]


def iso(milliseconds: int | None) -> str | None:
    """Milliseconds since the epoch as UTC in ISO 8601."""
    if not milliseconds:
        return None
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")


def parsed(value: Any) -> Any:
    """A property's value; JSON objects and lists in text are read."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def local_path(uri: str) -> str | None:
    """The path of a uri on this machine; None for object stores."""
    if uri.startswith("file://"):
        return uri[len("file://") :]
    return None if "://" in uri else os.path.abspath(uri)
