"""Publishers: a version appears whole or not at all, and `latest` always names a whole one.

    <destination>/<version>/    detect.tflite, its raw forms, labels.txt, manifest.json
    <destination>/latest        names the newest version that was not withdrawn

Versions count up from 1. Publishing what is already the latest, as after a crash of the pipeline
between the push and its record, makes no second version of it. A version that was withdrawn says so
in its manifest; the same file is never published there again.
"""

import abc
import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import UserError
from pipeline.files import LATEST, PUSHED_MODEL_FILE, WITHDRAWN, format_manifest

FileFacts = dict[str, dict[str, Any]]
"""{name: {"sha256": hex digest, "size_bytes": size}}, as in `pipeline.files.hash_files`."""

_ATTEMPTS = 20


@dataclasses.dataclass(frozen=True)
class Published:
    """A version in its place.

    Attributes:
      path: its folder or URL.
      version: its number, in decimals; later versions are greater.
      files: facts about its files, except the manifest.
      manifest: content of its manifest.json.
    """

    path: str
    version: str
    files: FileFacts
    manifest: bytes


@dataclasses.dataclass(frozen=True)
class Version:
    """A version as it is now.

    Attributes:
      version: its number.
      path: its folder or URL.
      manifest: content of its manifest.json; None if that is missing or damaged.
      is_latest: whether `latest` names it.
    """

    version: int
    path: str
    manifest: dict[str, Any] | None
    is_latest: bool

    @property
    def withdrawn(self) -> dict[str, str] | None:
        """{at, reason} if it was withdrawn."""
        return (self.manifest or {}).get(WITHDRAWN)

    @property
    def sha256(self) -> str | None:
        """Of the model, by the manifest."""
        try:
            return self.manifest["files"][PUSHED_MODEL_FILE]["sha256"]
        except (LookupError, TypeError):
            return None


