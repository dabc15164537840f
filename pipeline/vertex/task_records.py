"""The tasks of a Vertex AI job as the records that summaries are made of."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pipeline.metadata.records import from_struct
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord


class FinishedTask(Protocol):
    """A task, from the service or from a rehearsal; see `rehearsal_tasks.TaskResult`."""

    name: str
    state: str
    started: float
    finished: float
    outputs: Mapping[str, list[dict[str, Any]]]


def component_records(tasks: Iterable[FinishedTask]) -> dict[str, ComponentRecord]:
    """Records by task name, in the order in which the tasks started."""
    records = {}
    for number, task in enumerate(sorted(tasks, key=lambda task: task.started), start=1):
        records[task.name] = ComponentRecord(
            id=task.name,
            execution_id=number,
            state=task.state,
            seconds=0.0 if task.state == "cached" else task.finished - task.started,
            outputs={key: [_record(one) for one in group] for key, group in task.outputs.items()},
            properties={},
        )
    return records


def _record(artifact: Mapping[str, Any]) -> ArtifactRecord:
    return ArtifactRecord(
        id=artifact["name"],
        type=artifact["schema_title"],
        uri=artifact["uri"],
        properties=from_struct(artifact["metadata"]),
    )
