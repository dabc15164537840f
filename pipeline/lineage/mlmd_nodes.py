"""ML Metadata's messages as the records of `records`."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.lineage import records
from pipeline.lineage.records import Artifact, Event, Execution, Run

_STATES = {
    mlmd.Execution.COMPLETE: records.COMPLETE,
    mlmd.Execution.CACHED: records.CACHED,
    mlmd.Execution.FAILED: records.FAILED,
    mlmd.Execution.CANCELED: records.FAILED,
}
_OUTPUTS = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT, mlmd.Event.INTERNAL_OUTPUT)


def to_artifact(artifact: mlmd.Artifact) -> Artifact:
    """An artifact."""
    return Artifact(
        id=artifact.id,
        type=artifact.type,
        uri=artifact.uri,
        created_ms=artifact.create_time_since_epoch,
        properties=_Properties(artifact),
    )


def to_execution(execution: mlmd.Execution) -> Execution:
    """An execution."""
    return Execution(
        id=execution.id,
        type=execution.type,
        state=_STATES.get(execution.last_known_state, records.RUNNING),
        started_ms=execution.create_time_since_epoch,
        finished_ms=execution.last_update_time_since_epoch,
        properties=_Properties(execution),
    )


def to_event(event: mlmd.Event) -> Event:
    """An event."""
    steps = event.path.steps  # TFX's are a key and an index
    channel = steps[0].key if steps else ""
    return Event(event.execution_id, event.artifact_id, event.type in _OUTPUTS, channel)


def to_run(context: mlmd.Context) -> Run:
    """A run, from its context."""
    return Run(context.name, context.id, context.create_time_since_epoch, _Properties(context))


class _Properties(Mapping):
    """The properties of a node, declared and custom ones; read when they are asked for.

    A walk passes thousands of nodes whose properties nobody wants.
    """

    __slots__ = ("_node", "_read")

    def __init__(self, node: mlmd.Artifact | mlmd.Execution | mlmd.Context):
        self._node = node
        self._read: dict[str, Any] | None = None

    @property
    def _groups(self) -> tuple[Mapping[str, mlmd.Value], ...]:
        # Names that are both declared and custom mean the custom one.
        return self._node.custom_properties, self._node.properties

    def __getitem__(self, name: str) -> Any:
        if self._read is None:
            self._read = {}
        if name not in self._read:
            group = next((group for group in self._groups if name in group), None)
            if group is None:
                raise KeyError(name)
            self._read[name] = _value(group[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return any(name in group for group in self._groups)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for group in self._groups for name in group))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _value(value: mlmd.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return records.parsed(value.string_value)
    if kind == "struct_value":
        # TFX wraps a JSON property that is no object into a struct with one field.
        plain = json_format.MessageToDict(value.struct_value)
        return records.parsed(plain.get("__value__", plain))
    return getattr(value, kind) if kind else None
