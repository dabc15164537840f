"""`runs`: every run, with its outcome."""

import dataclasses
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
    found = backend.runs()
    if preset is not None:
        found = [run for run in found if run.facts.get("preset") == preset]
    if last is not None and state is None and span is None:
        found = found[-last:]
    lines = _lines(backend, found)
    if state is not None:
        lines = [line for line in lines if line.state == state]
    if span is not None:
        lines = [
            line for line in lines if line.examples and line.examples.properties["span"] == span
        ]
    return lines if last is None else lines[-last:]


def _lines(backend: Backend, found: Sequence[Run]) -> list[RunLine]:
    members = {run.name: backend.executions_in(run) for run in found}
    executions = {member.id for group in members.values() for member in group}
    events = [event for event in backend.events_of(executions) if event.is_output]
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
    push = push_of(pushed) if pushed and pushed.properties.get("pushed") else None
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
