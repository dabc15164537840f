"""Vertex ML Metadata as a `Backend`.

Vertex AI Pipelines writes a context of `system.PipelineRun` for a run, an execution for each of
its tasks, and artifacts with the properties that TFX set. A field of the execution binds artifacts
to the names of channels. Nothing writes the records of `pipeline.metadata.facts` there: the hashes
of files, and a run's code, environment and settings are unknown, and the answers say so.

Every request takes many milliseconds, so what was read is kept. Nodes are messages of Google's
client, whose properties are in a Struct, `metadata`.
"""

from collections.abc import Collection, Iterator
from typing import Any

from google.protobuf import json_format

from pipeline.errors import UserError
from pipeline.lineage.backend import look_up
from pipeline.lineage.vertex_service import VALID_ID, VertexService, quoted
from pipeline.metadata.facts import FROM_IMAGENET, begins_from_imagenet
from pipeline.metadata.records import (
    CACHED,
    COMPLETE,
    FAILED,
    RUNNING,
    Artifact,
    Event,
    Execution,
    Run,
    from_struct,
)

_RUN = 'schema_title = "system.PipelineRun"'
_STATES = {"COMPLETE": COMPLETE, "CACHED": CACHED, "FAILED": FAILED, "CANCELLED": FAILED}
# Executions that stand for groups of tasks; the tasks have executions of their own.
_GROUPS = frozenset({"system.DagExecution", "system.Run"})
# {"input:CHANNEL" or "output:CHANNEL": [names of artifacts]}
_BINDING = "vertex-ai-pipelines-artifact-argument-binding"
_INPUT = "input:"


class VertexBackend:
    """A metadata store of Vertex AI. Ids are the last parts of resource names.

    Args:
      location: see `vertex_service`.

    Raises:
      UserError: the location is malformed, the store cannot be read, or it has no runs.
    """

    gaps = (
        "Vertex ML Metadata records no hashes of files, and of a run neither its files of code, "
        "its packages nor all of its settings"
    )

    def __init__(self, location: str):
        self.location = location
        self._service = VertexService(location)
        self._artifacts: dict[str, Artifact] = {}
        self._executions: dict[str, Execution] = {}
        self._events_of: dict[str, list[Event]] = {}
        self._events_at: dict[str, list[Event]] = {}
        self._runs: list[Run] = []
        self._members: dict[str, list[Execution]] = {}
        self._run_of: dict[str, Run] = {}
        if not self._service.find("contexts", _RUN, most=1):
            raise UserError(
                f"Expected a metadata store with runs. Received: {location}, which has none. "
                "Run the pipeline first, or name another store with --metadata."
            )

    def node_id(self, text: str) -> str | None:
        """See `Backend`."""
        return text if VALID_ID.fullmatch(text) else None

    def artifacts(self, ids: Collection[str]) -> dict[str, Artifact]:
        """See `Backend`."""

        def load(missing: list[str]) -> Iterator[tuple[str, Artifact]]:
            for artifact in map(_to_artifact, self._service.named("artifacts", missing)):
                yield artifact.id, artifact

        return look_up(self._artifacts, ids, load)

    def executions(self, ids: Collection[str]) -> dict[str, Execution]:
        """See `Backend`."""

        def load(missing: list[str]) -> Iterator[tuple[str, Execution]]:
            for execution in map(_to_execution, self._service.named("executions", missing)):
                yield execution.id, execution

        return look_up(self._executions, ids, load)

    def events_of(self, executions: Collection[str]) -> list[Event]:
        """See `Backend`."""

        def load(missing: list[str]) -> Iterator[tuple[str, list[Event]]]:
            for key in missing:
                yield key, self._read(self._service.events_of(key))

        found = look_up(self._events_of, executions, load)
        return [event for group in found.values() for event in group]

    def events_at(self, artifacts: Collection[str]) -> list[Event]:
        """See `Backend`."""

        def load(missing: list[str]) -> Iterator[tuple[str, list[Event]]]:
            for key in missing:
                events = self._read(self._service.events_at(key))
                events.sort(key=lambda e: (self._executions[e.execution].started_ms, e.execution))
                yield key, [event for event in events if event.artifact == key]

        found = look_up(self._events_at, artifacts, load)
        return [event for group in found.values() for event in group]

    def artifacts_of_type(self, type_name: str) -> list[Artifact]:
        """See `Backend`."""
        found = self._service.find("artifacts", f'schema_title = "tfx.{type_name}"')
        return [_to_artifact(artifact) for artifact in found]

    def executions_of(self, node: str) -> list[Execution]:
        """See `Backend`; a task's name is that of its component."""
        found = self._service.find("executions", f"display_name = {quoted(node)}")
        return [_to_execution(execution) for execution in found if _is_task(execution)]

    def artifacts_with_uri(self, uri: str) -> list[Artifact]:
        """See `Backend`."""
        return [_to_artifact(a) for a in self._service.find("artifacts", f"uri = {quoted(uri)}")]

    def runs(self) -> list[Run]:
        """See `Backend`."""
        if not self._runs:
            runs = (_to_run(context) for context in self._service.find("contexts", _RUN))
            self._runs = sorted(runs, key=lambda run: (run.created_ms, run.name))
        return self._runs

    def runs_backwards(self) -> Iterator[Run]:
        """See `Backend`."""
        return reversed(self.runs())

    def run(self, name: str) -> Run | None:
        """See `Backend`."""
        return next((run for run in self.runs() if run.name == name), None)

    def executions_in(self, run: Run) -> list[Execution]:
        """See `Backend`."""
        if run.name not in self._members:
            context = self._service.name("contexts", run.context)
            found = self._service.find("executions", f'in_context("{context}")')
            members = [_to_execution(execution) for execution in found if _is_task(execution)]
            members.sort(key=lambda execution: (execution.started_ms, execution.id))
            self._members[run.name] = members
            self._executions |= {execution.id: execution for execution in members}
            self._run_of |= {execution.id: run for execution in members}
        return self._members[run.name]

    def runs_of(self, executions: Collection[str]) -> dict[str, Run]:
        """See `Backend`. Goes back through the runs that began before an execution."""
        found = self.executions(executions)
        for execution in found.values():
            for run in reversed(self.runs()):
                if execution.id in self._run_of:
                    break
                if run.created_ms <= execution.started_ms:
                    self.executions_in(run)
        return {key: self._run_of[key] for key in found if key in self._run_of}

    def record(self, kind: str, name: str) -> Any:
        """See `Backend`: there are no records on Vertex, only what the Trainers tell."""
        if (kind, name) != FROM_IMAGENET:
            return None
        trainers = self.executions_of("Trainer")
        events = self.events_of([e.id for e in trainers if begins_from_imagenet(e.properties)])
        models = {e.artifact for e in events if e.is_output and e.channel == "model"}
        return {"artifacts": sorted(models)}

    def _read(self, subgraph) -> list[Event]:
        """The events of an answer, with the names of their channels; keeps its nodes."""
        self._artifacts.update((_id(node.name), _to_artifact(node)) for node in subgraph.artifacts)
        channels = {}
        for execution in filter(_is_task, subgraph.executions):
            key = _id(execution.name)
            self._executions.setdefault(key, _to_execution(execution))
            channels[key] = _channels(execution)
        events = []
        for event in subgraph.events:
            key, artifact = _id(event.execution), _id(event.artifact)
            is_output = event.type_.name == "OUTPUT"
            if key in channels:
                channel = channels[key].get((is_output, artifact), "")
                events.append(Event(key, artifact, is_output, channel))
        return events


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _is_task(execution) -> bool:
    return execution.schema_title not in _GROUPS


