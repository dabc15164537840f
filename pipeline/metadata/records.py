"""Artifacts, executions, events and runs as plain records, from whatever store they come.

Summaries and lineage both build on these. Imports neither TensorFlow nor TFX.
"""

import dataclasses
import datetime
import functools
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as mlmd

NodeId = int | str
"""An ML Metadata id, or the last part of a Vertex resource name."""

KILLED = "killed"
"""The property of an execution that was found without its process; nobody knows when it ended."""

# TFX's type of the contexts that hold a run's executions.
RUN_CONTEXT = "pipeline_run"

COMPLETE, CACHED, FAILED, RUNNING = "complete", "cached", "failed", "running"
NO_ORIGIN = {"commit": None, "dirty": None, "host": None, "user": None}
_STATES = {
    mlmd.Execution.COMPLETE: COMPLETE,
    mlmd.Execution.CACHED: CACHED,
    mlmd.Execution.FAILED: FAILED,
    mlmd.Execution.CANCELED: FAILED,
}
_OUTPUTS = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT, mlmd.Event.INTERNAL_OUTPUT)

# The ids of the pipeline's components; the names of their classes end in them.
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
    "Report",
)
_OTHER_NODES = {"Importer": "WarmStart", "Resolver": "LatestBlessedModel"}


class _Stored:
    """A node of which the properties are read when they are asked for: most never are."""

    @classmethod
    def of(cls, message: "mlmd.Artifact | mlmd.Execution", **fields: Any):
        """A node with these fields, and the properties of an ML Metadata message."""
        node = cls.__new__(cls)
        node.__dict__.update(fields, _message=message)
        return node

    def __getattr__(self, name: str) -> Any:  # of what is not in __dict__
        if name != "properties" or "_message" not in self.__dict__:
            raise AttributeError(name)
        self.__dict__[name] = _properties(self.__dict__["_message"])
        return self.__dict__[name]


@dataclasses.dataclass(frozen=True)
class Artifact(_Stored):
    """An artifact.

    Attributes:
      id: in its store.
      type: such as "Examples".
      uri: where its files are.
      properties: declared and custom ones; JSON in strings is parsed.
      created_ms: since the epoch; 0 if unknown.
    """

    id: NodeId
    type: str
    uri: str
    properties: Mapping[str, Any]
    created_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "type": self.type,
            "uri": self.uri,
            "created": iso(self.created_ms),
            "properties": self.properties,
        }


@dataclasses.dataclass(frozen=True)
class Execution(_Stored):
    """An execution of a component.

    Attributes:
      id: in its store.
      type: name of the component's class.
      state: COMPLETE, CACHED, FAILED or RUNNING; RUNNING also if its process died, until the next
        run in its workdir.
      started_ms: since the epoch.
      finished_ms: time of the last update, since the epoch; the start if its process died.
      properties: declared and custom ones; JSON in strings is parsed.
    """

    id: NodeId
    type: str
    state: str
    started_ms: int
    finished_ms: int
    properties: Mapping[str, Any]

    @property
    def node(self) -> str:
        """The component's id in this pipeline; for other pipelines the name of its class."""
        return node_of(self.type)

    @property
    def seconds(self) -> float:
        """How long it ran; 0 if it was cached."""
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
            "properties": self.properties,
        }


@functools.cache
def node_of(type_name: str) -> str:
    """The id of a component, by the name of its class."""
    name = type_name.rpartition(".")[2]
    known = next((node for node in _NODES if name.endswith(node)), name)
    return _OTHER_NODES.get(name, known)


class Event(NamedTuple):
    """An input or output of an execution; `channel` is its name there."""

    execution: NodeId
    artifact: NodeId
    is_output: bool
    channel: str


@dataclasses.dataclass(frozen=True)
class Run:
    """A pipeline run.

    Attributes:
      name: the run's id.
      context: id of its context in the store.
      created_ms: when it began, since the epoch.
      facts: see `pipeline.metadata.facts`; empty if none were recorded.
    """

    name: str
    context: NodeId
    created_ms: int
    facts: Mapping[str, Any]

    @property
    def origin(self) -> dict[str, Any]:
        """commit, dirty, host and user, see `pipeline.metadata.origin`; None if not recorded."""
        return {**NO_ORIGIN, **self.facts.get("origin", {})}


def to_artifact(artifact: mlmd.Artifact) -> Artifact:
    """The record of an ML Metadata artifact."""
    return Artifact.of(
        artifact,
        id=artifact.id,
        type=artifact.type,
        uri=artifact.uri,
        created_ms=artifact.create_time_since_epoch,
    )


def to_execution(execution: mlmd.Execution) -> Execution:
    """The record of an ML Metadata execution."""
    started, updated = execution.create_time_since_epoch, execution.last_update_time_since_epoch
    return Execution.of(
        execution,
        id=execution.id,
        type=execution.type,
        state=_STATES.get(execution.last_known_state, RUNNING),
        started_ms=started,
        finished_ms=started if KILLED in execution.custom_properties else updated,
    )


def to_event(event: mlmd.Event) -> Event:
    """The record of an ML Metadata event."""
    steps = event.path.steps  # TFX writes two: the channel and an index.
    channel = steps[0].key if steps else ""
    return Event(event.execution_id, event.artifact_id, event.type in _OUTPUTS, channel)


def to_run(context: mlmd.Context) -> Run:
    """The record of a run, from its `RUN_CONTEXT`."""
    return Run(context.name, context.id, context.create_time_since_epoch, _properties(context))


def _properties(node: mlmd.Artifact | mlmd.Execution | mlmd.Context) -> dict[str, Any]:
    """Declared and custom properties by name, sorted; a custom one hides a declared one."""
    found = {}
    for group in (node.properties, node.custom_properties):
        for name in group:  # `items` would take twice as long
            value = group[name]
            text = value.string_value
            found[name] = parsed(text) if text else _value(value)
    return dict(sorted(found.items()))


def _value(value: mlmd.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return parsed(value.string_value)
    if kind == "struct_value":
        # TFX wraps JSON that is not an object in a struct with this one field.
        plain = json_format.MessageToDict(value.struct_value)
        return parsed(plain.get("__value__", plain))
    return getattr(value, kind) if kind else None


def from_struct(values: Mapping[str, Any]) -> dict[str, Any]:
    """Properties that a protobuf Struct carried, sorted: it turns integers into floats."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else parsed(value)
        for name, value in sorted(values.items())
    }


def parsed(value: Any) -> Any:
    """A property's value; strings that hold a JSON object or list are parsed."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def iso(milliseconds: int | None) -> str | None:
    """Milliseconds since the epoch as ISO 8601 in UTC; None for 0 and None."""
    if not milliseconds:
        return None
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")


def local_path(uri: str) -> str | None:
    """The path of a uri on this machine; None for object stores."""
    if uri.startswith("file://"):
        return uri[len("file://") :]
    return None if "://" in uri else os.path.abspath(uri)
