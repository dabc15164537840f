"""A trained model with everything that it was trained from, and what became of it."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import Fate, fates
from pipeline.lineage.walk import (
    BROUGHT_BY,
    WARM_START,
    Subgraph,
    ancestors,
    of_unknown_origin,
)
from pipeline.metadata.records import CACHED, NO_ORIGIN, Artifact, Execution, NodeId, Run, iso
from pipeline.metadata.relocation import replace_folder

DATA_FACTS = (
    "span",
    "data_fingerprint",
    "num_train",
    "num_eval",
    "num_test",
    "num_negatives",
    "num_set_aside",
    "set_aside_reasons",
    "num_ignored",
    "num_turned",
    "num_converted",
    "num_clipped",
    "leaked_images",
)


@dataclasses.dataclass(frozen=True)
class Training:
    """An execution of the Trainer.

    Attributes:
      execution: the Trainer's.
      model: the trained model; None while it runs, or if it failed.
      run: the run that it belongs to.
      examples: the raw Examples.
      schema: the Schema.
      transform: the execution of Transform.
      warm_start: the Model artifact whose weights it began from.
      fates: the files made from the model, and what became of them.
      knows_weights: whether a run in this store made `warm_start`; True if there is none.
    """

    execution: Execution
    model: Artifact | None
    run: Run | None
    examples: list[Artifact]
    schema: Artifact | None
    transform: Execution | None
    warm_start: Artifact | None
    fates: list[Fate]
    knows_weights: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The sections of the configuration that training depends on; empty if they are unknown."""
        return self._config.get("settings", {})

    @property
    def plan(self) -> dict[str, Any] | None:
        """What `training.minutes` was planned to; None without it, or if it is not recorded."""
        return self.run.facts.get("plan") if self.run else None

    @property
    def origin(self) -> dict[str, Any]:
        """The run's `Run.origin`."""
        return self.run.origin if self.run else NO_ORIGIN

    @property
    def _config(self) -> dict[str, Any]:
        config = self.execution.properties.get("custom_config")
        return config if isinstance(config, dict) else {}

    def recorded(self, backend: Backend, kind: str) -> Any:
        """See `recorded`."""
        return recorded(backend, self.run, kind)

    def to_json(self, backend: Backend) -> dict[str, Any]:
        """Plain values; the backend knows the schema's hash."""
        facts = self.run.facts if self.run else {}
        return {
            "execution": self.execution.id,
            "trained": iso(self.execution.finished_ms),
            "seconds": round(self.execution.seconds, 1),
            "run": self.run.name if self.run else None,
            "model": _place(self.model),
            "data": [data_json(examples) for examples in self.examples],
            "schema": _place(self.schema, sha256=schema_sha256(backend, self.schema)),
            "transform": self.transform and {
                "execution": self.transform.id,
                "finished": iso(self.transform.finished_ms),
                "settings": self.transform.properties.get("custom_config"),
            },
            "settings": self.settings,
            "plan": self.plan,
            "warm_start": _place(
                self.warm_start,
                sha256=self.warm_start and self.warm_start.properties.get("sha256"),
                known=self.knows_weights,
            ),
            "fingerprints": {
                "trainer_code": self._config.get("code_fingerprint"),
                **{name: facts.get(name) for name in ("code", "environment", "configuration")},
            },
            "origin": self.origin,
            "files": [fate.to_json() for fate in self.fates],
        }  # fmt: skip


def recorded(backend: Backend, run: Run | None, kind: str) -> Any:
    """A run's "code", "environment" or "configuration"; None if it is not recorded."""
    fingerprint = run.facts.get(kind) if run else None
    return backend.record(kind, fingerprint) if fingerprint else None


def followed(backend: Backend, run: Run | None, artifact: Artifact | None, path: str) -> str:
    """A path that a run recorded, where it is now if it was in a workdir that was moved.

    Args:
      backend: the store.
      run: that recorded the path; its artifacts' paths follow the workdir, its settings do not.
      artifact: that this run made.
      path: local or a URL.
    """
    before = workdir_of(backend, run)
    if not before or not artifact:
        return path
    # WORKDIR/pipeline_root/COMPONENT/CHANNEL/NUMBER
    return replace_folder(path, before, str(PurePath(artifact.uri).parents[3]))


