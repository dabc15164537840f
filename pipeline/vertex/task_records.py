"""The tasks of a Vertex AI job as the records that summaries are made of."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

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
    metadata = artifact["metadata"]
    return ArtifactRecord(
        id=artifact["name"],
        type=artifact["schema_title"],
        uri=artifact["uri"],
        properties={name: _value(value) for name, value in sorted(metadata.items())},
    )


def _value(value: Any) -> Any:
    """Undoes what the way through a protobuf Struct does: integers come out as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
