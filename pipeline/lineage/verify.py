"""`verify`: are the files behind X unchanged?"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import (
    FORMS,
    HASH_PROPERTY,
    IMAGES_FILE,
    JUDGED_FILES,
    LABELS_FILE,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    WITHDRAWN,
    format_manifest,
    hash_together,
)
from pipeline.lineage import places
from pipeline.lineage.backend import Backend
from pipeline.lineage.images import images_of
from pipeline.lineage.subject import NotFoundError, Subject, find_subject
from pipeline.lineage.trace import ancestry
from pipeline.lineage.training import followed, is_raw_examples
from pipeline.lineage.walk import Subgraph
from pipeline.metadata.image_lists import data_fingerprint
from pipeline.metadata.records import Artifact, NodeId, local_path

MISSING, CHANGED, ADDED, UNKNOWN = "missing", "changed", "added", "unknown"
SHIPPED, INPUTS = "shipped", "inputs"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A problem with a file or folder.

    Attributes:
      problem: MISSING, CHANGED, ADDED (a new file), or UNKNOWN (no hash was recorded, or it cannot
        be read).
      path: of the file or folder.
      artifact: id of the artifact that it belongs to.
      detail: one sentence.
    """

    problem: str
    path: str
    artifact: Any
    detail: str


@dataclasses.dataclass(frozen=True)
class Part:
    """What was found about X, or about what it was made from.

    Attributes:
      files: how many were hashed.
      findings: all problems.
    """

    files: int
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


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result.

    Attributes:
      title: what `shipped` is, in words.
      shipped: X itself: of a pushed version, the files that were shipped.
      inputs: what it was made from.
      artifacts: how many artifacts X and its inputs are.
    """

    title: str
    shipped: Part
    inputs: Part
    artifacts: int

    @property
    def findings(self) -> list[Finding]:
        """All problems."""
        return self.shipped.findings + self.inputs.findings

    @property
    def files(self) -> int:
        """How many were hashed."""
        return self.shipped.files + self.inputs.files

    @property
    def is_sound(self) -> bool | None:
        """See `Part.is_sound`, of both parts."""
        return Part(self.files, self.findings).is_sound

    def to_json(self) -> dict[str, Any]:
        """{sound, shipped, inputs, files, artifacts, findings}."""
        parts = {SHIPPED: self.shipped, INPUTS: self.inputs}
        return {
            "sound": self.is_sound,
            **{name: part.is_sound for name, part in parts.items()},
            "files": self.files,
            "artifacts": self.artifacts,
            "findings": [
                {**dataclasses.asdict(finding), "part": name}
                for name, part in parts.items()
                for finding in part.findings
            ],
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
    folder = _folder_of(subject, part)
    own = _own(subject, part)
    shipped, inputs = _Checker(), _Checker()
    for key, artifact in sorted(part.artifacts.items()):
        checker, recorded = shipped if key in own else inputs, backend.record("files", key)
        if _is_pushed(artifact):
            is_given = folder and artifact.id == subject.artifact.id
            checker.pushed(artifact, folder if is_given else _place(artifact), recorded)
            checker = inputs  # what the pipeline keeps of a push is not what was shipped
        checker.artifact(artifact, recorded)
        if is_raw_examples(artifact):
            checker.examples(artifact, _input_base(backend, part, artifact))
    title = _title(subject, [part.artifacts[key] for key in own])
    return Verification(title, shipped.result(), inputs.result(), len(part.artifacts))


def _own(subject: Subject, part: Subgraph) -> set[NodeId]:
    """The artifacts that X is: of a run what it pushed, or else the file, or else everything."""
    if subject.artifact:
        return {subject.artifact.id}
    pushed = {key for key, artifact in part.artifacts.items() if _is_pushed(artifact)}
    files = {
        artifact
        for artifact, maker in part.makers.items()
        if part.executions[maker].node == "TFLiteRewriter"
    }
    return pushed or files or set(part.artifacts)


def _title(subject: Subject, own: Iterable[Artifact]) -> str:
    if any(map(_is_pushed, own)):
        return "shipped file"
    if subject.run:
        return f"run {subject.run.name}"
    return f"{subject.artifact.type} {subject.artifact.id}"


def _is_pushed(artifact: Artifact) -> bool:
    return artifact.type == "PushedModel" and bool(artifact.properties.get("pushed"))


def _find(backend: Backend, given: str) -> Subject:
    """X; of a pushed folder, or a file in one, that is another by now, what was pushed there."""
    try:
        return find_subject(backend, given)
    except NotFoundError:
        folder = _resolved(os.path.dirname(given) if os.path.isfile(given) else given)
        recorded = _sha256_in(f"{folder}/{MANIFEST_FILE}")
        pushed = [a for a in backend.artifacts_of_type("PushedModel") if _is_pushed(a)]
        for artifact in pushed:
            if _place(artifact) == folder:
                return Subject(folder, artifact)
        for artifact in pushed:  # a copy, by what its manifest says it is
            if artifact.properties.get("sha256") == recorded is not None:
                return Subject(folder, artifact)
        raise


def _resolved(uri: str) -> str:
    """A local path without links; a URL without a slash at its end."""
    path = local_path(uri)
    return uri.rstrip("/") if path is None else os.path.realpath(path)


def _folder_of(subject: Subject, part: Subgraph) -> str | None:
    """The folder to check if X is a pushed folder or a copy of one."""
    given = subject.given
    if not os.path.isdir(given) or not subject.artifact or subject.artifact.type != "PushedModel":
        return None
    folder = Path(given).resolve()
    # The files of artifacts have hashes of their own.
    roots = [Path(path).resolve() for a in part.artifacts.values() if (path := local_path(a.uri))]
    return None if any(folder.is_relative_to(root) for root in roots) else str(folder)


def _place(pushed: Artifact) -> str | None:
    destination = pushed.properties.get("pushed_destination")
    return _resolved(str(destination)) if destination else None


def _sha256_in(manifest: str) -> str | None:
    """The hash of the model in a manifest; None if there is none. Nothing in it is believed."""
    try:
        digest = json.loads(places.read(manifest))["files"][PUSHED_MODEL_FILE]["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


# Today's, and that of runs before it.
_EXAMPLE_GENS = ("DetectionExampleGen", "VocExampleGen")
_RECORD = re.compile(r"#\d+$")


def _input_base(backend: Backend, part: Subgraph, examples: Artifact) -> str | None:
    maker = part.executions.get(part.makers.get(examples.id))
    base = maker.properties.get("input_base") if maker else None
    if not base or not maker.type.endswith(_EXAMPLE_GENS):
        return None
    return followed(backend, backend.runs_of([maker.id]).get(maker.id), examples, str(base))


class _Checker:
    """Collects what is found about one part."""

    def __init__(self):
        self._files = 0
        self._findings: list[Finding] = []

    def result(self) -> Part:
        return Part(self._files, self._findings)

    def artifact(self, artifact: Artifact, recorded: Mapping | None) -> None:
        """The artifact's own files."""
        uri = local_path(artifact.uri) or artifact.uri.rstrip("/")
        weights = artifact.properties.get("sha256") if artifact.type == "Model" else None
        # Nobody has hashed the files of a bucket where the record is empty.
        is_recorded = recorded is not None and (recorded or local_path(uri) is not None)
        try:
            if not places.exists(uri):
                self._add(MISSING, uri, artifact, f"{artifact.type} artifact is gone")
            elif is_recorded:
                self._compare(artifact, uri, recorded)
            elif weights and (local_path(uri) is None or os.path.isfile(uri)):
                self._file(artifact, uri, weights)
            else:
                self._add(UNKNOWN, uri, artifact, "no hashes were recorded")
        except OSError as error:
            self._add(UNKNOWN, uri, artifact, f"cannot be read: {error.strerror}")

    def _compare(self, artifact: Artifact, uri: str, recorded: Mapping) -> None:
        present = places.hash_files(uri)
        self._files += len(present)
        for name in sorted(recorded.keys() | present.keys()):
            path = uri if name == "." else f"{uri}/{name}"
            if name not in present:
                self._add(MISSING, path, artifact, f"file of {artifact.type}")
            elif name not in recorded:
                self._add(ADDED, path, artifact, f"in {artifact.type}")
            else:
                digest = present[name]["sha256"]
                self._expect(path, artifact, recorded[name]["sha256"], digest)

    def _file(self, artifact: Artifact, uri: str, expected: str | None) -> bytes | None:
        """Reads a file, and compares its hash; None if it cannot be read or is another one."""
        try:
            content = places.read(uri)
        except (FileNotFoundError, NotADirectoryError):
            self._add(MISSING, uri, artifact, f"file of {artifact.type}")
            return None
        except OSError as error:
            self._add(UNKNOWN, uri, artifact, f"cannot be read: {error.strerror}")
            return None
        self._files += 1
        digest = hashlib.sha256(content).hexdigest()
        return content if self._expect(uri, artifact, expected or digest, digest) else None

    def pushed(self, artifact: Artifact, folder: str | None, recorded: Mapping | None) -> None:
        """The files in a folder against the hashes of what was pushed."""
        if folder is None:
            self._add(UNKNOWN, artifact.uri, artifact, "nobody recorded where it was pushed")
            return
        facts = artifact.properties
        forms = {name: facts[key] for name, key in FORMS.items() if key in facts}
        expected = {PUSHED_MODEL_FILE: facts["sha256"], LABELS_FILE: None, **forms}
        # The artifact's own copy of the manifest: others may write to the pushed folder.
        try:
            kept = places.read(f"{artifact.uri.rstrip('/')}/{MANIFEST_FILE}")
            listed = json.loads(kept)["files"].items()
            expected |= {name: file["sha256"] for name, file in listed}
            expected[MANIFEST_FILE] = hashlib.sha256(kept).hexdigest()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass  # it is gone or damaged, which is found where the artifact is checked
        if recorded and MANIFEST_FILE in recorded:
            expected[MANIFEST_FILE] = recorded[MANIFEST_FILE]["sha256"]
        self._allow_withdrawal(f"{folder}/{MANIFEST_FILE}", expected)
        read = {
            name: self._file(artifact, f"{folder}/{name}", digest)
            for name, digest in sorted(expected.items())
        }
        with contextlib.suppress(OSError):  # that it cannot be read was said above
            for name in sorted(FORMS.keys() - expected.keys()):
                if places.exists(f"{folder}/{name}"):
                    self._add(ADDED, f"{folder}/{name}", artifact, "was not shipped")
        judged = {name: read[name] for name in JUDGED_FILES if name in read}
        if None in judged.values():
            return
        labels, together = f"{folder}/{LABELS_FILE}", artifact.properties.get(HASH_PROPERTY)
        if together:
            self._expect(labels, artifact, together, hash_together(judged))
        elif expected[LABELS_FILE] is None:
            self._add(UNKNOWN, labels, artifact, "no hash of the labels was recorded")

    def _allow_withdrawal(self, path: str, expected: dict[str, str | None]) -> None:
        """A withdrawal is added to the manifest of a version; nothing else may differ."""
        try:
            content = json.loads(places.read(path))
            mark = content.pop(WITHDRAWN)
            before = hashlib.sha256(format_manifest(content)).hexdigest()
            if before == expected.get(MANIFEST_FILE):
                marked = format_manifest({**content, WITHDRAWN: mark})
                expected[MANIFEST_FILE] = hashlib.sha256(marked).hexdigest()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass  # not withdrawn, or what is wrong is found when it is compared

    def examples(self, artifact: Artifact, base: str | None) -> None:
        """The list of images against the data fingerprint, and the images against the list."""
        images, path = images_of(artifact), f"{artifact.uri}/{IMAGES_FILE}"
        if images is None:  # found where the files of the artifact are checked
            return
        try:
            received = data_fingerprint(images.values())
        except (LookupError, TypeError):
            self._add(CHANGED, path, artifact, "it is damaged")
            return
        self._expect(path, artifact, artifact.properties["data_fingerprint"], received)
        for image in images.values() if base else ():
            if _RECORD.search(image["file"]):
                continue  # within a TFRecord file
            self._file(artifact, f"{base.rstrip('/')}/{image['file']}", image["sha256"])

    def _expect(self, path: str, artifact: Artifact, expected: str, received: str) -> bool:
        if received != expected:
            detail = f"expected sha256 {expected[:12]}, received {received[:12]}"
            self._add(CHANGED, path, artifact, detail)
        return received == expected

    def _add(self, problem: str, path: str, artifact: Artifact, detail: str) -> None:
        self._findings.append(Finding(problem, path, artifact.id, detail))
