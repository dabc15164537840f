"""Vertex ML Metadata as a `Backend`, through Google's own client.

    vertex://PROJECT/LOCATION[/METADATASTORE]        the store is `default` unless it is named

Credentials are Application Default Credentials, and nothing else. Vertex AI Pipelines writes a
context of `system.PipelineRun` for a run, an execution for each of its tasks, and artifacts with
the properties that TFX set. It binds artifacts to the names of channels in a field of the
execution. It keeps none of `pipeline.run_facts`' records, so what hangs on those (files' hashes,
code, environment and all settings of a run) is not known here, and the answers say so.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

SCHEME = "vertex://"
# Where gcloud, too, looks for another endpoint, such as a private one.
_ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
_FORM = "vertex://PROJECT/LOCATION or vertex://PROJECT/LOCATION/METADATASTORE"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.-]*")
_RUN = 'schema_title = "system.PipelineRun"'
# A filter of so many alternatives stays well below what the service takes in one request.
_ALTERNATIVES = 50
_PAGE = 1000


class VertexBackend:
    """A metadata store of Vertex AI. Ids are the last parts of resource names.

    Args:
      location: see the module.
      client: Google's; default: one for the location's region.

    Raises:
      UserError: the location is none, the store is not there or may not be read, or has no run.
    """

    def __init__(self, location: str, client: "MetadataServiceClient | None" = None):
        self.location = location
        project, region, store = _parts(location)
        self._parent = f"projects/{project}/locations/{region}/metadataStores/{store}"
        self._client = client or _client(region)
        self._artifacts, self._executions = Memo(), Memo()
        self._events, self._events_at = Memo(), Memo()
        self._runs: list[Run] | None = None
        self._run_of: dict[str, Run] = {}
        self._members: dict[str, list[str]] = {}
        if not self._all("contexts", _RUN, most=1):
            raise UserError(
                f"Expected a metadata store with runs. Received: {location}, which has none. "
                "Run the pipeline first, or name another store with --metadata."
            )

    def artifacts(self, ids: Collection[str]) -> dict[str, Artifact]:
        """See `Backend`."""
        return self._artifacts.look_up(
            [str(key) for key in ids],
            lambda some: ((a.id, a) for a in map(to_artifact, self._named("artifacts", some))),
        )

    def executions(self, ids: Collection[str]) -> dict[str, Execution]:
        """See `Backend`."""
        return self._executions.look_up(
            [str(key) for key in ids],
            lambda some: ((e.id, e) for e in map(to_execution, self._named("executions", some))),
        )

    def events_of(self, executions: Collection[str]) -> list[Event]:
        """See `Backend`."""
        found = self._events.look_up(executions, self._load_events)
        return [event for group in found.values() for event in group]

    def _load_events(self, executions: list[str]) -> Iterator[tuple[str, list[Event]]]:
        for key in executions:
            part = self._call(
                "query_execution_inputs_and_outputs", {"execution": self._name("executions", key)}
            )
            yield key, self._taken_up(part)

    def events_at(self, artifacts: Collection[str]) -> list[Event]:
        """See `Backend`."""
        found = self._events_at.look_up(artifacts, self._load_events_at)
        return list(dict.fromkeys(event for group in found.values() for event in group))

    def _load_events_at(self, artifacts: list[str]) -> Iterator[tuple[str, list[Event]]]:
        for key in artifacts:
            request = {"artifact": self._name("artifacts", key), "max_hops": 1}
            events = self._taken_up(self._call("query_artifact_lineage_subgraph", request))
            yield key, [event for event in events if event.artifact == key]

    def artifacts_of_type(self, type_name: str) -> list[Artifact]:
        """See `Backend`."""
        found = self._all("artifacts", f'schema_title = "tfx.{type_name}"')
        return [to_artifact(artifact) for artifact in found]

    def artifacts_with_uri(self, uri: str) -> list[Artifact]:
        """See `Backend`."""
        return [to_artifact(a) for a in self._all("artifacts", f"uri = {_quoted(uri)}")]

    def runs(self, last: int | None = None) -> list[Run]:
        """See `Backend`."""
        if self._runs is None:
            runs = (to_run(context) for context in self._all("contexts", _RUN))
            self._runs = sorted(runs, key=lambda run: (run.created_ms, run.name))
        return self._runs if last is None else self._runs[-last:] if last else []

    def run(self, name: str) -> Run | None:
        """See `Backend`."""
        return next((run for run in self.runs() if run.name == name), None)

    def executions_in(self, run: Run) -> list[Execution]:
        """See `Backend`."""
        if run.name not in self._members:
            context = self._name("contexts", run.context)
            found = self._all("executions", f'in_context("{context}")')
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

    def _name(self, kind: str, key: str) -> str:
        return f"{self._parent}/{kind}/{key}"

    def _named(self, kind: str, keys: list[str]) -> Iterator[Any]:
        for start in range(0, len(keys), _ALTERNATIVES):
            names = (self._name(kind, key) for key in keys[start : start + _ALTERNATIVES])
            yield from self._all(kind, " OR ".join(f"name = {_quoted(name)}" for name in names))

    def _all(self, kind: str, condition: str, most: int | None = None) -> list[Any]:
        request = {"parent": self._parent, "filter": condition, "page_size": most or _PAGE}
        return self._call(f"list_{kind}", request, lambda pages: list(islice(pages, most)))

    def _call(self, method: str, request: dict[str, Any], read=lambda answer: answer) -> Any:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            return read(getattr(self._client, method)(request=request))
        except (GoogleAPIError, GoogleAuthError) as error:
            raise UserError(
                f"Expected {self.location} to be a metadata store that may be read. Received: "
                f"{_one_line(error)}"
            ) from error


def _parts(location: str) -> tuple[str, str, str]:
    parts = location.removeprefix(SCHEME).strip("/").split("/")
    if len(parts) not in (2, 3) or not all(_PART.fullmatch(part) for part in parts):
        raise UserError(f"Expected {_FORM}. Received: {location}.")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else "default"


def _client(region: str) -> "MetadataServiceClient":
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

    try:
        return MetadataServiceClient(
            transport="rest",
            client_options={
                "api_endpoint": os.environ.get(_ENDPOINT) or f"{region}-aiplatform.googleapis.com"
            },
        )
    except DefaultCredentialsError as error:
        raise UserError(
            "Expected Application Default Credentials for Google Cloud. Received: none. Run "
            "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
        ) from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
