"""What Vertex AI Pipelines writes into its metadata store, as the records of `records`.

The nodes are messages of Google's client; their properties are in a Struct, `metadata`.
"""

from typing import Any

from pipeline.lineage import records
from pipeline.lineage.records import Artifact, Execution, Run, parsed

# Groups of tasks, which the tasks are in as well.
_GROUPS = frozenset({"system.DagExecution", "system.Run"})
# {"input:CHANNEL" or "output:CHANNEL": [names of artifacts]}
_BINDING = "vertex-ai-pipelines-artifact-argument-binding"
_INPUT = "input:"


def is_task(execution) -> bool:
    """Whether an execution is a component's."""
    return execution.schema_title not in _GROUPS


def short_id(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def _milliseconds(moment) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _plain(metadata) -> dict[str, Any]:
    """A Struct's values; numbers that are whole are integers, texts of JSON are read."""
    from google.protobuf import json_format

    values = json_format.MessageToDict(metadata) if metadata else {}
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else parsed(value)
        for name, value in values.items()
    }


def to_artifact(artifact) -> Artifact:
    """An artifact; TFX's types are in a namespace there."""
    pb = type(artifact).pb(artifact)
    return Artifact(
        id=short_id(artifact.name),
        type=artifact.schema_title.removeprefix("tfx."),
        uri=artifact.uri,
        created_ms=_milliseconds(artifact.create_time),
        properties=_plain(pb.metadata),
    )


def to_execution(execution) -> Execution:
    """A task; its properties are the parameters of the component."""
    properties = _plain(type(execution).pb(execution).metadata)
    state = execution.state.name.lower()
    known = {"complete": records.COMPLETE, "cached": records.CACHED, "failed": records.FAILED}
    return Execution(
        id=short_id(execution.name),
        type=_component(execution.display_name),
        state=known.get(state, records.FAILED if state == "cancelled" else records.RUNNING),
        started_ms=_milliseconds(execution.create_time),
        finished_ms=_milliseconds(execution.update_time),
        properties={
            name.removeprefix(_INPUT): value
            for name, value in properties.items()
            if name.startswith(_INPUT)
        },
    )


def _component(task: str) -> str:
    """A task's component; the resolver is two tasks there."""
    return "LatestBlessedModel" if task.startswith("LatestBlessedModel-") else task


def channels_of(execution) -> dict[tuple[bool, str], str]:
    """Channels by (is output, id of the artifact)."""
    binding = _plain(type(execution).pb(execution).metadata).get(_BINDING) or {}
    found = {}
    for bound, artifacts in binding.items():
        kind, _, channel = bound.partition(":")
        for artifact in artifacts:
            found[kind == "output", short_id(artifact)] = channel
    return found


def to_run(context) -> Run:
    """A run, with what Vertex knows of it; the pipeline is its parent."""
    pipeline = next((short_id(parent) for parent in context.parent_contexts), None)
    facts = _plain(type(context).pb(context).metadata)
    return Run(
        short_id(context.name), short_id(context.name), _milliseconds(context.create_time),
        {**facts, "pipeline": pipeline},
    )  # fmt: skip
