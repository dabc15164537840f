"""Vertex ML Metadata as a `Backend`.

Vertex AI Pipelines writes a context of `system.PipelineRun` for a run, an execution for each of
its tasks, and artifacts with the properties that TFX set. It binds artifacts to the names of
channels in a field of the execution. It keeps none of `pipeline.metadata.run_facts`' records, so
files' hashes, code, environment and all settings of a run are not known here, and the answers say
so.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage import records
from pipeline.lineage.memo import Memo
from pipeline.lineage.records import Artifact, Event, Execution, Run
from pipeline.lineage.vertex_nodes import (
    channels_of,
    is_task,
    short_id,
    to_artifact,
    to_execution,
    to_run,
)
from pipeline.lineage.vertex_service import VALID_ID, VertexService, quoted

_RUN = 'schema_title = "system.PipelineRun"'


class VertexBackend:
    """A metadata store of Vertex AI. Ids are the last parts of resource names.

    Args:
      location: see `vertex_service`.

    Raises:
      UserError: the location is none, the store is not there or may not be read, or has no run.
    """

    def __init__(self, location: str):
        self.location = location
        self._service = VertexService(location)
        self._artifacts, self._executions = Memo(), Memo()
        self._events, self._events_at = Memo(), Memo()
        self._runs: list[Run] | None = None
        self._run_of: dict[str, Run] = {}
        self._members: dict[str, list[str]] = {}
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
        return self._artifacts.look_up(ids, self._load_artifacts)

    def _load_artifacts(self, ids: list[str]) -> Iterator[tuple[str, Artifact]]:
        for artifact in map(to_artifact, self._service.named("artifacts", ids)):
            yield artifact.id, artifact

    def executions(self, ids: Collection[str]) -> dict[str, Execution]:
        """See `Backend`."""
        return self._executions.look_up(ids, self._load_executions)

    def _load_executions(self, ids: list[str]) -> Iterator[tuple[str, Execution]]:
        for execution in map(to_execution, self._service.named("executions", ids)):
            yield execution.id, execution

    def events_of(self, executions: Collection[str]) -> list[Event]:
        """See `Backend`."""
        found = self._events.look_up(executions, self._load_events)
        return [event for group in found.values() for event in group]

    def _load_events(self, executions: list[str]) -> Iterator[tuple[str, list[Event]]]:
        for key in executions:
            yield key, self._taken_up(self._service.events_of(key))

    def events_at(self, artifacts: Collection[str]) -> list[Event]:
        """See `Backend`."""
        found = self._events_at.look_up(artifacts, self._load_events_at)
        return list(dict.fromkeys(event for group in found.values() for event in group))

    def _load_events_at(self, artifacts: list[str]) -> Iterator[tuple[str, list[Event]]]:
        for key in artifacts:
            events = self._taken_up(self._service.events_at(key))
            yield key, [event for event in events if event.artifact == key]

    def artifacts_of_type(self, type_name: str) -> list[Artifact]:
        """See `Backend`."""
        found = self._service.find("artifacts", f'schema_title = "tfx.{type_name}"')
        return [to_artifact(artifact) for artifact in found]

    def artifacts_with_uri(self, uri: str) -> list[Artifact]:
        """See `Backend`."""
        return [to_artifact(a) for a in self._service.find("artifacts", f"uri = {quoted(uri)}")]

    def runs(self, last: int | None = None) -> list[Run]:
        """See `Backend`."""
        if self._runs is None:
            runs = (to_run(context) for context in self._service.find("contexts", _RUN))
            self._runs = sorted(runs, key=lambda run: (run.created_ms, run.name))
        return self._runs if last is None else self._runs[-last:] if last else []

    def run(self, name: str) -> Run | None:
        """See `Backend`."""
        return next((run for run in self.runs() if run.name == name), None)

    def executions_in(self, run: Run) -> list[Execution]:
        """See `Backend`."""
        if run.name not in self._members:
            context = self._service.name("contexts", run.context)
            found = self._service.find("executions", f'in_context("{context}")')
            for execution in found:
                if is_task(execution):
                    self._keep(to_execution(execution), run)
            self._members[run.name] = [short_id(e.name) for e in found if is_task(e)]
        members = self.executions(self._members[run.name]).values()
        return sorted(members, key=lambda e: (e.started_ms, e.id))

    def _keep(self, execution: Execution, run: Run) -> None:
        self._executions[execution.id] = execution
        self._run_of[execution.id] = run

    def runs_of(self, executions: Iterable[str]) -> dict[str, Run]:
        """See `Backend`. Asks the runs from the last one on that began before an execution."""
        wanted = set(executions)
        for execution in self.executions(wanted).values():
            earlier = [run for run in self.runs() if run.created_ms <= execution.started_ms]
            for run in reversed(earlier):
                if execution.id in self._run_of:
                    break
                self.executions_in(run)
        return {key: self._run_of[key] for key in sorted(wanted) if key in self._run_of}

    def earlier(self, execution: Execution) -> Execution | None:
        """See `Backend`."""
        own = self.runs_of([execution.id]).get(execution.id)
        for run in reversed(self.runs()):
            if own is None or run.name == own.name or run.created_ms > own.created_ms:
                continue
            if run.facts.get("pipeline") != own.facts.get("pipeline"):
                continue
            for candidate in reversed(self.executions_in(run)):
                usable = candidate.state in (records.COMPLETE, records.CACHED)
                if candidate.type == execution.type and usable:
                    return candidate
        return None

    def maker_hint(self, artifact: Artifact) -> None:
        """See `Backend`: the uris there name no executions."""
        del artifact

    def record(self, kind: str, name: str) -> Any:
        """See `Backend`: Vertex has none."""
        del kind, name
        return None

    @property
    def gaps(self) -> str | None:
        """See `Backend`."""
        return (
            "Vertex ML Metadata records no hashes of files, and of a run neither its files of "
            "code, its packages nor all of its settings"
        )

    def _taken_up(self, part) -> list[Event]:
        """The events of an answer, with the names of their channels; keeps the nodes."""
        self._artifacts.update((short_id(a.name), to_artifact(a)) for a in part.artifacts)
        bound = {}
        for execution in part.executions:
            if is_task(execution):
                self._executions.setdefault(short_id(execution.name), to_execution(execution))
                bound[short_id(execution.name)] = channels_of(execution)
        events = []
        for event in part.events:
            key, artifact = short_id(event.execution), short_id(event.artifact)
            is_output = event.type_.name == "OUTPUT"
            if key in bound:
                channel = bound[key].get((is_output, artifact), "")
                events.append(Event(key, artifact, is_output, channel))
        return events
