"""`diff`: what differs between two models or runs."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.files import SCHEMA_FILE
from pipeline.lineage import places
from pipeline.lineage.backend import Backend
from pipeline.lineage.images import recorded_images
from pipeline.lineage.subject import find_subject
from pipeline.lineage.trace import about, ancestry, asked_files
from pipeline.lineage.training import Training, last_trainer, schema_sha256, trainings
from pipeline.lineage.walk import BROUGHT_BY
from pipeline.metadata.records import Artifact

_SAME_IMAGE = ("sha256", "annotation_sha256", "split")


class Difference(NamedTuple):
    """A name with its two values; None on a side that does not have it."""

    name: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs between two nested mappings, sorted by dotted name."""
    from pipeline.config import flatten  # loads pydantic, which other verbs need not wait for

    first, second = flatten(before), flatten(after)
    return [
        Difference(name, first.get(name), second.get(name))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


@dataclasses.dataclass(frozen=True)
class DataDiff:
    """Images by id.

    Attributes:
      fingerprints: of both sides.
      added, removed: ids.
      changed: [id, what changed: "sha256" (the picture), "annotation_sha256", "split"].
      is_known: whether both lists of images are known.
    """

    fingerprints: tuple[str | None, str | None]
    added: list[str]
    removed: list[str]
    changed: list[tuple[str, list[str]]]
    is_known: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the counts."""
        lists = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return {
            "same": self.fingerprints[0] == self.fingerprints[1],
            "fingerprints": list(self.fingerprints),
            "known": self.is_known,
            "counts": {name: len(items) for name, items in lists.items()},
            **lists,
        }


@dataclasses.dataclass(frozen=True)
class Diff:
    """What differs between the trainings behind two subjects.

    Attributes:
      trainings: both.
      data: their images.
      schema: lines of a unified diff of schema.pbtxt; None if one is gone, unless their hashes are
        known to be equal.
      settings: of the whole configuration; of training alone if no more is recorded.
      code: files by path with their sha256; None if one side's are not recorded.
      environment: packages with their versions; None likewise.
      warm_start: artifact ids of the models that they began from.
      metrics: of the files that ship, per class ones included.
    """

    trainings: tuple[Training, Training]
    data: DataDiff
    schema: list[str] | None
    settings: list[Difference]
    code: list[Difference] | None
    environment: list[Difference] | None
    warm_start: tuple[Any, Any]
    metrics: list[Difference]

    def to_json(self) -> dict[str, Any]:
        """Plain values; differences are {name: [before, after]}."""

        def table(found: list[Difference] | None) -> dict[str, list] | None:
            if found is None:
                return None
            return {name: [before, after] for name, before, after in found}

        return {
            "runs": [training.run and training.run.name for training in self.trainings],
            "models": [training.model and training.model.id for training in self.trainings],
            "origins": [training.origin for training in self.trainings],
            "data": self.data.to_json(),
            "schema": self.schema,
            "settings": table(self.settings),
            "code": table(self.code),
            "environment": table(self.environment),
            "warm_start": list(self.warm_start),
            "metrics": table(self.metrics),
        }


def diff(backend: Backend, before: str, after: str) -> Diff:
    """What differs between A and B.

    Args:
      backend: the store.
      before: A, see `find_subject`.
      after: B.

    Raises:
      UserError: one of them is not found, or no training led to it.
    """
    sides = _training(backend, before), _training(backend, after)
    bases = [side.warm_start and side.warm_start.id for side in sides]
    return Diff(
        trainings=sides,
        data=_data(backend, *(side.examples[0] if side.examples else None for side in sides)),
        schema=_schema(backend, *(side.schema for side in sides)),
        settings=differences(*(_settings(backend, side) for side in sides)),
        code=_recorded_differences(backend, sides, "code"),
        environment=_recorded_differences(backend, sides, "environment"),
        warm_start=(bases[0], bases[1]),
        metrics=differences(*(_metrics(side) for side in sides)),
    )


def _training(backend: Backend, given: str) -> Training:
    """The last training behind X; its run is the one that made the file."""
    subject = find_subject(backend, given)
    part = ancestry(backend, subject, stop_at=BROUGHT_BY.values())
    trainer = last_trainer(part)
    if trainer is None:
        raise UserError(f"Expected a run or a model with a training. Received: {given!r}.")
    (found,) = about(backend, subject, trainings(backend, part, [trainer.id]))
    asked = asked_files(backend, subject)
    file = next((fate for fate in found.fates if fate.shipping_model.id in asked), None)
    # A run has settings of its own even if everything came from the cache.
    made_by = subject.run or (file and file.run)
    fates = [file] if file else found.fates
    return dataclasses.replace(found, run=made_by or found.run, fates=fates)


def _data(backend: Backend, before: Artifact | None, after: Artifact | None) -> DataDiff:
    fingerprints = tuple(a and a.properties.get("data_fingerprint") for a in (before, after))
    if before and after and before.id == after.id:
        return DataDiff(fingerprints, [], [], [], True)
    first, second = (recorded_images(backend.record, a) if a else None for a in (before, after))
    if first is None or second is None:
        return DataDiff(fingerprints, [], [], [], False)
    changed = []
    for key in sorted(first.keys() & second.keys()):
        what = [name for name in _SAME_IMAGE if first[key][name] != second[key][name]]
        if what:
            changed.append((key, what))
    return DataDiff(
        fingerprints,
        sorted(second.keys() - first.keys()),
        sorted(first.keys() - second.keys()),
        changed,
        True,
    )


def _schema(backend: Backend, before: Artifact | None, after: Artifact | None) -> list[str] | None:
    if before and after and before.id == after.id:
        return []
    hashes = [schema_sha256(backend, schema) for schema in (before, after)]
    if hashes[0] and hashes[0] == hashes[1]:
        return []
    texts = [_schema_text(schema) for schema in (before, after)]
    if None in texts:
        return None
    lines = (text.splitlines() for text in texts)
    return list(difflib.unified_diff(*lines, "A", "B", lineterm="", n=1))


def _schema_text(schema: Artifact | None) -> str | None:
    try:
        return places.read(f"{schema.uri.rstrip('/')}/{SCHEMA_FILE}").decode() if schema else None
    except (OSError, ValueError):  # gone, or damaged
        return None


def _recorded_differences(
    backend: Backend, sides: tuple[Training, Training], kind: str
) -> list[Difference] | None:
    tables = [side.recorded(backend, kind) for side in sides]
    return None if None in tables else differences(*tables)


def _settings(backend: Backend, training: Training) -> dict[str, Any]:
    settings = training.recorded(backend, "configuration") or training.settings
    return {**settings, "plan": training.plan} if training.plan else settings


def _metrics(training: Training) -> dict[str, float]:
    fate = training.fates[-1] if training.fates else None
    if fate is None:
        return {}
    facts = fate.shipping_model.properties
    sizes = {"size_bytes": facts.get("size_bytes"), "latency_ms": fate.judgement.latency_ms}
    return {**fate.metrics, **sizes}
