"""What became of trained models: the files made from them, the verdicts on these, the pushes."""

import dataclasses
import os
from collections.abc import Collection
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.walk import BASELINE
from pipeline.metadata.records import Artifact, Execution, NodeId, iso, local_path


@dataclasses.dataclass(frozen=True)
class Push:
    """A version that was pushed.

    Attributes:
      artifact: the PushedModel.
      destination: the version's folder.
      version: its number.
      is_present: whether its folder still exists; None if it is not on this machine.
      is_latest: whether `latest` points to it; None likewise.
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
      evaluator: the execution that evaluated it; None if none did.
      evaluation: the recorded metrics, thresholds and baseline; None if there are none.
      baseline: the shipping model that it was compared with.
      blessed: by the Evaluator; None if it has not decided.
      infra_blessed: by DeviceCheck; None likewise.
      reasons: DeviceCheck's for not blessing it.
      latency_ms: median, as DeviceCheck measured it.
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
        """Metrics by name; empty if none are recorded."""
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


def fates(
    backend: Backend, models: Collection[NodeId], within: Collection[NodeId] | None = None
) -> dict[NodeId, list[Fate]]:
    """What became of trained models.

    Args:
      backend: the store.
      models: ids of Model artifacts that a Trainer made.
      within: ids of a run's executions, for the verdicts and pushes of that run; by default the
        last verdict and every push of all runs.

    Returns:
      For each model its files, in the order in which they were made.
    """
    rewriters = _readers(backend, models, "model", "TFLiteRewriter")
    outputs, _ = _channels(backend, {rewriter.id for _, rewriter in rewriters})
    model_of, rewriter_of = {}, {}
    for model, rewriter in rewriters:
        for shipping in outputs.get(rewriter.id, {}).get("shipping_model", ()):
            model_of.setdefault(shipping.id, model)
            rewriter_of.setdefault(shipping.id, rewriter)
    shipping_models = backend.artifacts(model_of)
    judged: dict[NodeId, list[tuple[Execution, dict]]] = {key: [] for key in model_of}
    readers = _readers(backend, model_of, "model", "Evaluator", "DeviceCheck", "Pusher")
    outputs, baselines = _channels(backend, {reader.id for _, reader in readers})
    for shipping, reader in readers:
        judged[shipping].append((reader, outputs.get(reader.id, {})))
    result: dict[NodeId, list[Fate]] = {model: [] for model in models}
    for key, rewriter in rewriter_of.items():
        fate = _fate(backend, shipping_models[key], rewriter, judged[key], baselines, within)
        result[model_of[key]].append(fate)
    return result


def _readers(
    backend: Backend, artifacts: Collection[NodeId], channel: str, *nodes: str
) -> list[tuple[NodeId, Execution]]:
    """(artifact, execution of a node that read it through a channel), by time."""
    read = {
        event.execution: event.artifact
        for event in backend.events_at(artifacts)
        if not event.is_output and event.channel == channel
    }
    executions = sorted(backend.executions(read).values(), key=lambda e: (e.started_ms, e.id))
    return [(read[e.id], e) for e in executions if e.node in nodes]


def _channels(
    backend: Backend, executions: Collection[NodeId]
) -> tuple[dict[NodeId, dict[str, list[Artifact]]], dict[NodeId, NodeId]]:
    """What executions wrote, by channel; and the baselines that they compared with."""
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


def _fate(backend, shipping_model, rewriter, judged, baselines, within) -> Fate:
    evaluators: dict[NodeId, Execution] = {}  # by blessing: the one that made it, not a cached one
    blessing = evaluation = infra = None
    pushed: dict[NodeId, Artifact] = {}
    for execution, outputs in judged:
        if execution.node == "Evaluator" and "blessing" in outputs:
            evaluators.setdefault(outputs["blessing"][0].id, execution)
        if within is not None and execution.id not in within:
            continue
        if execution.node == "Pusher":
            pushed |= {artifact.id: artifact for artifact in outputs.get("pushed_model", ())}
        elif execution.node == "Evaluator" and "blessing" in outputs:
            blessing, evaluation = outputs["blessing"][0], outputs["evaluation"][0].id
        elif execution.node == "DeviceCheck" and "blessing" in outputs:
            infra = outputs["blessing"][0].properties
    evaluator = evaluators[blessing.id] if blessing else None
    return Fate(
        shipping_model=shipping_model,
        rewriter=rewriter,
        evaluator=evaluator,
        evaluation=backend.record("evaluation", evaluation) if blessing else None,
        baseline=baselines.get(evaluator.id) if evaluator else None,
        blessed=bool(blessing.properties.get("blessed")) if blessing else None,
        infra_blessed=bool(infra.get("blessed")) if infra else None,
        reasons=list(infra.get("reasons") or ()) if infra else [],
        latency_ms=infra.get("latency_ms") if infra else None,
        pushes=[push_of(found) for found in pushed.values() if found.properties.get("pushed")],
    )


def push_of(pushed_model: Artifact) -> Push:
    """What a PushedModel artifact says, and the present state of its folder."""
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
