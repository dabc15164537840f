"""Publishing: a new version appears whole or not at all, and `latest` always names a whole one.

    <destination>/<version>/         detect.tflite, labels.txt, manifest.json
    <destination>/latest             relative symlink to the newest version
    <destination>/.push-*            a push that is under way, or was cut off

A push fills a hidden folder, makes it durable, renames it to its version, and only then moves
`latest`. Whatever instruction a crash follows, a reader of `latest` finds the old version or the
new one. What a crash leaves is removed by the next push. Pushing what is the latest already, as
after a crash of the pipeline between the push and its record, makes no second version of it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pipeline.errors import UserError
from pipeline.files import LATEST, MANIFEST_FILE, sha256_of, sync_folder, write_whole

_TEMPORARY = ".push-"
_LOCK_FILE = ".push.lock"
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclasses.dataclass(frozen=True)
class Published:
    """A version that is there.

    Attributes:
      path: its folder or URL.
      version: its number, in decimals; later versions are greater.
      sha256: hex digests of its files by name, the manifest left out.
      manifest: content of its manifest.json.
    """

    path: str
    version: str
    sha256: dict[str, str]
    manifest: bytes


class Publisher(Protocol):
    """A place where versions are published."""

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """Publishes a new version and makes it the latest, unless the latest has these files.

        Args:
          files: contents by name.
          manifest: facts for manifest.json, which gets `version` and `files` ({name: {sha256,
            size_bytes}}) besides.

        Returns:
          The version: the new one, or the latest where that has the same files, in which case its
          manifest stays. When this raises, `latest` is what it was, or the new version in whole.
        """


def publisher_for(destination: str) -> Publisher:
    """The publisher for a destination given by a user.

    Raises:
      UserError: when nothing can publish there.
    """
    if destination.startswith("gs://"):
        from pipeline.shipping.publish_gcs import BucketPublisher

        return BucketPublisher(destination)
    if "://" in destination:
        raise UserError(
            f"Expected a local folder, or gs://BUCKET/FOLDER, to push to. "
            f"Received: {destination!r}."
        )
    return FolderPublisher(destination)


class FolderPublisher:
    """Publishes into a folder of a local file system; several processes may do so at once.

    Versions count up from 1.

    Args:
      folder: made when it is absent.
    """

    def __init__(self, folder: str):
        self._folder = os.path.abspath(folder)

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """See `Publisher.publish`.

        Raises:
          UserError: when the folder can't be written to, or `latest` in it is no link of ours.
          OSError: when writing fails, also when a file reads back otherwise than it was written.
        """
        try:
            os.makedirs(self._folder, exist_ok=True)
            with self._lock():
                return self._publish(files, manifest)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"Expected a folder that can be written to as push destination. "
                f"Received: {self._folder} ({error}). Choose another, or mend its permissions."
            ) from error

    def _publish(self, files, manifest):
        self._remove_leftovers()
        latest = os.path.join(self._folder, LATEST)
        if os.path.lexists(latest) and not os.path.islink(latest):
            raise UserError(
                f"Expected {latest} to be absent or a symlink to a version. "
                "Received: something else. Move it away, or push elsewhere."
            )
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        entries = {
            name: {"sha256": digests[name], "size_bytes": len(content)}
            for name, content in files.items()
        }
        same = self._latest_with(entries, digests)
        if same:
            return same
        version = str(1 + max(self._versions(), default=0))
        facts = {**manifest, "version": version, "files": entries}
        text = (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()
        temporary = tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._folder)
        os.chmod(temporary, 0o755)  # mkdtemp's folders are the owner's alone
        for name, content in {**files, MANIFEST_FILE: text}.items():
            write_whole(os.path.join(temporary, name), content)
        _verify(temporary, digests)
        path = os.path.join(self._folder, version)
        os.rename(temporary, path)  # fails when the version exists: it is never empty
        sync_folder(self._folder)
        self._move_latest(version)
        return Published(path=path, version=version, sha256=digests, manifest=text)

    def _latest_with(self, entries, digests):
        """The latest version, if its files are these, also on disk."""
        path = os.path.realpath(os.path.join(self._folder, LATEST))
        try:
            with open(os.path.join(path, MANIFEST_FILE), "rb") as file:
                text = file.read()
            found = json.loads(text)
            if found["files"] != entries:
                return None
            _verify(path, digests)
        except (OSError, ValueError, KeyError):  # none yet, or damaged: publish anew
            return None
        return Published(path, found["version"], digests, text)

    def _move_latest(self, version):
        link = os.path.join(self._folder, f"{_TEMPORARY}{LATEST}")
        os.symlink(version, link)
        os.replace(link, os.path.join(self._folder, LATEST))
        sync_folder(self._folder)

    def _versions(self):
        return [int(name) for name in os.listdir(self._folder) if _VERSION.fullmatch(name)]

    def _remove_leftovers(self):
        """Removes what pushes that were cut off have left; we hold the lock, so none is at work."""
        for name in os.listdir(self._folder):
            path = os.path.join(self._folder, name)
            if not name.startswith(_TEMPORARY):
                continue
            if os.path.islink(path):
                os.unlink(path)
            else:
                shutil.rmtree(path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One push at a time; the kernel lets go of the lock when its holder dies."""
        with open(os.path.join(self._folder, _LOCK_FILE), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _verify(folder, digests):
    for name, expected in digests.items():
        path = os.path.join(folder, name)
        received = sha256_of(path)
        if received != expected:
            raise OSError(f"Expected {path} with sha256 {expected}. Received: {received}.")
