"""`impact`: what has X touched?"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import Push, push_of, shipped
from pipeline.lineage.images import Sighting, Unknown, find_image
from pipeline.lineage.subject import FIRST_DIGITS, NotFoundError, Subject, content_of, find_subject
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
    brought,
    descendants,
    find_makers,
    of_unknown_origin,
    reached,
)
from pipeline.metadata.facts import FROM_IMAGENET
from pipeline.metadata.records import CACHED, COMPLETE, Artifact, NodeId, Run

ITSELF = "itself"
TRAINED = "trained"
INHERITED = "inherited"
EVALUATED = "evaluated"
UNTOLD = "cannot tell"
NEVER = "never saw it"
# The strongest first.
WAYS = (ITSELF, TRAINED, INHERITED, EVALUATED, UNTOLD, NEVER)
# From so many data sets on, an image's models are looked up from Transform's outputs.
_MANY_DATA_SETS = 20
_PICTURES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class Touched:
    """A model that X has touched, or may have touched.

    Attributes:
      how: ITSELF (it is X, or the run X made it), TRAINED (on X), INHERITED (it began from the
        weights of a model that was trained on X), EVALUATED (X is an image of its evaluation
        split, which chose the checkpoint and judged the model), or UNTOLD.
      training: of the model.
      reason: why nobody can tell; None if X has touched it.
    """

    how: str
    training: Training
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "how": self.how,
            "model": self.training.model.id,
            "run": self.training.run.name if self.training.run else None,
            "reason": self.reason,
            "files": [fate.to_json() for fate in self.training.fates],
        }


@dataclasses.dataclass(frozen=True)
class Version:
    """A version that was pushed, and what X has to do with it.

    Attributes:
      how: one of `WAYS`.
      push: the version.
      sha256: of its file.
      model: the trained model behind it; None if X never touched it.
      run: that pushed it; None if X never touched it and it is not the latest version.
      reason: why nobody can tell; None otherwise.
    """

    how: str
    push: Push
    sha256: str | None
    model: NodeId | None
    run: Run | None
    reason: str | None

    @property
    def pipeline(self) -> str | None:
        """Name of the pipeline that pushed it; None if it is unknown."""
        return self.run.facts.get("pipeline") if self.run else None


@dataclasses.dataclass(frozen=True)
class Impact:
    """Everything that X has touched.

    Attributes:
      subject: X in words.
      examples: Examples artifacts that contain X, or that X consists of.
      sightings: if X is an image: where it is.
      unknown: if X is an image: Examples whose list of images is gone or changed.
      ways: how X has touched models, by the ids of the Trainers' artifacts.
      doubts: the other models that X may have touched, with the reason why nobody can tell: they
        began, at first or second hand, from weights of which the store does not know how they were
        made, or learnt from images that nobody knows.
      given: X.
    """

    subject: str
    examples: list[Artifact]
    sightings: list[Sighting]
    unknown: list[Unknown]
    ways: dict[NodeId, str]
    doubts: dict[NodeId, str]
    backend: Backend = dataclasses.field(repr=False)
    given: str = ""

    @functools.cached_property
    def touched(self) -> list[Touched]:
        """Models, in the order of their training."""
        found = trainings_of_models(self.backend, self.ways)
        return [Touched(self.ways[training.model.id], training) for training in found]

    @functools.cached_property
    def untold(self) -> list[Training]:
        """The trainings of the models that X may have touched, in their order."""
        return trainings_of_models(self.backend, self.doubts)

    @functools.cached_property
    def versions(self) -> list[Version]:
        """All versions that were ever pushed, the last one first."""
        return _versions(self)

    @functools.cached_property
    def never_pushed(self) -> dict[NodeId, str]:
        """The models in `ways` and `doubts` of which no version was pushed, with the way."""
        pushed = {version.model for version in self.versions}
        ways = self.ways | dict.fromkeys(self.doubts, UNTOLD)
        return {model: way for model, way in ways.items() if model not in pushed}

    def to_json(self) -> dict[str, Any]:
        """{subject, examples, sightings, unknown, models, pushed, latest, untold}."""
        models = [touched.to_json() for touched in self.touched]
        untold = [Touched(UNTOLD, t, self.doubts[t.model.id]).to_json() for t in self.untold]
        pushed = [
            {**push, "how": model["how"], "model": model["model"], "run": model["run"],
             "sha256": file["sha256"]}
            for model in models for file in model["files"] for push in file["pushes"]
        ]  # fmt: skip
        return {
            "subject": self.subject,
            "examples": [artifact.id for artifact in self.examples],
            "sightings": [sighting.to_json() for sighting in self.sightings],
            "unknown": [doubt.examples.id for doubt in self.unknown],
            "models": models,
            "pushed": pushed,
            "latest": [push for push in pushed if push["latest"]],
            "untold": untold,
        }


@dataclasses.dataclass(frozen=True)
class Impacts:
    """What several things have touched.

    Attributes:
      answers: one for each that was found; never empty.
      lost: those that were not.
    """

    answers: list[Impact]
    lost: list[str]

    @property
    def it(self) -> str:
        """All of them, in a sentence."""
        return "it" if len(self.answers) == 1 else "them"

    @property
    def is_served(self) -> bool:
        """Whether a latest version was touched, or nobody knows which one is the latest."""
        latest = [version for version in self.versions() if version.push.is_latest]
        if self.without_latest() or not latest:
            return True
        return any(version.how not in (UNTOLD, NEVER) for version in latest)

    def without_latest(self) -> list[str]:
        """The folders with versions of which nobody knows the latest."""
        latest: dict[str, bool] = {}
        for version in self.versions():
            push, folder = version.push, os.path.dirname(version.push.destination)
            if push.is_present is not False:
                latest[folder] = latest.get(folder, False) or bool(push.is_latest)
        return [folder for folder, is_known in latest.items() if not is_known]

    def versions(self) -> list[Version]:
        """All versions, the last one first, each with the strongest way of any answer."""
        return self._versions

    @functools.cached_property
    def _versions(self) -> list[Version]:
        if len(self.answers) == 1:
            return self.answers[0].versions
        of_each = zip(*(answer.versions for answer in self.answers), strict=True)
        return [min(same, key=lambda version: WAYS.index(version.how)) for same in of_each]

    def reason(self, model: NodeId) -> str | None:
        """Why nobody can tell of a model; None if everybody can."""
        return next((a.doubts[model] for a in self.answers if model in a.doubts), None)

    def never_pushed(self) -> dict[NodeId, str]:
        """Likewise the models of which no version was pushed."""
        pushed = {version.model for version in self.versions()}
        found: dict[NodeId, str] = {}
        for answer in self.answers:
            for model, way in answer.never_pushed.items():
                if model not in pushed:
                    found[model] = min(found.get(model, way), way, key=WAYS.index)
        return found


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
    return dataclasses.replace(_answer(backend, given), given=given)


def _answer(backend: Backend, given: str) -> Impact:
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
    is_digest = FIRST_DIGITS.fullmatch(given.lower()) and not given.isdecimal()
    if _is_picture(given) or (is_digest and not backend.record("sha256", given.lower())):
        # To find a file by its content, `find_subject` may have to read all models.
        with contextlib.suppress(NotFoundError):
            return _file_impact(backend, given)
    try:
        subject = find_subject(backend, given)
    except NotFoundError:
        return _file_impact(backend, given)
    if given.isdecimal() and find_image(backend.record, _raw_examples(backend), given)[0]:
        raise UserError(
            f"Expected one thing. Received: {given!r}, which is an artifact and an image. Name one "
            f"of them:\n  artifact:{given}\n  image:{given}"
        )
    return _subject_impact(backend, subject)


def impact_of_all(backend: Backend, given: Sequence[str]) -> Impacts:
    """What several things have touched.

    Args:
      backend: the store.
      given: see `impact`.

    Raises:
      UserError: nothing was found, or something is ambiguous.
    """
    answers, lost = [], []
    for name in dict.fromkeys(given):
        try:
            answers.append(impact(backend, name))
        except NotFoundError:
            if len(given) == 1:
                raise
            lost.append(name)
    if not answers:
        raise NotFoundError(f"{backend.location} knows none of these: {', '.join(lost)}.")
    return Impacts(answers, lost)


def _file_impact(backend: Backend, given: str) -> Impact:
    """An existing picture is looked up by its content, wherever it is; then by its name."""
    if _is_picture(given) and os.path.isfile(given):
        with contextlib.suppress(NotFoundError):
            found = _image_impact(backend, given, content_of(given))
            return dataclasses.replace(found, subject=f"image {given}")
        found = _image_impact(backend, given, PurePosixPath(given).name)
        words = f"image {given}, by its name alone: no data set has its content"
        return dataclasses.replace(found, subject=words)
    return _image_impact(backend, given, given)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _PICTURES


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
    sightings, unknown = find_image(backend.record, _raw_examples(backend), name)
    if not sightings:
        doubts = "; ".join(f"of Examples {d.examples.id} it {d.reason}" for d in unknown[:5])
        lost = f" (not all lists of images are known: {doubts})" if unknown else ""
        raise NotFoundError(
            "Expected an Examples, Schema or Model artifact, a run, span:N, or an image's id, file "
            f"name or sha256. Received: {given}, not found in {backend.location}{lost}."
        )
    begin = {
        how: _transformed(backend, [s.examples for s in sightings if s.split == split])
        for split, how in (("train", TRAINED), ("eval", EVALUATED))
    }
    examples = list({s.examples.id: s.examples for s in sightings}.values())
    return _impact(backend, f"image {name}", examples, begin, sightings, unknown)


def _transformed(backend: Backend, examples: list[Artifact]) -> list[Artifact]:
    """Many raw Examples as what came of them, where it is quicker to look from there.

    Half of all executions in a store read raw Examples, and most of what is made from these is made
    of what the Transform puts out.
    """
    wanted = {artifact.id for artifact in examples}
    if len(wanted) < _MANY_DATA_SETS:
        return examples
    transforms = [e.id for e in backend.executions_of("Transform") if e.state != CACHED]
    events = backend.events_of(transforms)
    readers = {e.execution for e in events if not e.is_output and e.artifact in wanted}
    made = {e.artifact for e in events if e.is_output and e.execution in readers}
    return list(backend.artifacts(made).values())


def _impact(
    backend: Backend,
    words: str,
    examples: list[Artifact],
    begin: dict[str, list[Artifact]],
    sightings: Sequence[Sighting] = (),
    unknown: Sequence[Unknown] = (),
) -> Impact:
    """Models made from artifacts, each with the strongest way in which X touched it."""
    ways: dict[NodeId, str] = {}

    def touch(models: Iterable[NodeId], way: str) -> None:
        for model in models:
            ways[model] = min(ways.get(model, way), way, key=WAYS.index)

    for way, artifacts in begin.items():
        ids = {artifact.id for artifact in artifacts}
        # Evaluation leaves nothing in the weights that others begin from.
        part = descendants(backend, ids, through_warm_starts=way == TRAINED)
        models = _models(part)
        direct = models & reached(part, ids, not_through=WARM_START)
        touch(_own_models(backend, artifacts), ITSELF)
        touch(direct, way)
        touch(models - direct, INHERITED)
    doubts: dict[NodeId, str] = {}
    for weights in backend.artifacts(of_unknown_origin(backend, brought(backend))).values():
        digest = weights.properties.get("sha256")
        what = f"{weights.uri}{f', sha256 {digest}' if digest else ''}"
        reason = f"it began from weights of unknown origin ({what})"
        doubts |= dict.fromkeys(_models(descendants(backend, [weights.id])), reason)
    from_imagenet = (backend.record(*FROM_IMAGENET) or {}).get("artifacts", ())
    reason = "it began from weights of ImageNet, whose pictures nobody recorded here"
    later = _models(descendants(backend, from_imagenet)) if from_imagenet else ()
    doubts |= dict.fromkeys([*from_imagenet, *later], reason)
    for doubt in unknown:
        reason = f"it learnt from Examples {doubt.examples.id}, whose list of images {doubt.reason}"
        doubts |= dict.fromkeys(_models(descendants(backend, [doubt.examples.id])), reason)
    doubts = {model: reason for model, reason in sorted(doubts.items()) if model not in ways}
    return Impact(words, examples, list(sightings), list(unknown), ways, doubts, backend)


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


def _versions(answer: Impact) -> list[Version]:
    """A version is known by the content of its file, and by its folder."""
    backend = answer.backend
    ways = answer.ways | dict.fromkeys(answer.doubts, UNTOLD)
    told: dict[str, NodeId] = {}  # models by the sha256 of their files
    for model, files in shipped(backend, ways).items():
        for file in files:
            digest = file.properties.get("sha256")
            told[digest] = min(told.get(digest, model), model, key=lambda m: WAYS.index(ways[m]))
    pushes: dict[tuple, Push] = {}
    pointers: dict[str, tuple[str, str]] = {}
    for artifact in sorted(backend.artifacts_of_type("PushedModel"), key=lambda a: a.created_ms):
        if artifact.properties.get("pushed"):
            push = push_of(backend, artifact, pointers)
            pushes.setdefault((push.destination, push.sha256), push)
    named = [push.artifact.id for push in pushes.values() if push.sha256 in told or push.is_latest]
    makers = find_makers(backend, named)
    runs = backend.runs_of(makers.values())
    found = []
    for push in reversed(pushes.values()):
        model = told.get(push.sha256)
        found.append(
            Version(
                how=ways.get(model, NEVER),
                push=push,
                sha256=push.sha256,
                model=model,
                run=runs.get(makers.get(push.artifact.id)),
                reason=answer.doubts.get(model),
            )
        )
    return found
