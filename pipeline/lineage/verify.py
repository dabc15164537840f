"""`verify`: are the files behind X unchanged?"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import MANIFEST_FILE, PUSHED_MODEL_FILE, hash_file, hash_files
from pipeline.lineage.backend import Backend
from pipeline.lineage.images import images_of
from pipeline.lineage.subject import NotFoundError, Subject, find_subject
from pipeline.lineage.trace import ancestry
from pipeline.lineage.training import is_raw_examples
from pipeline.lineage.walk import Subgraph
from pipeline.metadata.records import Artifact, local_path

MISSING, CHANGED, ADDED, UNKNOWN = "missing", "changed", "added", "unknown"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A problem with a file or folder.

    Attributes:
      problem: MISSING, CHANGED, ADDED (a new file), or UNKNOWN (no hash was recorded, or the files
        are elsewhere).
      path: of the file or folder.
      artifact: id of the artifact that it belongs to.
      detail: one sentence.
    """

    problem: str
    path: str
    artifact: Any
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result.

    Attributes:
      files: how many were hashed.
      artifacts: how many were checked.
      findings: all problems.
    """

    files: int
    artifacts: int
    findings: list[Finding]

    @property
    def is_sound(self) -> bool | None:
        """Whether nothing is missing, changed or added; None when no file could be checked."""
        if any(finding.problem != UNKNOWN for finding in self.findings):
            return False
        return True if self.files else None

    @property
    def unchecked(self) -> int:
        """How many artifacts could not be checked."""
        unknown = (finding for finding in self.findings if finding.problem == UNKNOWN)
        return len({finding.artifact for finding in unknown})

    def to_json(self) -> dict[str, Any]:
        """{sound, files, artifacts, findings}."""
        return {
            "sound": self.is_sound,
            "files": self.files,
            "artifacts": self.artifacts,
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify(backend: Backend, given: str) -> Verification:
    """Recomputes the hashes of all files behind X.

    These are the files of every artifact in its ancestry, the pushed files, the weights that it
    began from, and the images in Pascal VOC folders.

    Args:
      backend: the store.
      given: X, see `find_subject`. Of a pushed folder, or a copy of one, the files in this very
        folder are checked, whatever is in them by now.

    Raises:
      UserError: see `find_subject`.
    """
    subject = _find(backend, given)
    part = ancestry(backend, subject)
    folder = _folder_of(given, subject, part)
    checker = _Checker()
    for key, artifact in sorted(part.artifacts.items()):
        recorded = backend.record("files", key)
        findings = list(checker.artifact(artifact, recorded))
        if artifact.type == "PushedModel" and artifact.properties.get("pushed"):
            is_given = folder and artifact.id == subject.artifact.id
            findings += checker.pushed(artifact, folder if is_given else _place(artifact))
        if is_raw_examples(artifact):
            findings += checker.examples(artifact, _input_base(part, artifact))
        checker.findings += findings
    return Verification(checker.files, len(part.artifacts), checker.findings)


def _find(backend: Backend, given: str) -> Subject:
    """X; of a pushed folder whose file is another by now, what was pushed there."""
    try:
        return find_subject(backend, given)
    except NotFoundError:
        folder = Path(given).resolve()
        recorded = _sha256_in(folder / MANIFEST_FILE)
        pushed = [a for a in backend.artifacts_of_type("PushedModel") if a.properties.get("pushed")]
        for artifact in pushed:
            if _place(artifact) == folder:
                return Subject(given, artifact)
        for artifact in pushed:  # a copy, by what its manifest says it is
            if artifact.properties.get("sha256") == recorded is not None:
                return Subject(given, artifact)
        raise


def _folder_of(given: str, subject: Subject, part: Subgraph) -> Path | None:
    """The folder to check if X is a pushed folder or a copy of one."""
    if not os.path.isdir(given) or not subject.artifact or subject.artifact.type != "PushedModel":
        return None
    folder = Path(given).resolve()
    # The files of artifacts have hashes of their own.
    roots = [Path(path).resolve() for a in part.artifacts.values() if (path := local_path(a.uri))]
    return None if any(folder.is_relative_to(root) for root in roots) else folder


def _place(pushed: Artifact) -> Path | None:
    destination = pushed.properties.get("pushed_destination")
    path = local_path(str(destination)) if destination else None
    return Path(path).resolve() if path else None


def _sha256_in(manifest: Path) -> str | None:
    """The hash of the model in a manifest; None if there is none. Nothing in it is believed."""
    try:
        digest = json.loads(manifest.read_text())["files"][PUSHED_MODEL_FILE]["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _input_base(part: Subgraph, examples: Artifact) -> Path | None:
    maker = part.executions.get(part.makers.get(examples.id))
    base = maker.properties.get("input_base") if maker else None
    return Path(base) if base and maker.type.endswith("VocExampleGen") else None


class _Checker:
    def __init__(self):
        self.files = 0
        self.findings: list[Finding] = []

    def artifact(self, artifact: Artifact, recorded: Mapping | None) -> Iterator[Finding]:
        """The artifact's own files."""
        folder = local_path(artifact.uri)
        weights = artifact.properties.get("sha256") if artifact.type == "Model" else None
        if folder is None:
            yield Finding(UNKNOWN, artifact.uri, artifact.id, "not on this machine")
        elif not Path(folder).exists():
            yield Finding(MISSING, folder, artifact.id, f"{artifact.type} artifact is gone")
        elif recorded is not None:
            yield from self._compare(artifact, Path(folder), recorded)
        elif weights and Path(folder).is_file():
            yield from self._file(artifact, Path(folder), weights)
        else:
            yield Finding(UNKNOWN, folder, artifact.id, "no hashes were recorded")

    def _compare(self, artifact, folder: Path, recorded: Mapping) -> Iterator[Finding]:
        present = hash_files(str(folder))
        self.files += len(present)
        for name in sorted(recorded.keys() | present.keys()):
            path = str(folder if name == "." else folder / name)
            if name not in present:
                yield Finding(MISSING, path, artifact.id, f"file of {artifact.type}")
            elif name not in recorded:
                yield Finding(ADDED, path, artifact.id, f"in {artifact.type}")
            elif recorded[name]["sha256"] != present[name]["sha256"]:
                yield _changed(path, artifact, recorded[name]["sha256"], present[name]["sha256"])

    def _file(self, artifact: Artifact, path: Path, expected: str) -> Iterator[Finding]:
        if not path.is_file():
            yield Finding(MISSING, str(path), artifact.id, f"file of {artifact.type}")
            return
        self.files += 1
        received = hash_file(path)["sha256"]
        if received != expected:
            yield _changed(str(path), artifact, expected, received)

    def pushed(self, artifact: Artifact, folder: Path | None) -> Iterator[Finding]:
        """The files in a folder against the hashes of what was pushed."""
        if folder is None:
            yield Finding(UNKNOWN, artifact.uri, artifact.id, "pushed to another place")
            return
        expected = {PUSHED_MODEL_FILE: artifact.properties["sha256"]}
        # The artifact's own copy of the manifest: others may write to the pushed folder.
        kept = Path(local_path(artifact.uri) or "", MANIFEST_FILE)
        if kept.is_file():
            files = json.loads(kept.read_text())["files"]
            expected |= {name: facts["sha256"] for name, facts in files.items()}
            expected[MANIFEST_FILE] = hash_file(kept)["sha256"]
        for name, digest in sorted(expected.items()):
            yield from self._file(artifact, Path(folder, name), digest)

    def examples(self, artifact: Artifact, base: Path | None) -> Iterator[Finding]:
        """The list of images against the data fingerprint, and the images against the list."""
        images = images_of(artifact)
        if images is None:
            return
        fingerprint = _data_fingerprint(images)
        if fingerprint != artifact.properties["data_fingerprint"]:
            path = f"{artifact.uri}/images.jsonl"
            yield _changed(path, artifact, artifact.properties["data_fingerprint"], fingerprint)
        for image in images.values() if base else ():
            yield from self._file(artifact, base / image["file"], image["sha256"])


def _changed(path: str, artifact: Artifact, expected: str, received: str) -> Finding:
    return Finding(
        CHANGED, path, artifact.id, f"expected sha256 {expected[:12]}, received {received[:12]}"
    )


def _data_fingerprint(images: Mapping[str, Mapping[str, Any]]) -> str:
    """The same as in `pipeline.data.census`."""
    prints = sorted(
        f"{image['split']}\t{key}\t{image['sha256']}\t{image['annotation_sha256']}\n"
        for key, image in images.items()
    )
    return hashlib.sha256("".join(prints).encode("utf-8", "surrogateescape")).hexdigest()
