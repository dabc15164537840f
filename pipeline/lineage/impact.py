"""`impact`: what has X touched?"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.files import sha256_of
from pipeline.lineage.backend import Backend
from pipeline.lineage.images import Sighting, find_image
from pipeline.lineage.subject import NotFoundError, Subject, find_subject
from pipeline.lineage.training import (
    Training,
    is_raw_examples,
    last_trainer,
    trainings_of_models,
)
from pipeline.lineage.walk import (
    BROUGHT_BY,
    WARM_START,
    Subgraph,
    ancestors,
    descendants,
    find_makers,
    reached,
)
from pipeline.metadata.records import COMPLETE, Artifact, NodeId

ITSELF = "itself"
TRAINED = "trained"
INHERITED = "inherited"
EVALUATED = "evaluated"
UNTOLD = "cannot tell"
_STRENGTH = (ITSELF, TRAINED, INHERITED, EVALUATED)
_PICTURES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class Touched:
    """A model that X has touched.

    Attributes:
      how: ITSELF (it is X, or the run X made it), TRAINED (on X), INHERITED (it began from the
        weights of a model that was trained on X), or EVALUATED (X is an image of its evaluation
        split, which chose the checkpoint and judged the model).
      training: of the model.
    """

    how: str
    training: Training

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "how": self.how,
            "model": self.training.model.id,
            "run": self.training.run.name if self.training.run else None,
            "files": [fate.to_json() for fate in self.training.fates],
        }


@dataclasses.dataclass(frozen=True)
class Impact:
    """Everything that X has touched.

    Attributes:
      subject: X in words.
      examples: Examples artifacts that contain X, or that X consists of.
      sightings: if X is an image: where it is.
      unknown: if X is an image: Examples whose list of images is gone.
      touched: models, in the order of their training.
      untold: the other models that began, at first or second hand, from weights of which the store
        does not know how they were made: X may have been in their making.
    """

    subject: str
    examples: list[Artifact]
    sightings: list[Sighting]
    unknown: list[Artifact]
    touched: list[Touched]
    untold: list[Training]

    def to_json(self) -> dict[str, Any]:
        """{subject, examples, sightings, unknown, models, pushed, latest, untold}."""
        models = [touched.to_json() for touched in self.touched]
        untold = [Touched(UNTOLD, training).to_json() for training in self.untold]
        pushed = [
            {**push, "how": model["how"], "model": model["model"], "run": model["run"],
             "sha256": file["sha256"]}
            for model in models for file in model["files"] for push in file["pushes"]
        ]  # fmt: skip
        return {
            "subject": self.subject,
            "examples": [artifact.id for artifact in self.examples],
            "sightings": [sighting.to_json() for sighting in self.sightings],
            "unknown": [artifact.id for artifact in self.unknown],
            "models": models,
            "pushed": pushed,
            "latest": [push for push in pushed if push["latest"]],
            "untold": untold,
        }


def impact(backend: Backend, given: str) -> Impact:
    """What X has touched.

    Args:
      backend: the store.
      given: an Examples, Schema or Model artifact or its uri, `span:N`, a run (all that it made,
        without what came from the cache), or an image: its id, file name or sha256, or
        unambiguously `image:NAME`.

    Raises:
      UserError: X is not found, or ambiguous.
    """
    kind, colon, name = given.partition(":")
    if colon and kind == "image":
        return _image_impact(backend, given, name)
    if colon and kind == "span":
        spans = [a for a in _raw_examples(backend) if str(a.properties.get("span")) == name]
        if not spans:
            raise UserError(
                f"Expected a span with Examples in {backend.location}. Received: {given!r}."
            )
        return _impact(backend, f"span {name}", spans, {TRAINED: spans})
    try:
        subject = find_subject(backend, given)
    except NotFoundError:
        return _image_impact(backend, given, _image_name(given))
    return _subject_impact(backend, subject)


def _image_name(given: str) -> str:
    """An existing image file is looked up by its sha256, wherever it is."""
    is_picture = PurePosixPath(given).suffix.lower() in _PICTURES and os.path.isfile(given)
    return sha256_of(given) if is_picture else given


def _raw_examples(backend: Backend) -> list[Artifact]:
    return [a for a in backend.artifacts_of_type("Examples") if is_raw_examples(a)]


def _subject_impact(backend: Backend, subject: Subject) -> Impact:
    if subject.run:
        words = f"run {subject.run.name}"
        members = backend.executions_in(subject.run)
        made = {m.id for m in members if m.state == COMPLETE and m.node not in BROUGHT_BY}
        outputs = {event.artifact for event in backend.events_of(made) if event.is_output}
        begin = list(backend.artifacts(outputs).values())
    else:
        words = f"{subject.artifact.type} artifact {subject.artifact.id}"
        begin = [subject.artifact]
        if subject.artifact.type in ("Model", "PushedModel"):
            # Warm starts begin from the Trainer's model, not from the file made from it.
            part = ancestors(backend, [subject.artifact.id], stop_at=BROUGHT_BY.values())
            trainer = last_trainer(part)
            begin = part.outputs(trainer.id)["model"] if trainer else begin
    examples = [artifact for artifact in begin if is_raw_examples(artifact)]
    return _impact(backend, words, examples, {TRAINED: begin})


def _image_impact(backend: Backend, given: str, name: str) -> Impact:
    sightings, unknown = find_image(_raw_examples(backend), name)
    if not sightings:
        lost = (
            f" ({len(unknown)} Examples have lost their list of images, or it cannot be read)"
            if unknown
            else ""
        )
        raise NotFoundError(
            "Expected an Examples, Schema or Model artifact, a run, span:N, or an image's id, file "
            f"name or sha256. Received: {given}, not found in {backend.location}{lost}."
        )
    begin = {
        how: [sighting.examples for sighting in sightings if sighting.split == split]
        for split, how in (("train", TRAINED), ("eval", EVALUATED))
    }
    examples = list({s.examples.id: s.examples for s in sightings}.values())
    found = _impact(backend, f"image {name}", examples, begin)
    return dataclasses.replace(found, sightings=sightings, unknown=unknown)


def _impact(
    backend: Backend, words: str, examples: list[Artifact], begin: dict[str, list[Artifact]]
) -> Impact:
    """Models made from artifacts, each with the strongest way in which X touched it."""
    how: dict[NodeId, str] = {}

    def touch(models: Iterable[NodeId], way: str) -> None:
        for model in models:
            how[model] = min(how.get(model, way), way, key=_STRENGTH.index)

    for way, artifacts in begin.items():
        ids = {artifact.id for artifact in artifacts}
        # Evaluation leaves nothing in the weights that others begin from.
        part = descendants(backend, ids, through_warm_starts=way == TRAINED)
        models = _models(part)
        direct = models & reached(part, ids, not_through=WARM_START)
        touch(_own_models(backend, artifacts), ITSELF)
        touch(direct, way)
        touch(models - direct, INHERITED)
    touched = [
        Touched(how[training.model.id], training) for training in trainings_of_models(backend, how)
    ]
    untold = trainings_of_models(backend, _of_unknown_origin(backend) - how.keys())
    return Impact(words, examples, [], [], touched, untold)


def _of_unknown_origin(backend: Backend) -> set[NodeId]:
    """Models that began, at first or second hand, from weights that no run in the store made."""
    # The files that were made from models have their size.
    models = [m for m in backend.artifacts_of_type("Model") if "size_bytes" not in m.properties]
    makers = find_makers(backend, [model.id for model in models])
    executions = backend.executions(makers.values())
    foreign = [model for model, maker in makers.items() if executions[maker].node == "WarmStart"]
    return _models(descendants(backend, foreign))


def _own_models(backend: Backend, artifacts: list[Artifact]) -> set[NodeId]:
    """Those among the artifacts that a Trainer made."""
    models = [artifact for artifact in artifacts if artifact.type == "Model"]
    makers = find_makers(backend, [model.id for model in models])
    executions = backend.executions(makers.values())
    return {model for model, maker in makers.items() if executions[maker].node == "Trainer"}


def _models(part: Subgraph) -> set[NodeId]:
    """The Trainers' models in a part."""
    return {
        event.artifact
        for event in part.events
        if event.is_output
        and event.channel == "model"
        and part.executions[event.execution].node == "Trainer"
    }
