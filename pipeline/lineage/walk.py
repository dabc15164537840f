"""Walks through a store: up to everything behind artifacts, down to everything made from them."""

import dataclasses
from collections.abc import Collection, Iterable

from pipeline.lineage.backend import Backend
from pipeline.lineage.records import CACHED, Artifact, Event, Execution, NodeId

BASELINE = "baseline_model"
WARM_START = "base_model"
# The components that hand on what another run made, with the channel through which it is read.
BROUGHT_BY = {"LatestBlessedModel": BASELINE, "WarmStart": WARM_START}
# Channels whose artifacts judge what the execution puts out, and are no part of it.
JUDGEMENTS = frozenset({BASELINE, "model_blessing", "infra_blessing", "evaluation"})
_JUDGES = frozenset({"Evaluator", "DeviceCheck"})


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A part of a store; events have both of their ends in it.

    Attributes:
      artifacts: by id.
      executions: by id.
      events: of these executions.
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
    stop_at: Collection[str] = (BASELINE,),
) -> Subgraph:
    """Everything that artifacts and executions came from, however far back.

    Args:
      backend: the store.
      artifacts: where to begin.
      executions: likewise.
      stop_at: channels that are not followed: what came in through them is in the answer, and what
        that came from is not. A baseline is only compared with, so nothing of it is in a model.

    Returns:
      The part of the store that was walked, the beginnings included.
    """
    beginnings = backend.executions(set(executions))
    events_of = backend.events_of(beginnings)
    events: dict[Event, None] = dict.fromkeys(events_of)
    makers: dict[NodeId, NodeId] = {}
    seen_executions = set(beginnings)
    all_artifacts: dict[NodeId, Artifact] = {}
    # What these two put out is what came in through a channel of another component.
    bringers = {
        key for key, execution in beginnings.items() if BROUGHT_BY.get(execution.node) in stop_at
    }
    followed = [event for event in events_of if event.execution not in bringers]
    waiting = {*artifacts, *(event.artifact for event in followed if event.is_output)}
    waiting |= _inputs(followed, stop_at)
    stopped = {event.artifact for event in events_of} - waiting
    while waiting:
        found = backend.artifacts(waiting)
        all_artifacts |= found
        made, events_of = find_makers(backend, found.values())
        makers |= made
        new = set(made.values()) - seen_executions
        seen_executions |= new
        events_of = [event for event in events_of if event.execution in new]
        events.update(dict.fromkeys(events_of))
        read = _inputs(events_of, stop_at)
        stopped |= {event.artifact for event in events_of if not event.is_output} - read
        waiting = read - all_artifacts.keys()
    all_artifacts |= backend.artifacts(stopped - all_artifacts.keys())
    return Subgraph(
        all_artifacts,
        beginnings | backend.executions(seen_executions - beginnings.keys()),
        [event for event in events if event.artifact in all_artifacts],
        makers,
    )


def _inputs(events: Iterable[Event], stop_at: Collection[str]) -> set[NodeId]:
    return {
        event.artifact for event in events if not event.is_output and event.channel not in stop_at
    }


def find_makers(
    backend: Backend, artifacts: Collection[Artifact]
) -> tuple[dict[NodeId, NodeId], list[Event]]:
    """The execution that made each artifact, and all events of these executions.

    An artifact that many runs share has an event for every run, so its events are not asked for
    where the uri names the execution that made it, which the execution's events confirm. Only for
    other artifacts all events are read; then the first execution that was not cached made it.
    """
    hints = {artifact.id: backend.maker_hint(artifact) for artifact in artifacts}
    events = backend.events_of({hint for hint in hints.values() if hint is not None})
    outputs = {(event.artifact, event.execution) for event in events if event.is_output}
    makers = {artifact: hint for artifact, hint in hints.items() if (artifact, hint) in outputs}
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
    return makers, [*events, *backend.events_of(late)]


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
    not_followed = JUDGEMENTS if through_warm_starts else JUDGEMENTS | {WARM_START}
    seen = set(artifacts)
    executions: dict[NodeId, Execution] = {}
    events: dict[Event, None] = {}
    waiting = set(seen)
    while waiting:
        read = [
            event
            for event in backend.events_at(waiting)
            if not event.is_output and event.channel not in not_followed
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
        seen |= waiting
    makers = {event.artifact: event.execution for event in events if event.is_output}
    return Subgraph(backend.artifacts(seen), executions, list(events), makers)


def reached(part: Subgraph, artifacts: Iterable[NodeId], *, not_through: str) -> set[NodeId]:
    """Artifacts of a part that were made from others without passing a channel."""
    readers: dict[NodeId, set[NodeId]] = {}
    written: dict[NodeId, set[NodeId]] = {}
    for event in part.events:
        if event.is_output:
            written.setdefault(event.execution, set()).add(event.artifact)
        elif event.channel != not_through:
            readers.setdefault(event.artifact, set()).add(event.execution)
    found = set(artifacts)
    waiting = set(found)
    while waiting:
        executions = {e for artifact in waiting for e in readers.get(artifact, ())}
        waiting = {a for e in executions for a in written.get(e, ())} - found
        found |= waiting
    return found