def _milliseconds(time) -> int:
    return int(time.timestamp() * 1000) if time else 0


def _properties(node) -> dict[str, Any]:
    return from_struct(json_format.MessageToDict(type(node).pb(node).metadata))


def _to_artifact(artifact) -> Artifact:
    return Artifact(
        id=_id(artifact.name),
        type=artifact.schema_title.removeprefix("tfx."),
        uri=artifact.uri,
        properties=_properties(artifact),
        created_ms=_milliseconds(artifact.create_time),
    )


def _to_execution(execution) -> Execution:
    """A task; its properties are the component's parameters."""
    task = execution.display_name
    return Execution(
        id=_id(execution.name),
        # The resolver is two tasks there.
        type="LatestBlessedModel" if task.startswith("LatestBlessedModel-") else task,
        state=_STATES.get(execution.state.name, RUNNING),
        started_ms=_milliseconds(execution.create_time),
        finished_ms=_milliseconds(execution.update_time),
        properties={
            name.removeprefix(_INPUT): value
            for name, value in _properties(execution).items()
            if name.startswith(_INPUT)
        },
    )


def _channels(execution) -> dict[tuple[bool, str], str]:
    """Channels by (whether the artifact is an output, its id)."""
    found = {}
    for bound, artifacts in (_properties(execution).get(_BINDING) or {}).items():
        kind, _, channel = bound.partition(":")
        for artifact in artifacts:
            found[kind == "output", _id(artifact)] = channel
    return found


def _to_run(context) -> Run:
    """A run; its pipeline is its parent there."""
    name = _id(context.name)
    pipeline = next((_id(parent) for parent in context.parent_contexts), None)
    facts = {**_properties(context), "pipeline": pipeline}
    return Run(name, name, _milliseconds(context.create_time), facts)
