"""What became of trained models: the files made of them, their judgement, their publication."""

import dataclasses
import os
from collections.abc import Collection
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.records import Artifact, Execution, NodeId, iso, local_path
from pipeline.lineage.walk import BASELINE


@dataclasses.dataclass(frozen=True)
class Push:
    """A version that was pushed.

    Attributes:
      artifact: the PushedModel.
      destination: the version's folder.
      version: its number.
      is_present: whether its folder is still there; None where this machine can't tell.
      is_latest: whether `latest` names it; None likewise.
    """

    artifact: Artifact
    destination: str
    version: str
    is_present: bool | None
    is_latest: bool | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "artifact": self.artifact.id,
            "destination": self.destination,
            "version": self.version,
            "pushed": iso(self.artifact.created_ms),
            "present": self.is_present,
            "latest": self.is_latest,
        }


@dataclasses.dataclass(frozen=True)
class Fate:
    """What became of a file that a TFLiteRewriter made.

    Attributes:
      shipping_model: the Model artifact with the file.
      rewriter: the execution that made it.
      evaluator: the first one that judged it; None when none has.
      evaluation: what is recorded of its figures and thresholds; None when nothing is.
      baseline: the shipping model that it was compared with.
      blessed: by the Evaluator; None when it has not decided.
      infra_blessed: by DeviceCheck; likewise.
      reasons: DeviceCheck's, when it did not bless.
      pushes: versions published from it.
    """

    shipping_model: Artifact
    rewriter: Execution
    evaluator: Execution | None
    evaluation: dict[str, Any] | None
    baseline: NodeId | None
    blessed: bool | None
    infra_blessed: bool | None
    reasons: list[str]
    latency_ms: float | None
    pushes: list[Push]

    @property
    def metrics(self) -> dict[str, float]:
        """Figures by name; empty when none are recorded."""
        if self.evaluation:
            return self.evaluation["metrics"]
        pushed = self.pushes[0].artifact.properties if self.pushes else {}
        return {name: pushed[name] for name in ("mAP50", "mAP") if name in pushed}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = self.shipping_model.properties
        return {
            "shipping_model": self.shipping_model.id,
            "made": iso(self.shipping_model.created_ms),
            "uri": self.shipping_model.uri,
            "sha256": facts.get("sha256"),
            "size_bytes": facts.get("size_bytes"),
            "quantization": facts.get("quantization"),
            "metrics": dict(self.metrics),
            "thresholds": (self.evaluation or {}).get("thresholds"),
            "baseline": self.baseline,
            "evaluated": iso(self.evaluator.started_ms) if self.evaluator else None,
            "blessed": self.blessed,
            "infra_blessed": self.infra_blessed,
            "reasons": self.reasons,
            "latency_ms": self.latency_ms,
            "pushes": [push.to_json() for push in self.pushes],
        }


def fates(backend: Backend, models: Collection[NodeId]) -> dict[NodeId, list[Fate]]:
    """What became of trained models.

    Args:
      backend: the store.
      models: ids of Model artifacts of a Trainer; those of a TFLiteRewriter have no fate here.

    Returns:
      A list a model, in the order of the files' making; a cached use of a file adds nothing.
    """
    rewriters = _readers(backend, models, "model", "TFLiteRewriter")
    outputs, _ = _channels(backend, rewriters.keys())
    model_of, rewriter_of = {}, {}
    for execution, (model, rewriter) in rewriters.items():
        for shipping in outputs.get(execution, {}).get("shipping_model", ()):
            if shipping.id not in rewriter_of or rewriter.id < rewriter_of[shipping.id].id:
                model_of[shipping.id], rewriter_of[shipping.id] = model, rewriter
    shipping_models = backend.artifacts(model_of)
    judged: dict[NodeId, list[tuple[Execution, dict]]] = {key: [] for key in model_of}
    readers = _readers(backend, model_of, "model", "Evaluator", "DeviceCheck", "Pusher")
    outputs, baselines = _channels(backend, readers.keys())
    for execution, (shipping, reader) in sorted(readers.items()):
        judged[shipping].append((reader, outputs.get(execution, {})))
    result: dict[NodeId, list[Fate]] = {model: [] for model in models}
    for key, model in sorted(model_of.items()):
        fate = _fate(backend, shipping_models[key], rewriter_of[key], judged[key], baselines)
        result[model].append(fate)
    return result


def _readers(
    backend: Backend, artifacts: Collection[NodeId], channel: str, *nodes: str
) -> dict[NodeId, tuple[NodeId, Execution]]:
    """Executions that read one of the artifacts through a channel, with the artifact."""
    read = {
        event.execution: event.artifact
        for event in backend.events_at(artifacts)
        if not event.is_output and event.channel == channel
    }
    executions = backend.executions(read)
    return {
        key: (read[key], execution)
        for key, execution in executions.items()
        if execution.node in nodes
    }


def _channels(
    backend: Backend, executions: Collection[NodeId]
) -> tuple[dict[NodeId, dict[str, list[Artifact]]], dict[NodeId, NodeId]]:
    """What executions put out, by channel; and the baselines that they compared with."""
    events = backend.events_of(executions)
    artifacts = backend.artifacts({event.artifact for event in events if event.is_output})
    outputs: dict[NodeId, dict[str, list[Artifact]]] = {}
    for event in events:
        if event.is_output:
            channels = outputs.setdefault(event.execution, {})
            channels.setdefault(event.channel, []).append(artifacts[event.artifact])
    baselines = {
        event.execution: event.artifact
        for event in events
        if event.channel == BASELINE and not event.is_output
    }
    return outputs, baselines


def _fate(backend, shipping_model, rewriter, judged, baselines) -> Fate:
    evaluator = evaluation = baseline = blessing = infra = None
    pushed: dict[NodeId, Artifact] = {}
    for execution, outputs in judged:
        if execution.node == "Evaluator" and outputs:
            evaluator = evaluator or execution
            blessing = outputs["blessing"][0]
            evaluation = backend.record("evaluation", outputs["evaluation"][0].id)
            baseline = baselines.get(execution.id)
        elif execution.node == "DeviceCheck" and outputs:
            infra = outputs["blessing"][0].properties
        elif execution.node == "Pusher":
            pushed |= {artifact.id: artifact for artifact in outputs.get("pushed_model", ())}
    return Fate(
        shipping_model=shipping_model,
        rewriter=rewriter,
        evaluator=evaluator,
        evaluation=evaluation,
        baseline=baseline,
        blessed=bool(blessing.properties.get("blessed")) if blessing else None,
        infra_blessed=bool(infra.get("blessed")) if infra else None,
        reasons=list(infra.get("reasons") or ()) if infra else [],
        latency_ms=infra.get("latency_ms") if infra else None,
        pushes=[push_of(found) for found in pushed.values() if found.properties.get("pushed")],
    )


def push_of(pushed_model: Artifact) -> Push:
    """What a PushedModel artifact says, and what has become of its folder."""
    destination = str(pushed_model.properties.get("pushed_destination", ""))
    path = local_path(destination) if destination else None
    present = latest = None
    if path is not None:
        present = os.path.isdir(path)
        pointer = os.path.join(os.path.dirname(path), "latest")
        latest = present and os.path.realpath(pointer) == os.path.realpath(path)
    return Push(
        artifact=pushed_model,
        destination=destination,
        version=str(pushed_model.properties.get("pushed_version", "")),
        is_present=present,
        is_latest=latest,
    )