def workdir_of(backend: Backend, run: Run | None) -> str | None:
    """Where a run's workdir was; None if it is not recorded."""
    config = recorded(backend, run, "configuration") or {}
    root = config.get("execution", {}).get("pipeline_root")
    return os.path.dirname(root) if root else None


def _place(artifact: Artifact | None, **more: Any) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {"artifact": artifact.id, "uri": artifact.uri, "created": iso(artifact.created_ms)} | (
        more
    )


def data_json(examples: Artifact) -> dict[str, Any]:
    """An Examples artifact with its counts."""
    facts = {name: examples.properties.get(name) for name in DATA_FACTS}
    return {"artifact": examples.id, "uri": examples.uri, "created": iso(examples.created_ms)} | (
        facts
    )


def is_raw_examples(artifact: Artifact) -> bool:
    """Whether an artifact is Examples of an ExampleGen rather than of Transform."""
    return artifact.type == "Examples" and "data_fingerprint" in artifact.properties


def schema_sha256(backend: Backend, schema: Artifact | None) -> str | None:
    """Recorded hex sha256 of schema.pbtxt; None if there is none."""
    files = backend.record("files", schema.id) if schema else None
    return files["schema.pbtxt"]["sha256"] if files and "schema.pbtxt" in files else None


def trainings(
    backend: Backend, subgraph: Subgraph, only: Iterable[NodeId] | None = None
) -> list[Training]:
    """The trainings in a part of a store, in the order in which they began.

    Args:
      backend: the store.
      subgraph: contains the ancestors of the Trainers.
      only: ids of Trainers' executions; all by default.
    """
    wanted = set(subgraph.executions if only is None else only)
    trainers = [
        execution
        for execution in subgraph.executions.values()
        if execution.node == "Trainer" and execution.id in wanted and execution.state != CACHED
    ]
    trainers.sort(key=lambda execution: (execution.started_ms, execution.id))
    runs = backend.runs_of([execution.id for execution in trainers])
    # Not from the subgraph, which may contain the copy that an Importer registered instead.
    made = {
        event.execution: event.artifact
        for event in backend.events_of([execution.id for execution in trainers])
        if event.is_output and event.channel == "model"
    }
    artifacts = backend.artifacts(made.values())
    models = {e.id: artifacts[made[e.id]] if e.id in made else None for e in trainers}
    bases = {e.id: _only(subgraph.inputs(e.id), WARM_START) for e in trainers}
    foreign = of_unknown_origin(backend, {base.id for base in bases.values() if base})
    became = fates(backend, {model.id for model in models.values() if model})
    result = []
    for execution in trainers:
        inputs, model = subgraph.inputs(execution.id), models[execution.id]
        base = bases[execution.id]
        transformed = _only(inputs, "examples")
        transform = subgraph.makers.get(transformed.id) if transformed else None
        raw = subgraph.inputs(transform).get("examples", []) if transform else []
        result.append(
            Training(
                execution=execution,
                model=model,
                run=runs.get(execution.id),
                examples=[examples for examples in raw if is_raw_examples(examples)],
                schema=_only(inputs, "schema"),
                transform=subgraph.executions.get(transform) if transform else None,
                warm_start=base,
                knows_weights=base is None or base.id not in foreign,
                fates=became[model.id] if model else [],
            )
        )
    return result


def _only(channels: dict[str, list[Artifact]], name: str) -> Artifact | None:
    return next(iter(channels.get(name, ())), None)


def last_trainer(subgraph: Subgraph) -> Execution | None:
    """The last training in a part of a store; the others made the models that it began from."""
    trainers = [
        execution
        for execution in subgraph.executions.values()
        if execution.node == "Trainer" and execution.state != CACHED
    ]
    return max(trainers, key=lambda e: (e.started_ms, e.id), default=None)


def trainings_of_models(backend: Backend, models: Iterable[NodeId]) -> list[Training]:
    """The trainings that made models, without the trainings of the models that they began from."""
    part = ancestors(backend, models, stop_at=BROUGHT_BY.values())
    return trainings(backend, part, {part.makers[model] for model in models})
