"""What ML Metadata knows of one run. Imports neither TensorFlow nor TFX."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.errors import UserError

RUN_CONTEXT = "pipeline_run"
NODE_CONTEXT = "node"
_OUTPUT_EVENTS = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT)
_STATE = mlmd.Execution.State


@dataclasses.dataclass(frozen=True)
class ArtifactRecord:
    """An artifact: id, type name, uri and all its properties, custom ones included."""

    id: int
    type: str
    uri: str
    properties: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ComponentRecord:
    """An execution of a run.

    Attributes:
      id: the node's.
      execution_id: in the store.
      state: "complete", "cached", "failed" or "running".
      seconds: from start to end; 0 for cached ones.
      outputs: artifacts by channel.
      properties: of the execution.
    """

    id: str
    execution_id: int
    state: str
    seconds: float
    outputs: Mapping[str, list[ArtifactRecord]]
    properties: Mapping[str, Any]

    def output(self, channel: str) -> ArtifactRecord | None:
        """The artifact of a channel that has at most one."""
        artifacts = self.outputs.get(channel, [])
        return artifacts[-1] if artifacts else None


def read_run(store: metadata_store.MetadataStore, run_id: str) -> dict[str, ComponentRecord]:
    """The components of a run by node id, in the order in which they ran.

    Raises:
      UserError: when the store has no such run.
    """
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    if context is None:
        raise UserError(f"Expected a run in this metadata store. Received: {run_id!r}.")
    executions = sorted(
        store.get_executions_by_context(context.id), key=lambda execution: execution.id
    )
    outputs = _outputs(store, [execution.id for execution in executions])
    records = {}
    for execution in executions:
        node = _node_id(store, execution.id)
        records[node] = ComponentRecord(
            id=node,
            execution_id=execution.id,
            state=_state(execution.last_known_state),
            seconds=_seconds(execution),
            outputs=outputs.get(execution.id, {}),
            properties=_properties(execution),
        )
    return records


def _node_id(store: metadata_store.MetadataStore, execution_id: int) -> str:
    for context in store.get_contexts_by_execution(execution_id):
        if context.type == NODE_CONTEXT:
            return context.name.rpartition(".")[2]
    return f"execution {execution_id}"


def _state(state: int) -> str:
    if state in (_STATE.NEW, _STATE.RUNNING):
        return "running"
    return "failed" if state == _STATE.CANCELED else _STATE.Name(state).lower()


def _seconds(execution: mlmd.Execution) -> float:
    if execution.last_known_state == _STATE.CACHED:
        return 0.0
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return milliseconds / 1000


def _outputs(store: metadata_store.MetadataStore, execution_ids: list[int]) -> dict:
    events = [
        event
        for event in store.get_events_by_execution_ids(execution_ids)
        if event.type in _OUTPUT_EVENTS
    ]
    artifacts = {
        artifact.id: ArtifactRecord(artifact.id, artifact.type, artifact.uri, _properties(artifact))
        for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])
    }
    outputs: dict[int, dict[str, list[ArtifactRecord]]] = {}
    for event in events:
        channel = next((step.key for step in event.path.steps if step.key), "")
        of_execution = outputs.setdefault(event.execution_id, {})
        of_execution.setdefault(channel, []).append(artifacts[event.artifact_id])
    return outputs


def _properties(node: mlmd.Artifact | mlmd.Execution) -> dict[str, Any]:
    merged = {**node.properties, **node.custom_properties}
    return {name: _value(value) for name, value in sorted(merged.items())}


def _value(value: mlmd.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind == "struct_value":
        # TFX wraps JSON custom properties into a struct with one field.
        from google.protobuf import json_format

        return json_format.MessageToDict(value.struct_value)
    plain = getattr(value, kind) if kind else None
    if isinstance(plain, str) and plain[:1] in "[{":
        try:
            return json.loads(plain)
        except json.JSONDecodeError:
            return plain
    return plain
