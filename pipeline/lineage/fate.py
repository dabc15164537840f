"""What became of trained models: the files made from them, the verdicts on these, the pushes."""

import dataclasses
import json
import os
from collections.abc import Collection
from typing import Any

from pipeline.files import LATEST, MANIFEST_FILE, PUSHED_MODEL_FILE
from pipeline.lineage import places
from pipeline.lineage.backend import Backend
from pipeline.lineage.walk import BASELINE, find_makers
from pipeline.metadata.facts import WITHDRAWALS
from pipeline.metadata.records import Artifact, Execution, NodeId, Run, iso, local_path

_CODE = "code_fingerprint"


@dataclasses.dataclass(frozen=True)
class Push:
    """A version that was pushed, however often.

    Attributes:
      artifact: the first PushedModel.
      destination: the version's folder.
      version: its number.
      is_present: whether its folder still exists; None if nobody can tell.
      is_latest: whether `latest` points to it; None likewise.
      withdrawn: {at, reason, version, destination} if its file was withdrawn.
    """

    artifact: Artifact
    destination: str
    version: str
    is_present: bool | None
    is_latest: bool | None
    withdrawn: dict[str, str] | None = None

    @property
    def sha256(self) -> str | None:
        """Of the file, as recorded."""
        return self.artifact.properties.get("sha256")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "artifact": self.artifact.id,
            "destination": self.destination,
            "version": self.version,
            "pushed": iso(self.artifact.created_ms),
            "present": self.is_present,
            "latest": self.is_latest,
            "withdrawn": self.withdrawn,
        }


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the Evaluator and DeviceCheck said of a file.

    Attributes:
      run: the first run in which both said it.
      evaluator: the execution that evaluated the file; None if none did.
      evaluation: the recorded metrics, thresholds and baseline; None if there are none.
      baseline: the shipping model that it was compared with.
      blessed: by the Evaluator; None if it has not decided.
      infra_blessed: by DeviceCheck; None likewise.
      reasons: DeviceCheck's for not blessing it.
      latency_ms: median, as DeviceCheck measured it.
    """

    run: Run | None
    evaluator: Execution | None = None
    evaluation: dict[str, Any] | None = None
    baseline: NodeId | None = None
    blessed: bool | None = None
    infra_blessed: bool | None = None
    reasons: list[str] = dataclasses.field(default_factory=list)
    latency_ms: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics by name; empty if none are recorded."""
        return self.evaluation["metrics"] if self.evaluation else {}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": self.run.name if self.run else None,
            "evaluated": iso(self.evaluator.started_ms) if self.evaluator else None,
            "metrics": dict(self.metrics),
            "thresholds": (self.evaluation or {}).get("thresholds"),
            "baseline": self.baseline,
            "blessed": self.blessed,
            "infra_blessed": self.infra_blessed,
            "reasons": self.reasons,
            "latency_ms": self.latency_ms,
        }


