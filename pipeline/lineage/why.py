"""`why`: why was X blessed and pushed or not, and why did its components run again?"""

import dataclasses
import re
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage.backend import Backend
from pipeline.lineage.diff import Difference, differences
from pipeline.lineage.fate import Fate, fates
from pipeline.lineage.subject import find_subject
from pipeline.lineage.training import workdir_of
from pipeline.lineage.walk import BROUGHT_BY, find_makers
from pipeline.metadata.records import CACHED, COMPLETE, Execution, NodeId, Run
from pipeline.metadata.relocation import replace_folder

_MODEL_MAKERS = ("Trainer", "TFLiteRewriter")
# TFX never caches these.
_NEVER_CACHED = tuple(BROUGHT_BY)
_CODE = "code_fingerprint"
_FINGERPRINT = re.compile("[0-9a-f]{64}")
# Characters of a value, and of those what it shares with the other.
_LONGEST, _SHARED = 60, 20
# What an executor or driver finds out, and a cached execution does not have.
_FOUND_OUT = ("input_fingerprint", "span", "version")


@dataclasses.dataclass(frozen=True)
class Rerun:
    """Why a component ran or was cached.

    Attributes:
      execution: the component's.
      before: the component's execution that its cache key is compared with: the last one before it
        that did not fail; None if there was none.
      properties: those that differ; parts of JSON properties by dotted names.
      inputs: channels whose artifacts differ: [channel, ids before, ids after].
      code: files that differ, if the code's fingerprint does and both runs recorded their files.
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
        if state == CACHED:
            return "nothing in its cache key changed"
        if self.execution.node in _NEVER_CACHED:
            return "runs every time"
        if self.before is None:
            return "no earlier execution"
        parts = [f"input {channel} changed" for channel, *_ in self.inputs]
        for name, before, after in self.properties:
            if not name.endswith(_CODE):
                parts.append(f"{name}: {' -> '.join(_short(before, after))}")
                continue
            files = f" ({', '.join(self.code)})" if self.code else ""
            parts.append(f"its code changed{files}")
        return "; ".join(parts) or (
            "nothing in its cache key changed, but the earlier outputs were unusable: removed, or "
            "made by another version of the component"
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


def _short(*values: Any) -> list[str]:
    """Values that differ, each cut to where they do."""
    texts = [str(value) for value in values]
    if all(_FINGERPRINT.fullmatch(text) for text in texts):
        return [text[:12] for text in texts]
    differ = (index for index, pair in enumerate(zip(*texts, strict=False)) if len(set(pair)) > 1)
    same = next(differ, min(map(len, texts)))
    # With some of what they share, to tell where it is.
    begin = max(same - _SHARED, 0) if max(map(len, texts)) > _LONGEST else 0
    return [_cut(text, begin) for text in texts]


def _cut(text: str, begin: int) -> str:
    text = f"...{text[begin:]}" if begin else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


@dataclasses.dataclass(frozen=True)
class Why:
    """The reasons behind a model or run.

    Attributes:
      run: the run.
      fate: of the file that it made; None if it made none.
      reruns: its components, in the order in which they began.
    """

    run: Run
    fate: Fate | None
    reruns: list[Rerun]

    @property
    def decision(self) -> str:
        """One sentence about the push."""
        fate = self.fate
        error = self.run.facts.get("error")
        if error and not (fate and fate.pushes):
            return f"not pushed: the run failed: {error}"
        if fate is None:
            return "not pushed: no file was made"
        refused = []
        if fate.blessed is False:
            refused.append("the Evaluator did not bless it")
        if fate.infra_blessed is False:
            reasons = "; ".join(fate.judgement.reasons)
            refused.append(f"DeviceCheck did not bless it ({reasons})")
        if fate.pushes:
            versions = ", ".join(push.version for push in fate.pushes)
            return f"blessed by the Evaluator and DeviceCheck: pushed as version {versions}"
        if refused:
            return f"not pushed: {' and '.join(refused)}"
        if fate.blessed is None or fate.infra_blessed is None:
            return "not pushed: the evaluation did not finish"
        return "blessed, but not pushed: the Pusher did not finish"

    def to_json(self) -> dict[str, Any]:
        """{run, decision, file, baseline_metrics, components}."""
        evaluation = (self.fate and self.fate.judgement.evaluation) or {}
        return {
            "run": self.run.name,
            "decision": self.decision,
            "file": self.fate.to_json() if self.fate else None,
            "baseline_metrics": evaluation.get("baseline_metrics"),
            "components": [rerun.to_json() for rerun in self.reruns],
        }


def why(backend: Backend, given: str) -> Why:
    """Why X was pushed or not, and why its components ran.

    Args:
      backend: the store.
      given: a run, or an artifact for the run that made it; see `find_subject`.

    Raises:
      UserError: see `find_subject`; or no run made it.
    """
    subject = find_subject(backend, given)
    run = subject.run
    if run is None:
        maker = find_makers(backend, [subject.artifact.id]).get(subject.artifact.id)
        run = backend.runs_of([maker]).get(maker) if maker is not None else None
    if run is None:
        raise UserError(f"Expected something that a run made. Received: {given!r}.")
    members = backend.executions_in(run)
    earlier = _earlier(backend, run, members)
    reruns = [_rerun(backend, run, member, earlier.get(member.id)) for member in members]
    return Why(run, _fate(backend, members), reruns)


def _fate(backend: Backend, members: list[Execution]) -> Fate | None:
    """Of the file that a run made, or took from the cache."""
    made: dict[str, set[NodeId]] = {"model": set(), "shipping_model": set()}
    for event in backend.events_of([m.id for m in members if m.node in _MODEL_MAKERS]):
        if event.is_output and event.channel in made:
            made[event.channel].add(event.artifact)
    became = fates(backend, made["model"], within={member.id for member in members})
    found = [fate for group in became.values() for fate in group]
    return next((fate for fate in found if fate.shipping_model.id in made["shipping_model"]), None)


def _earlier(
    backend: Backend, run: Run, members: list[Execution]
) -> dict[NodeId, tuple[Run, Execution]]:
    """The execution before each one that could have been cached, with its run.

    Goes back through the pipeline's earlier runs until every component is found.
    """
    wanted = {m.node: m.id for m in members if m.state != CACHED and m.node not in _NEVER_CACHED}
    found: dict[NodeId, tuple[Run, Execution]] = {}
    for other in _runs_before(backend, run):
        if not wanted:
            break
        for candidate in backend.executions_in(other):
            if candidate.state in (COMPLETE, CACHED) and candidate.node in wanted:
                found[wanted.pop(candidate.node)] = other, candidate
    return found


def _runs_before(backend: Backend, run: Run) -> list[Run]:
    """Earlier runs of the same pipeline, the last one first."""
    runs = backend.runs()
    before = runs[: [other.name for other in runs].index(run.name)]
    return [r for r in reversed(before) if r.facts.get("pipeline") == run.facts.get("pipeline")]


def _rerun(
    backend: Backend, run: Run, execution: Execution, earlier: tuple[Run, Execution] | None
) -> Rerun:
    if earlier is None:
        return Rerun(execution, None, [], [], [])
    other, before = earlier
    places = workdir_of(backend, other), workdir_of(backend, run)

    def comparable(value: Any) -> Any:
        """A cache key does not depend on where the workdir is, see `pipeline.local.cache`."""
        return replace_folder(value, *places) if isinstance(value, str) and all(places) else value

    properties = [
        (name, old, new)
        for name, old, new in differences(before.properties, execution.properties)
        if not (name in _FOUND_OUT and None in (old, new))
        and _plain(comparable(old)) != _plain(new)
    ]
    is_code = any(name.endswith(_CODE) for name, *_ in properties)
    code = _code(backend, other, run) if is_code else []
    return Rerun(execution, before, properties, _inputs(backend, before, execution), code)


def _plain(value: Any) -> Any:
    """A truth value is a number in some executions, and a text in others."""
    return {"true": 1, "false": 0}.get(value, value) if isinstance(value, str) else value


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


def _code(backend: Backend, before: Run, after: Run) -> list[str]:
    """Files whose content differs between two runs; empty if one did not record its code."""
    fingerprints = [run.facts.get("code") for run in (before, after)]
    if None in fingerprints:
        return []
    tables = [backend.record("code", fingerprint) or {} for fingerprint in fingerprints]
    return [name for name, *_ in differences(*tables)]
