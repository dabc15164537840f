"""Walks through a store: up to everything behind artifacts, down to everything made from them."""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from pipeline.lineage.backend import Backend
from pipeline.lineage.records import CACHED, Artifact, Event, Execution, NodeId

BASELINE = "baseline_model"
WARM_START = "base_model"
# Channels whose artifacts judge what the execution puts out, and are no part of it.
JUDGEMENTS = frozenset({BASELINE, "model_blessing", "infra_blessing", "evaluation"})
_JUDGES = frozenset({"Evaluator", "DeviceCheck"})


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A part of a store; events have both of their ends in it.

    Attributes:
      artifacts: by id.
      executions: by id.
      events: without those of cached executions.
      makers: the execution that made an artifact, by the artifact's id.
    """

    artifacts: dict[NodeId, Artifact]
    executions: dict[NodeId, Execution]
    events: list[Event]
    makers: dict[NodeId, NodeId]

    def inputs(self, execution: NodeId) -> dict[str, list[Artifact]]:
        """Artifacts that an execution read, by channel."""
        return self._channels()[execution, False]

    def outputs(self, execution: NodeId) -> dict[str, list[Artifact]]:
        """Artifacts that an execution wrote, by channel; those in this part."""
        return self._channels()[execution, True]

    def _channels(self):
        if "_index" not in self.__dict__:
            index = _Index()
            for event in self.events:
                channels = index[event.execution, event.is_output]
                channels.setdefault(event.channel, []).append(self.artifacts[event.artifact])
            object.__setattr__(self, "_index", index)
        return self.__dict__["_index"]


class _Index(dict):
    def __missing__(self, key):
        self[key] = {}
        return self[key]


def ancestors(
    backend: Backend,
    artifacts: Iterable[NodeId] = (),
    executions: Iterable[NodeId] = (),
    *,
    through_baselines: bool = False,
) -> Subgraph:
    """Everything that artifacts and executions came from, however far back.

    Args:
      backend: the store.
      artifacts: where to begin.
      executions: likewise.
      through_baselines: also what the models came from that candidates were compared with. They
        are always there themselves; nothing of them is in the model.

    Returns:
      The part of the store that was walked, the beginnings included.
    """
    events: dict[Event, None] = {}
    makers: dict[NodeId, NodeId] = {}
    seen_executions = set(executions)
    all_artifacts: dict[NodeId, Artifact] = {}
    events_of = backend.events_of(seen_executions)
    events.update(dict.fromkeys(events_of))
    # A Resolver puts out what it found, which is what others compare with.
    resolvers = {
        key for key, execution in backend.executions(seen_executions).items()
        if execution.node == "LatestBlessedModel"
    }  # fmt: skip
    events_of = [event for event in events_of if event.execution not in resolvers]
    named = [*artifacts, *(event.artifact for event in events_of if event.is_output)]
    waiting = {*named, *_inputs(events_of, through_baselines)}
    compared = {event.artifact for event in events_of} - waiting
    while waiting:
        found = backend.artifacts(waiting)
        all_artifacts |= found
        made, events_of = find_makers(backend, found.values())
        makers |= made
        new = set(made.values()) - seen_executions
        seen_executions |= new
        events_of = [event for event in events_of if event.execution in new]
        events.update(dict.fromkeys(events_of))
        read = _inputs(events_of, through_baselines)
        compared |= {event.artifact for event in events_of if not event.is_output} - read
        waiting = read - all_artifacts.keys()
    all_artifacts |= backend.artifacts(compared - all_artifacts.keys())
    return Subgraph(
        all_artifacts,
        backend.executions(seen_executions),
        [event for event in events if event.artifact in all_artifacts],
        makers,
    )


def _inputs(events: Iterable[Event], through_baselines: bool) -> set[NodeId]:
    return {
        event.artifact
        for event in events
        if not event.is_output and (through_baselines or event.channel != BASELINE)
    }


def find_makers(
    backend: Backend, artifacts: Collection[Artifact]
) -> tuple[dict[NodeId, NodeId], list[Event]]:
    """The execution that made each artifact, and all events of these executions.

    An artifact that many runs share has an event for every run, so its events are not asked for:
    TFX's local uris end in the id of the execution that made them, which its events confirm. Only
    for other artifacts all events are read; then the first execution that was not cached made it.
    """
    hints = {artifact.id: _execution_in(artifact.uri) for artifact in artifacts}
    events = backend.events_of({hint for hint in hints.values() if hint is not None})
    outputs = {(event.artifact, event.execution) for event in events if event.is_output}
    makers = {artifact: hint for artifact, hint in hints.items() if (artifact, hint) in outputs}
    copies = _imported_copies(backend, artifacts, hints, events, makers)
    makers |= {event.artifact: event.execution for event in copies}
    others = hints.keys() - makers.keys()
    writers: dict[NodeId, list[NodeId]] = {}
    for event in backend.events_at(others):
        if event.is_output:
            writers.setdefault(event.artifact, []).append(event.execution)
    executions = backend.executions({e for group in writers.values() for e in group})
    for artifact, group in writers.items():
        fresh = [e for e in group if executions[e].state != CACHED] or group
        makers[artifact] = min(fresh, key=lambda e: (executions[e].started_ms, e))
    late = set(makers.values()) - {event.execution for event in events}
    return makers, [*events, *copies, *backend.events_of(late)]


def _imported_copies(backend: Backend, artifacts, hints, events, makers) -> list[Event]:
    """Outputs that an Importer entered once more: another artifact with the uri of the first."""
    unknown = {a.uri: a.id for a in artifacts if hints[a.id] is not None and a.id not in makers}
    if not unknown:
        return []
    outputs = [event for event in events if event.is_output]
    originals = backend.artifacts({event.artifact for event in outputs})
    return [
        event._replace(artifact=unknown[originals[event.artifact].uri])
        for event in outputs
        if originals[event.artifact].uri in unknown
    ]


def _execution_in(uri: str) -> int | None:
    name = PurePosixPath(uri).name
    return int(name) if name.isdecimal() and name.isascii() else None


def descendants(
    backend: Backend, artifacts: Iterable[NodeId], *, through_warm_starts: bool = True
) -> Subgraph:
    """Everything that was made from artifacts: their content went into it.

    What only judged, or was judged beside, is left out: evaluations, blessings, and models that
    were compared with one.

    Args:
      backend: the store.
      artifacts: where to begin.
      through_warm_starts: also models that began from the weights of others.

    Returns:
      The part of the store that was walked, the beginnings included.
    """
    seen = set(artifacts)
    executions: dict[NodeId, Execution] = {}
    events: dict[Event, None] = {}
    if through_warm_starts:
        seen |= _copies_of(backend, seen)
    waiting = set(seen)
    while waiting:
        read = [
            event
            for event in backend.events_at(waiting)
            if not event.is_output
            and event.channel not in JUDGEMENTS
            and (through_warm_starts or event.channel != WARM_START)
        ]
        found = backend.executions({event.execution for event in read} - executions.keys())
        found = {
            key: execution
            for key, execution in found.items()
            if execution.node not in _JUDGES and execution.state != CACHED
        }
        executions |= found
        written = [event for event in backend.events_of(found) if event.is_output]
        events.update(dict.fromkeys(event for event in read if event.execution in executions))
        events.update(dict.fromkeys(written))
        waiting = {event.artifact for event in written} - seen
        if through_warm_starts:
            models = [
                event.artifact
                for event in written
                if event.channel == "model" and event.artifact in waiting
            ]
            waiting |= _copies_of(backend, models) - seen
        seen |= waiting
    makers = {event.artifact: event.execution for event in events if event.is_output}
    return Subgraph(backend.artifacts(seen), executions, list(events), makers)


def _copies_of(backend: Backend, artifacts: Iterable[NodeId]) -> set[NodeId]:
    """Model artifacts under the same uris: an Importer may have entered one once more."""
    models = [a for a in backend.artifacts(set(artifacts)).values() if a.type == "Model"]
    return {copy.id for model in models for copy in backend.artifacts_with_uri(model.uri)}
