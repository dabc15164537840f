"""`runs`: every run, with its outcome."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import Push, is_blessed, push_of
from pipeline.lineage.training import is_raw_examples
from pipeline.metadata.records import (
    CACHED,
    FAILED,
    RUNNING,
    Artifact,
    Execution,
    NodeId,
    Run,
    iso,
)

PUSHED, NOT_BLESSED = "pushed", "not_blessed"
STATES = (PUSHED, NOT_BLESSED, RUNNING, FAILED)
# The components whose outputs make a line.
_TELLING = ("ExampleGen", "Evaluator", "DeviceCheck", "Pusher")
_PAGE = 200


@dataclasses.dataclass(frozen=True)
class RunLine:
    """A run in the list.

    Attributes:
      run: the run.
      state: PUSHED, NOT_BLESSED, FAILED, or RUNNING; RUNNING also if its process died.
      executions: how many there are.
      cached: how many of them came from the cache.
      examples: the raw Examples that it used.
      metrics: mAP50 and mAP of the file that ships, as far as they are known.
      blessed: by the Evaluator; None if it has not decided.
      infra_blessed: by DeviceCheck; None likewise.
      push: the version that it pushed, or that was already pushed.
    """

    run: Run
    state: str
    executions: int
    cached: int
    examples: Artifact | None
    metrics: dict[str, float]
    blessed: bool | None
    infra_blessed: bool | None
    push: Push | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = self.examples.properties if self.examples else {}
        return {
            "run": self.run.name,
            "pipeline": self.run.facts.get("pipeline"),
            "began": iso(self.run.created_ms),
            "state": self.state,
            "preset": self.run.facts.get("preset"),
            "origin": self.run.origin,
            "executions": self.executions,
            "cached": self.cached,
            "span": facts.get("span"),
            "data_fingerprint": facts.get("data_fingerprint"),
            "mAP50": self.metrics.get("mAP50"),
            "mAP": self.metrics.get("mAP"),
            "blessed": self.blessed,
            "infra_blessed": self.infra_blessed,
            "push": self.push.to_json() if self.push else None,
        }


def runs(
    backend: Backend,
    *,
    last: int | None = None,
    state: str | None = None,
    preset: str | None = None,
    span: int | None = None,
) -> list[RunLine]:
    """The runs in the order in which they began.

    Args:
      backend: the store.
      last: at most so many (from 1 on), the last ones that match.
      state: only runs in this one of `STATES`.
      preset: only runs of this preset.
      span: only runs on data of this span.
    """
    is_narrow = state is not None or span is not None
    found = backend.runs_backwards() if last is not None else reversed(backend.runs())
    found = (run for run in found if preset in (None, run.facts.get("preset")))
    lines: list[RunLine] = []
    # Nobody knows how many must be looked at to find those in a state.
    while page := list(itertools.islice(found, _PAGE if is_narrow or last is None else last)):
        lines += [
            line
            for line in _lines(backend, page)
            if state in (None, line.state)
            and (span is None or (line.examples and line.examples.properties["span"] == span))
        ]
        if last is not None and len(lines) >= last:
            break
    return lines[:last][::-1]


def _lines(backend: Backend, found: Sequence[Run]) -> list[RunLine]:
    backend.executions({key for run in found for key in run.facts.get("executions", ())})  # at once
    members = {run.name: backend.executions_in(run) for run in found}
    telling = {m.id for group in members.values() for m in group if m.node in _TELLING}
    events = [event for event in backend.events_of(telling) if event.is_output]
    artifacts = backend.artifacts({event.artifact for event in events})
    outputs: dict[NodeId, list[Artifact]] = {}
    for event in events:
        outputs.setdefault(event.execution, []).append(artifacts[event.artifact])
    return [_line(backend, run, members[run.name], outputs) for run in found]


def _line(backend: Backend, run: Run, members: list[Execution], outputs) -> RunLine:
    made: dict[str, Artifact] = {}
    for member in members:
        for artifact in outputs.get(member.id, ()):
            if artifact.type != "Examples" or is_raw_examples(artifact):
                made[artifact.type] = artifact
    pushed = made.get("PushedModel")
    push = push_of(backend, pushed) if pushed and pushed.properties.get("pushed") else None
    evaluation = made.get("ModelEvaluation")
    recorded = backend.record("evaluation", evaluation.id) if evaluation else None
    metrics = recorded["metrics"] if recorded else pushed.properties if push else {}
    return RunLine(
        run=run,
        state=_state(run, members, pushed),
        executions=len(members),
        cached=sum(member.state == CACHED for member in members),
        examples=made.get("Examples"),
        metrics={name: metrics[name] for name in ("mAP50", "mAP") if name in metrics},
        blessed=is_blessed(made.get("ModelBlessing")),
        infra_blessed=is_blessed(made.get("InfraBlessing")),
        push=push,
    )


def _state(run: Run, members: list[Execution], pushed: Artifact | None) -> str:
    is_failed = any(member.state == FAILED for member in members)
    if is_failed or run.facts.get("status") == FAILED:
        return FAILED
    if pushed is None or any(member.state == RUNNING for member in members):
        return RUNNING
    return PUSHED if pushed.properties.get("pushed") else NOT_BLESSED