@dataclasses.dataclass(frozen=True)
class Fate:
    """What became of a file that a TFLiteRewriter made.

    Attributes:
      shipping_model: the Model artifact with the file.
      rewriter: the execution that made it.
      run: the run that this execution belongs to.
      judgements: the different ones, the one that counted last in the end.
      pushes: versions published from it.
    """

    shipping_model: Artifact
    rewriter: Execution
    run: Run | None
    judgements: list[Judgement]
    pushes: list[Push]

    @property
    def sha256(self) -> str | None:
        """Of the file."""
        return self.shipping_model.properties.get("sha256")

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the TFLiteRewriter."""
        return {k: value for k, value in self.rewriter.properties.items() if k != _CODE}

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """Of the code that made the file, and of the environment and settings of its run."""
        facts = self.run.facts if self.run else {}
        return {
            "rewriter_code": self.rewriter.properties.get(_CODE),
            **{name: facts.get(name) for name in ("code", "environment", "configuration")},
        }

    @property
    def judgement(self) -> Judgement:
        """The last one, which may be empty."""
        return self.judgements[-1] if self.judgements else Judgement(None)

    @property
    def blessed(self) -> bool | None:
        """By the Evaluator, in the last judgement."""
        return self.judgement.blessed

    @property
    def infra_blessed(self) -> bool | None:
        """By DeviceCheck, in the last judgement."""
        return self.judgement.infra_blessed

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics by name, of the last judgement; empty if none are recorded."""
        pushed = self.pushes[0].artifact.properties if self.pushes else {}
        return self.judgement.metrics or {
            name: pushed[name] for name in ("mAP50", "mAP") if name in pushed
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = self.shipping_model.properties
        return {
            "shipping_model": self.shipping_model.id,
            "execution": self.rewriter.id,
            "made": iso(self.shipping_model.created_ms),
            "uri": self.shipping_model.uri,
            "sha256": self.sha256,
            "size_bytes": facts.get("size_bytes"),
            "quantization": facts.get("quantization"),
            "settings": self.settings,
            "fingerprints": self.fingerprints,
            **self.judgement.to_json(),
            "run": self.run.name if self.run else None,
            "metrics": dict(self.metrics),
            "judgements": [judgement.to_json() for judgement in self.judgements],
            "pushes": [push.to_json() for push in self.pushes],
        }


def fates(
    backend: Backend, models: Collection[NodeId], within: Collection[NodeId] | None = None
) -> dict[NodeId, list[Fate]]:
    """What became of trained models.

    Args:
      backend: the store.
      models: ids of Model artifacts that a Trainer made.
      within: ids of a run's executions, for the verdicts and pushes of that run; by default those
        of all runs.

    Returns:
      For each model its files, in the order in which they were made.
    """
    rewriter_of, model_of = _rewriters(backend, models)
    shipping_models = backend.artifacts(model_of)
    read: dict[NodeId, list[tuple[Execution, dict]]] = {key: [] for key in model_of}
    readers = _readers(backend, model_of, "model", "Evaluator", "DeviceCheck", "Pusher")
    outputs, baselines = _channels(backend, {reader.id for _, reader in readers})
    for shipping, reader in readers:
        if within is None or reader.id in within:
            read[shipping].append((reader, outputs.get(reader.id, {})))
    evaluators = {}  # by blessing: the one that made it, not a cached one
    for _, reader in readers:
        for blessing in outputs.get(reader.id, {}).get("blessing", ()):
            evaluators.setdefault(blessing.id, reader)
    runs = backend.runs_of(
        {*(rewriter.id for rewriter in rewriter_of.values()), *(reader.id for _, reader in readers)}
    )
    result: dict[NodeId, list[Fate]] = {model: [] for model in models}
    for key, rewriter in rewriter_of.items():
        fate = Fate(
            shipping_model=shipping_models[key],
            rewriter=rewriter,
            run=runs.get(rewriter.id),
            judgements=_judgements(backend, read[key], runs, evaluators, baselines),
            pushes=_pushes(backend, read[key]),
        )
        result[model_of[key]].append(fate)
    return result


def shipped(backend: Backend, models: Collection[NodeId]) -> dict[NodeId, list[Artifact]]:
    """The shipping models that were made from trained models, by these."""
    _, model_of = _rewriters(backend, models)
    found: dict[NodeId, list[Artifact]] = {}
    for key, artifact in backend.artifacts(model_of).items():
        found.setdefault(model_of[key], []).append(artifact)
    return found


def _rewriters(
    backend: Backend, models: Collection[NodeId]
) -> tuple[dict[NodeId, Execution], dict[NodeId, NodeId]]:
    """The TFLiteRewriters that ran on trained models, and these; by shipping model."""
    rewriters = _readers(backend, models, "model", "TFLiteRewriter")
    read = {rewriter.id: (model, rewriter) for model, rewriter in rewriters}
    rewriter_of, model_of = {}, {}
    for event in backend.events_of(read):
        if event.is_output and event.channel == "shipping_model":
            model, rewriter = read[event.execution]
            model_of.setdefault(event.artifact, model)
            rewriter_of.setdefault(event.artifact, rewriter)
    return rewriter_of, model_of


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


def _judgements(backend: Backend, read, runs, evaluators, baselines) -> list[Judgement]:
    """The different verdicts on a file, each where it counted last.

    Args:
      backend: the store.
      read: the executions that read the file, with their outputs, by time.
      runs: by execution.
      evaluators: the execution that made a blessing, by the blessing.
      baselines: by execution.
    """
    said: dict[NodeId | None, dict[str, tuple[Run | None, dict]]] = {}
    for execution, outputs in read:
        if execution.node in ("Evaluator", "DeviceCheck") and "blessing" in outputs:
            run = runs.get(execution.id)
            said.setdefault(run and run.context, {})[execution.node] = run, outputs
    found: dict[tuple, Judgement] = {}
    for both in said.values():
        (run, evaluated), (_, checked) = (
            both.get(node, (None, {})) for node in ("Evaluator", "DeviceCheck")
        )
        run = next(iter(both.values()))[0]
        blessing, infra = (o["blessing"][0] if o else None for o in (evaluated, checked))
        key = blessing and blessing.id, infra and infra.id
        evaluator = evaluators[blessing.id] if blessing else None
        facts = infra.properties if infra else {}
        found[key] = found.pop(key, None) or Judgement(
            run=run,
            evaluator=evaluator,
            evaluation=(
                backend.record("evaluation", evaluated["evaluation"][0].id) if blessing else None
            ),
            baseline=baselines.get(evaluator.id) if evaluator else None,
            blessed=is_blessed(blessing),
            infra_blessed=is_blessed(infra),
            reasons=list(facts.get("reasons") or ()),
            latency_ms=facts.get("latency_ms"),
        )
    return list(found.values())


def is_blessed(blessing: Artifact | None) -> bool | None:
    """What a blessing says; None if there is none."""
    return None if blessing is None else bool(blessing.properties.get("blessed"))


def _pushes(backend: Backend, read) -> list[Push]:
    """The versions that a file was pushed as: a push to where it already was is no other one."""
    found: dict[str, Push] = {}
    for execution, outputs in read:
        for artifact in outputs.get("pushed_model", ()) if execution.node == "Pusher" else ():
            if artifact.properties.get("pushed"):
                push = push_of(backend, artifact)
                found.setdefault(push.destination, push)
    return list(found.values())


def push_of(
    backend: Backend,
    pushed_model: Artifact,
    pointers: dict[str, tuple[str, str]] | None = None,
) -> Push:
    """What a PushedModel artifact says, and the present state of its folder.

    Args:
      backend: the store.
      pushed_model: of a version.
      pointers: where folders and their `latest` really are; filled, for other versions.
    """
    pointers = {} if pointers is None else pointers
    destination = str(pushed_model.properties.get("pushed_destination", ""))
    path = local_path(destination) if destination else None
    present = latest = None
    if path is not None:
        present = os.path.isdir(path)
        folder, name = os.path.split(path)
        if folder not in pointers:
            pointer = os.path.join(folder, LATEST)
            pointers[folder] = os.path.realpath(folder), os.path.realpath(pointer)
        real, newest = pointers[folder]
        latest = present and os.path.join(real, name) == newest
    elif destination:
        present, latest = places.state_of_version(destination)
    # The number of a version that somebody deleted may have been given again.
    latest = latest and _sha256_at(destination) in (None, pushed_model.properties.get("sha256"))
    return Push(
        artifact=pushed_model,
        destination=destination,
        version=str(pushed_model.properties.get("pushed_version", "")),
        is_present=present,
        is_latest=latest,
        withdrawn=(backend.record(*WITHDRAWALS) or {}).get(pushed_model.properties.get("sha256")),
    )


def _sha256_at(folder: str) -> str | None:
    """Of the file that was pushed to a folder last, by its manifest; None if that is damaged."""
    try:
        manifest = json.loads(places.read(f"{folder.rstrip('/')}/{MANIFEST_FILE}"))
        digest = manifest["files"][PUSHED_MODEL_FILE]["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def origins(backend: Backend, files: Collection[Artifact]) -> dict[NodeId, tuple[NodeId, NodeId]]:
    """(shipping model, trained model) behind PushedModels and shipping models, by their ids.

    Anything else is its own origin.
    """
    shipping = _models_read(backend, {file.id: file.id for file in files}, "Pusher")
    trained = _models_read(backend, shipping, "TFLiteRewriter")
    return {key: (shipping[key], trained[key]) for key in shipping}


def _models_read(
    backend: Backend, artifacts: dict[NodeId, NodeId], node: str
) -> dict[NodeId, NodeId]:
    """Replaces artifacts that a node made by the models that they were made from."""
    makers = find_makers(backend, set(artifacts.values()))
    executions = backend.executions(makers.values())
    models = {
        event.execution: event.artifact
        for event in backend.events_of(key for key, e in executions.items() if e.node == node)
        if not event.is_output and event.channel == "model"
    }
    return {key: models.get(makers.get(at), at) for key, at in artifacts.items()}
