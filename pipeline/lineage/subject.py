"""What X means: a pushed folder, a .tflite file, an artifact's id or uri, or a run."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import FORMS, PUSHED_MODEL_FILE, sha256_of
from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import origins
from pipeline.metadata.records import Artifact, Run, iso

_SHA256 = re.compile(r"[0-9a-f]{64}")
# At least eight of its first digits; tables show twelve.
FIRST_DIGITS = re.compile(r"[0-9a-f]{8,64}")
# Properties of models: of the .tflite, and of its raw forms.
_DIGESTS = ("sha256", *FORMS.values())
_FORMS = (
    "a pushed folder, a .tflite file or its sha256, an artifact's id or uri, or a run's id or "
    "folder"
)


class NotFoundError(UserError):
    """This store does not know X."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is asked about: either an artifact or a run.

    Attributes:
      given: its name on the command line.
      artifact: the artifact; None if it is a run.
      run: the run; None if it is an artifact.
    """

    given: str
    artifact: Artifact | None = None
    run: Run | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        if self.run:
            return {"given": self.given, "run": self.run.name, "began": iso(self.run.created_ms)}
        return {"given": self.given, "artifact": self.artifact.to_json()}


def find_subject(backend: Backend, given: str) -> Subject:
    """Finds X.

    Args:
      backend: the store.
      given: X. `artifact:ID` and `run:ID` are unambiguous.

    Raises:
      NotFoundError: the store does not know X.
      UserError: X is ambiguous; lists the candidates.
    """
    kind, colon, name = given.partition(":")
    if colon and kind == "artifact":
        found = _by_id(backend, name)
        if found is None:
            raise _not_found(backend, given)
        return Subject(given, found)
    run = backend.run(name if colon and kind == "run" else given)
    if run:
        return Subject(given, run=run)
    if colon and kind == "run":
        raise _not_found(backend, given)
    found = _by_id(backend, given) if given.isdecimal() else None
    if found:
        return Subject(given, found)
    if FIRST_DIGITS.fullmatch(given.lower()):
        return _by_sha256(backend, given, given.lower(), None)
    if os.path.exists(given):
        found = _by_path(backend, given)
        if found:
            return found
    uris = {given, given.rstrip("/"), os.path.abspath(given)}
    candidates = {a.id: a for uri in uris for a in backend.artifacts_with_uri(uri)}
    if candidates:
        return _single(given, list(candidates.values()))
    raise _not_found(backend, given)


def _not_found(backend: Backend, given: str) -> NotFoundError:
    return NotFoundError(f"Expected {_FORMS}. Received: {given}, not found in {backend.location}.")


def _by_id(backend: Backend, name: str) -> Artifact | None:
    key = backend.node_id(name)
    return None if key is None else backend.artifacts([key]).get(key)


def _by_path(backend: Backend, given: str) -> Subject | None:
    path = Path(given).resolve()
    if path.is_file():
        return _by_sha256(backend, given, content_of(path), None)
    if (path / PUSHED_MODEL_FILE).is_file():
        return _by_sha256(backend, given, content_of(path / PUSHED_MODEL_FILE), str(path))
    if path.parent.name == "runs":  # of a local runner's workdir
        run = backend.run(path.name)
        return run and Subject(given, run=run)
    return None


def content_of(path: str | Path) -> str:
    """The hex sha256 of a file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(
            f"Expected a readable file. Received: {path} ({error.strerror})."
        ) from error


def _by_sha256(backend: Backend, given: str, digest: str, folder: str | None) -> Subject:
    """The first PushedModel with this file, or else the first Model.

    Args:
      backend: the store.
      given: X.
      digest: of the file, or its first digits.
      folder: if X is a pushed folder: decides between several PushedModels.
    """
    record = backend.record("sha256", digest) if _SHA256.fullmatch(digest) else None
    if record:
        found = backend.artifacts(record["artifacts"])
        candidates = [found[key] for key in sorted(found)]
    else:  # only the first digits are given, or the run was interrupted before it recorded them
        everything = backend.artifacts_of_type("PushedModel") + backend.artifacts_of_type("Model")
        candidates = [a for a in everything if _has_file(a, digest)]
    if not candidates:
        raise _not_found(backend, given if given == digest else f"{given} (sha256 {digest})")
    if len({_digest(a) for a in candidates}) > 1:
        return _single(given, candidates)
    candidates.sort(key=lambda a: a.type != "PushedModel")
    if folder is not None:
        here = [
            a
            for a in candidates
            if a.type == "PushedModel"
            and os.path.realpath(str(a.properties.get("pushed_destination"))) == folder
        ]
        candidates = here[:1] or candidates
    # One trained model may have been made into the same file several times, and several runs may
    # have pushed that: the first one stands for all.
    behind = origins(backend, candidates)
    return _single(given, list({behind[a.id][1]: a for a in candidates[::-1]}.values()))


def _has_file(artifact: Artifact, digits: str) -> bool:
    facts = artifact.properties
    return any(str(facts[name]).startswith(digits) for name in _DIGESTS if name in facts)


def _digest(artifact: Artifact) -> str:
    return str(artifact.properties.get("sha256", ""))


def _single(given: str, candidates: list[Artifact]) -> Subject:
    if len(candidates) == 1:
        return Subject(given, candidates[0])
    listing = "".join(
        f"\n  artifact:{a.id}  {a.type} of {iso(a.created_ms)}, {a.uri}" for a in candidates
    )
    raise UserError(
        f"Expected one artifact. Received: {given!r}, which matches {len(candidates)}. Name one of "
        f"them:{listing}"
    )