class Publisher(abc.ABC):
    """A place to publish versions, to withdraw them, and to move `latest` back.

    Attributes:
      root: of the place, a folder or a URL.
    """

    root: str

    @abc.abstractmethod
    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """Publishes a new version and makes it the latest, unless the latest has these files.

        If this raises, `latest` is what it was, or it is the new version, whole.

        Args:
          files: contents by name.
          manifest: facts for manifest.json; `version` and `files` are added to them.

        Returns:
          The new version, or the latest one where that has the same files; its manifest then stays
          as it is.

        Raises:
          UserError: a version with this model was withdrawn.
        """

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with self._exclusive(create=False):
            return self._listed()

    def withdraw(self, version: str, reason: str, at: str) -> Version:
        """Marks a version as withdrawn, and moves `latest` away from it.

        `latest` then names the newest version that is whole and not withdrawn; without any, it is
        gone. Repeating it after an interruption completes it; the first reason stays.

        Args:
          version: its number.
          reason: why, for people.
          at: the time, ISO 8601.

        Returns:
          The version, as it is now.

        Raises:
          UserError: there is no such version.
          OSError: others kept moving `latest`.
        """
        with self._exclusive(create=False):
            found = self._find(version)
            if found.withdrawn is None:
                marked = {**found.manifest, WITHDRAWN: {"at": at, "reason": reason}}
                self._write_manifest(found.version, format_manifest(marked))
            for _ in range(_ATTEMPTS):
                current, token = self._read_pointer()
                if current != found.version or self._point(self._newest(found.version), token):
                    return self._find(version)
        raise OSError(f"Could not move {self.root}/{LATEST}: others kept moving it.")

    def roll_back(self, version: str | None) -> Version:
        """Moves `latest` back, without withdrawing anything.

        Args:
          version: to it; None for the newest before the latest that was not withdrawn.

        Returns:
          What is the latest version now.

        Raises:
          UserError: there is no such version, or it was withdrawn or is not whole.
        """
        with self._exclusive(create=False):
            current, token = self._read_pointer()
            if version is None:
                target = self._newest(current, below=current) if current else None
                if target is None:
                    raise UserError(
                        f"Expected an earlier version that was not withdrawn in {self.root}. "
                        f"Received: none. {LATEST} stays as it is."
                    )
            else:
                found = self._find(version)
                target = found.version
                if found.withdrawn:
                    raise UserError(
                        f"Expected a version that was not withdrawn. Received: {version}, which "
                        f"was, at {found.withdrawn['at']} ({found.withdrawn['reason']})."
                    )
                if not self._is_whole(found):
                    raise UserError(
                        f"Expected a whole version. Received: {found.path}, of which files are "
                        "missing or differ from its manifest."
                    )
            if not self._point(target, token):
                raise UserError(
                    f"Expected {self.root}/{LATEST} to stay at version {current} meanwhile. "
                    "Received: a push that moved it. Look again with `list`."
                )
            return self._find(str(target))

    def _listed(self) -> list[Version]:
        current, _ = self._read_pointer()
        return [
            Version(number, self._path(number), self._read_manifest(number), number == current)
            for number in sorted(self._numbers(), reverse=True)
        ]

    def _find(self, version: str) -> Version:
        listed = self._listed()
        found = next((one for one in listed if str(one.version) == version), None)
        if found is None or found.manifest is None:
            received = "a damaged one" if found else f"none of {[one.version for one in listed]}"
            raise UserError(
                f"Expected a version with its manifest in {self.root}. Received: {version}, "
                f"{received}."
            )
        return found

    def _newest(self, but: int, below: int | None = None) -> int | None:
        """The newest version to serve."""
        usable = (
            one.version
            for one in self._listed()
            if one.version != but
            and (below is None or one.version < below)
            and one.manifest is not None
            and one.withdrawn is None
            and self._is_whole(one)
        )
        return next(usable, None)

    def _is_whole(self, version: Version) -> bool:
        try:
            return (
                self._facts(version.version, list(version.manifest["files"]))
                == (version.manifest["files"])
            )
        except (OSError, LookupError, TypeError):
            return False

    def _refuse_withdrawn(self, files: Mapping[str, bytes]) -> None:
        """A model that was withdrawn here is not published here again."""
        digest = hashlib.sha256(files[PUSHED_MODEL_FILE]).hexdigest()
        for one in self._listed():
            if one.withdrawn and one.sha256 == digest:
                raise UserError(
                    f"Expected a {PUSHED_MODEL_FILE} that was not withdrawn. Received: that of "
                    f"version {one.version} in {self.root}, withdrawn at {one.withdrawn['at']} "
                    f"({one.withdrawn['reason']}). Nothing is pushed."
                )

    @contextlib.contextmanager
    def _exclusive(self, create: bool = True) -> Iterator[None]:
        """Keeps others out meanwhile, where that is possible; says what is wrong with the place.

        Args:
          create: the place if it does not exist; otherwise it is empty.
        """
        del create
        yield

    @abc.abstractmethod
    def _path(self, version: int) -> str:
        """Folder or URL of a version."""

    @abc.abstractmethod
    def _numbers(self) -> list[int]:
        """All versions, whole or not."""

    @abc.abstractmethod
    def _read_manifest(self, version: int) -> dict[str, Any] | None:
        """Content of a manifest; None if it is missing or damaged."""

    @abc.abstractmethod
    def _write_manifest(self, version: int, content: bytes) -> None:
        """Replaces a manifest, whole or not at all."""

    @abc.abstractmethod
    def _facts(self, version: int, names: list[str]) -> FileFacts:
        """Facts of a version's files as they are.

        Raises:
          OSError: one is missing.
        """

    @abc.abstractmethod
    def _read_pointer(self) -> tuple[int | None, Any]:
        """What `latest` names, and a token of this state."""

    @abc.abstractmethod
    def _point(self, version: int | None, token: Any) -> bool:
        """Moves `latest`, at once, or removes it; False if it has moved since the token."""


def file_facts(files: Mapping[str, bytes]) -> FileFacts:
    """What a manifest says about files, given their contents by name."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    }


def manifest_content(manifest: Mapping[str, Any], version: str, files: FileFacts) -> bytes:
    """Content of manifest.json."""
    return format_manifest({**manifest, "version": version, "files": files})
