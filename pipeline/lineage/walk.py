"""Walks through a store: up to everything behind artifacts, down to everything made from them."""

import collections
import dataclasses
import functools
from collections.abc import Collection, Iterable

from pipeline.lineage.backend import Backend
from pipeline.metadata.records import CACHED, Artifact, Event, Execution, NodeId

BASELINE = "baseline_model"
WARM_START = "base_model"
# The components that hand on what another run made, with the channel through which it is read.
BROUGHT_BY = {"LatestBlessedModel": BASELINE, "WarmStart": WARM_START}
# Channels whose artifacts judge what the execution puts out, and are no part of it.
_JUDGEMENTS = frozenset({BASELINE, "model_blessing", "infra_blessing", "evaluation"})
# Nothing is made from what these make.
_ENDS = frozenset({"ExampleValidator", "Evaluator", "DeviceCheck", "Pusher", "Report"})
_SHIPPING_MODEL = "shipping_model"


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A part of a store; both ends of every event are in it.

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
        return self._channels[execution, False]

    def outputs(self, execution: NodeId) -> dict[str, list[Artifact]]:
        """Artifacts that an execution wrote, by channel; those in this part."""
        return self._channels[execution, True]

    @functools.cached_property
    def _channels(self) -> dict[tuple[NodeId, bool], dict[str, list[Artifact]]]:
        found = collections.defaultdict(dict)
        for event in self.events:
            channels = found[event.execution, event.is_output]
            channels.setdefault(event.channel, []).append(self.artifacts[event.artifact])
        return found


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
      stop_at: channels that are not followed: what came in through them is in the answer, but not
        what that came from. A baseline is only compared with, so nothing of it is in a model.

    Returns:
      The part of the store that was walked, the beginnings included.
    """
    beginnings = backend.executions(set(executions))
    events = backend.events_of(beginnings)
    # The outputs of these two are what came in through a channel of another component.
    bringers = {
        key for key, execution in beginnings.items() if BROUGHT_BY.get(execution.node) in stop_at
    }
    followed = [event for event in events if event.execution not in bringers]
    seen = {*artifacts, *(event.artifact for event in events)}
    waiting = {*artifacts, *(event.artifact for event in followed if event.is_output)}
    waiting |= _inputs(followed, stop_at)
    makers: dict[NodeId, NodeId] = {}
    while waiting:
        found = find_makers(backend, waiting)
        new = backend.events_of(set(found.values()) - set(makers.values()) - beginnings.keys())
        makers |= found
        events += new
        waiting = _inputs(new, stop_at) - makers.keys()
        seen |= {event.artifact for event in new if not event.is_output}
    return Subgraph(
        backend.artifacts(seen),
        backend.executions({*beginnings, *makers.values()}),
        [event for event in events if event.artifact in seen],
        makers,
    )


def _inputs(events: Iterable[Event], stop_at: Collection[str]) -> set[NodeId]:
    return {
        event.artifact for event in events if not event.is_output and event.channel not in stop_at
    }


def find_makers(backend: Backend, artifacts: Collection[NodeId]) -> dict[NodeId, NodeId]:
    """The execution that made each artifact: the first that wrote it.

    Later ones took it from the cache, imported or resolved it.
    """
    makers: dict[NodeId, NodeId] = {}
    for event in backend.events_at(artifacts):
        if event.is_output:
            makers.setdefault(event.artifact, event.execution)
    return makers


def brought(backend: Backend) -> dict[NodeId, NodeId]:
    """The weights that trainings began from, with the execution that first brought or made them."""
    importers = [execution.id for execution in backend.executions_of("WarmStart")]
    return find_makers(
        backend, {event.artifact for event in backend.events_of(importers) if event.is_output}
    )


def of_unknown_origin(backend: Backend, weights: Collection[NodeId]) -> set[NodeId]:
    """Those among the weights that trainings began from which no run in the store made."""
    makers = find_makers(backend, weights)
    executions = backend.executions(makers.values())
    return {key for key, maker in makers.items() if executions[maker].node == "WarmStart"}


def descendants(
    backend: Backend, artifacts: Iterable[NodeId], *, through_warm_starts: bool = True
) -> Subgraph:
    """Every model that was made from artifacts, with what led there: their content went into it.

    Left out is what only judged or was judged: evaluations, blessings, and models that were
    compared with one of them; and what was pushed.

    Args:
      backend: the store.
      artifacts: where to begin.
      through_warm_starts: also models that began from the weights of others.

    Returns:
      The part of the store that was walked, the beginnings included.
    """
    not_followed = _JUDGEMENTS if through_warm_starts else _JUDGEMENTS | {WARM_START}
    seen = set(artifacts)
    executions: dict[NodeId, Execution] = {}
    events: dict[Event, None] = {}
    waiting = set(seen)
    bases = brought(backend)
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
            if execution.node not in _ENDS and execution.state != CACHED
        }
        executions |= found
        written = [event for event in backend.events_of(found) if event.is_output]
        events.update(dict.fromkeys(event for event in read if event.execution in executions))
        events.update(dict.fromkeys(written))
        made = {event.artifact for event in written} - seen
        seen |= made
        # Of the files that ship, only those matter that a training began from.
        waiting = made - {
            event.artifact
            for event in written
            if event.channel == _SHIPPING_MODEL and event.artifact not in bases
        }
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
