"""`why`: why was X blessed and pushed or not, and why was a component run again?"""

import dataclasses
import re
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage import records
from pipeline.lineage.backend import Backend
from pipeline.lineage.differences import Difference, differences
from pipeline.lineage.fate import Fate, fates
from pipeline.lineage.records import Execution, NodeId, Run
from pipeline.lineage.subject import find_subject
from pipeline.lineage.walk import BROUGHT_BY, find_makers

_MODEL_MAKERS = ("Trainer", "TFLiteRewriter")
# TFX runs these anew every time.
_NEVER_CACHED = tuple(BROUGHT_BY)
_CODE = "code_fingerprint"
_FINGERPRINT = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Rerun:
    """Why a component ran, or did not.

    Attributes:
      execution: the component's.
      before: the execution that its key is compared with: the component's last one before it that
        did not fail; None when there was none.
      properties: those that differ; parts of JSON properties by dotted names.
      inputs: channels whose artifacts differ: [channel, ids before, ids after].
      code: files that differ, when a fingerprint of code does and both runs recorded theirs.
    """

    execution: Execution
    before: Execution | None
    properties: list[Difference]
    inputs: list[tuple[str, list[NodeId], list[NodeId]]]
    code: list[str]

    @property
    def reason(self) -> str:
        """One sentence."""
        state = self.execution.state
        if state == records.CACHED:
            return "nothing in its key changed"
        if self.execution.node in _NEVER_CACHED:
            return "looks anew in every run"
        if self.before is None:
            return "no earlier execution"
        parts = [f"input {channel} changed" for channel, *_ in self.inputs]
        for name, before, after in self.properties:
            if not name.endswith(_CODE):
                parts.append(f"{name}: {_short(before)} -> {_short(after)}")
                continue
            files = f" ({', '.join(self.code)})" if self.code else ""
            parts.append(f"its code changed{files}")
        return "; ".join(parts) or (
            "nothing in its key changed, but no earlier outputs could be used: made by another "
            "version of the component, or removed"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "component": self.execution.node,
            "execution": self.execution.id,
            "state": self.execution.state,
            "before": self.before.id if self.before else None,
            "reason": self.reason,
            "properties": {name: [old, new] for name, old, new in self.properties},
            "inputs": {channel: [old, new] for channel, old, new in self.inputs},
            "code": self.code,
        }


def _short(value: Any) -> str:
    text = str(value)
    if _FINGERPRINT.fullmatch(text):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclasses.dataclass(frozen=True)
class Why:
    """The reasons behind a model or run.

    Attributes:
      run: the run.
      fate: of the file that it made; None when it got to none.
      reruns: its components, in the order in which they began.
    """

    run: Run
    fate: Fate | None
    reruns: list[Rerun]

    @property
    def decision(self) -> str:
        """One sentence about the push."""
        fate = self.fate
        if fate is None:
            return "nothing to judge: no file was made"
        refused = []
        if fate.blessed is False:
            refused.append("the Evaluator did not bless it")
        if fate.infra_blessed is False:
            refused.append(f"DeviceCheck did not bless it ({'; '.join(fate.reasons)})")
        if fate.pushes:
            versions = ", ".join(push.version for push in fate.pushes)
            return f"blessed by the Evaluator and DeviceCheck: pushed as version {versions}"
        if refused:
            return f"not pushed: {' and '.join(refused)}"
        if fate.blessed is None or fate.infra_blessed is None:
            return "not pushed: not judged to the end"
        return "blessed, but not pushed: the Pusher has not finished"

    def to_json(self) -> dict[str, Any]:
        """{run, decision, file, baseline_metrics, components}."""
        evaluation = (self.fate and self.fate.evaluation) or {}
        return {
            "run": self.run.name,
            "decision": self.decision,
            "file": self.fate.to_json() if self.fate else None,
            "baseline_metrics": evaluation.get("baseline_metrics"),
            "components": [rerun.to_json() for rerun in self.reruns],
        }


def why(backend: Backend, given: str) -> Why:
    """Why X is what it is.

    Args:
      backend: the store.
      given: a run, or an artifact, which stands for the run that made it; see `find_subject`.

    Raises:
      UserError: see `find_subject`; or no run made it.
    """
    subject = find_subject(backend, given)
    run = subject.run
    if run is None:
        maker = find_makers(backend, [subject.artifact])[0].get(subject.artifact.id)
        run = backend.runs_of([maker]).get(maker) if maker is not None else None
    if run is None:
        raise UserError(f"Expected something that a run made. Received: {given!r}.")
    members = backend.executions_in(run)
    return Why(run, _fate(backend, members), [_rerun(backend, run, member) for member in members])


def _fate(backend: Backend, members: list[Execution]) -> Fate | None:
    """Of the file that a run made, or found in the cache."""
    made: dict[str, set[NodeId]] = {"model": set(), "shipping_model": set()}
    for event in backend.events_of([m.id for m in members if m.node in _MODEL_MAKERS]):
        if event.is_output and event.channel in made:
            made[event.channel].add(event.artifact)
    became = fates(backend, made["model"], within={member.id for member in members})
    found = [fate for group in became.values() for fate in group]
    return next((fate for fate in found if fate.shipping_model.id in made["shipping_model"]), None)


def _rerun(backend: Backend, run: Run, execution: Execution) -> Rerun:
    is_new = execution.state != records.CACHED and execution.node not in _NEVER_CACHED
    before = backend.earlier(execution) if is_new else None
    if before is None:
        return Rerun(execution, None, [], [], [])
    properties = differences(before.properties, execution.properties)
    inputs = _inputs(backend, before, execution)
    is_code = any(name.endswith(_CODE) for name, *_ in properties)
    return Rerun(
        execution, before, properties, inputs, _code(backend, run, before) if is_code else []
    )


def _inputs(backend: Backend, before: Execution, after: Execution) -> list[tuple]:
    channels: dict[str, tuple[list, list]] = {}
    for event in backend.events_of([before.id, after.id]):
        if not event.is_output:
            sides = channels.setdefault(event.channel, ([], []))
            sides[event.execution == after.id].append(event.artifact)
    return [
        (channel, sorted(old), sorted(new))
        for channel, (old, new) in sorted(channels.items())
        if sorted(old) != sorted(new)
    ]


def _code(backend: Backend, run: Run, before: Execution) -> list[str]:
    earlier = backend.runs_of([before.id]).get(before.id)
    fingerprints = [r.facts.get("code") if r else None for r in (earlier, run)]
    if None in fingerprints:
        return []
    tables = [backend.record("code", fingerprint) or {} for fingerprint in fingerprints]
    return [name for name, *_ in differences(*tables)]
