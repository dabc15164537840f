"""The components of one run, as the summary and the Trainer's cleanup need them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_metadata.metadata_store import metadata_store

from pipeline.errors import UserError
from pipeline.metadata.records import (
    RUN_CONTEXT,
    Artifact,
    to_artifact,
    to_event,
    to_execution,
)
from pipeline.metadata.store import find_context

ArtifactRecord = Artifact
"""The outputs of components, in summaries."""


@dataclasses.dataclass(frozen=True)
class ComponentRecord:
    """A component's execution in a run, with its outputs.

    Attributes:
      id: the component's.
      execution_id: in the store.
      state: "complete", "cached", "failed" or "running".
      seconds: from start to end; 0 if it was cached.
      outputs: artifacts by channel.
      properties: of the execution.
    """

    id: str
    execution_id: int
    state: str
    seconds: float
    outputs: Mapping[str, list[Artifact]]
    properties: Mapping[str, Any]

    def output(self, channel: str) -> Artifact | None:
        """The artifact of a channel that has at most one."""
        artifacts = self.outputs.get(channel, [])
        return artifacts[-1] if artifacts else None


def read_run(store: metadata_store.MetadataStore, run_id: str) -> dict[str, ComponentRecord]:
    """The components of a run by id, in the order in which they ran.

    Raises:
      UserError: the store has no such run.
    """
    context = find_context(store, RUN_CONTEXT, run_id)
    if context is None:
        raise UserError(f"Expected a run in this metadata store. Received: {run_id!r}.")
    found = sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)
    executions = [to_execution(execution) for execution in found]
    outputs = _outputs(store, [execution.id for execution in executions])
    return {
        execution.node: ComponentRecord(
            id=execution.node,
            execution_id=execution.id,
            state=execution.state,
            seconds=execution.seconds,
            outputs=outputs.get(execution.id, {}),
            properties=execution.properties,
        )
        for execution in executions
    }


def _outputs(
    store: metadata_store.MetadataStore, executions: list[int]
) -> dict[int, dict[str, list[Artifact]]]:
    """Artifacts by execution and channel."""
    events = [to_event(event) for event in store.get_events_by_execution_ids(executions)]
    written = [event for event in events if event.is_output]
    found = store.get_artifacts_by_id([event.artifact for event in written])
    artifacts = {artifact.id: to_artifact(artifact) for artifact in found}
    outputs: dict[int, dict[str, list[Artifact]]] = {}
    for event in written:
        channels = outputs.setdefault(event.execution, {})
        channels.setdefault(event.channel, []).append(artifacts[event.artifact])
    return outputs
