"""Publishes into a folder: `latest` is a relative symlink, and hidden names are work in progress.

    <destination>/.push-*       a push that is under way, or was cut off

A push fills a hidden folder, makes it durable, renames it to its version, and only then moves
`latest`. Wherever a crash hits, a reader of `latest` finds the old version or the new one. The next
push removes what a crash left behind.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.errors import UserError
from pipeline.files import (
    FORMS,
    HASH_PROPERTY,
    JUDGED_FILES,
    LATEST,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    WITHDRAWN,
    hash_file,
    hash_together,
    parse_manifest,
    sync_folder,
    write_whole,
)
from pipeline.metadata.facts import withdrawals
from pipeline.shipping.publisher import (
    FileFacts,
    Published,
    Publisher,
    Version,
    file_facts,
    manifest_content,
)

_PUSHED_MODEL = "PushedModel"
_TEMPORARY = ".push-"
_LOCK_FILE = ".push.lock"
_NOT_A_WRITABLE_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR}
_VERSION = re.compile(r"[1-9][0-9]*")


class FolderPublisher(Publisher):
    """Publishes into a folder of a local file system; several processes may do so at once.

    Args:
      folder: created if necessary.
    """

    def __init__(self, folder: str):
        self.root = self._folder = os.path.abspath(folder)

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """See `pipeline.shipping.publisher.Publisher.publish`.

        Raises:
          UserError: the folder is not writable, or its `latest` is not a symlink.
          OSError: writing failed, or a file reads back differently.
        """
        with self._exclusive():
            return self._publish(files, manifest)

    def versions(self) -> list[Version]:
        """See `Publisher.versions`. Without the lock: people who may only read ask, too."""
        return self._listed()

    @contextlib.contextmanager
    def _exclusive(self, create: bool = True) -> Iterator[None]:
        """One process at a time; the kernel releases the lock when its holder dies."""
        if not create and not os.path.isdir(self._folder):
            yield
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            with open(os.path.join(self._folder, _LOCK_FILE), "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            if error.errno not in _NOT_A_WRITABLE_FOLDER:
                raise
            raise UserError(
                f"Expected a writable folder as push destination. Received: {self._folder} "
                f"({error}). Choose another one, or fix its permissions."
            ) from error

    def _publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        self._remove_leftovers()
        self._check_latest()
        facts = file_facts(files)
        same = self._latest_with(facts)
        if same:
            return same
        self._refuse_withdrawn(files)
        version = str(1 + max(self._numbers(), default=0))
        text = manifest_content(manifest, version, facts)
        temporary = tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._folder)
        os.chmod(temporary, 0o755)  # mkdtemp gives access to nobody else
        for name, content in {**files, MANIFEST_FILE: text}.items():
            write_whole(os.path.join(temporary, name), content)
        _verify(temporary, facts)
        path = os.path.join(self._folder, version)
        os.rename(temporary, path)  # fails if the version exists, as it is never empty
        sync_folder(self._folder)
        self._move_latest(version)
        return Published(path, version, facts, text)

    def _latest_with(self, facts: FileFacts) -> Published | None:
        """The latest version if it has these files, undamaged."""
        path = os.path.realpath(os.path.join(self._folder, LATEST))
        try:
            with open(os.path.join(path, MANIFEST_FILE), "rb") as file:
                text = file.read()
            found = json.loads(text)
            if found["files"] != facts or WITHDRAWN in found:
                return None
            _verify(path, facts)
        except (OSError, ValueError, KeyError):  # nothing there yet, or it is damaged
            return None
        return Published(path, found["version"], facts, text)

    def _check_latest(self) -> None:
        latest = os.path.join(self._folder, LATEST)
        if os.path.lexists(latest) and not os.path.islink(latest):
            raise UserError(
                f"Expected {latest} to be absent or a symlink to a version. "
                "Received: something else. Move it away, or push elsewhere."
            )

    def _move_latest(self, version: str) -> None:
        link = os.path.join(self._folder, f"{_TEMPORARY}{LATEST}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)  # of a process that was killed here
        os.symlink(version, link)
        os.replace(link, os.path.join(self._folder, LATEST))
        sync_folder(self._folder)

    def _numbers(self) -> list[int]:
        if not os.path.isdir(self._folder):
            return []
        return [int(name) for name in os.listdir(self._folder) if _VERSION.fullmatch(name)]

    def _path(self, version: int) -> str:
        return os.path.join(self._folder, str(version))

    def _read_manifest(self, version: int) -> dict[str, Any] | None:
        try:
            return parse_manifest(Path(self._path(version), MANIFEST_FILE).read_bytes())
        except (OSError, ValueError):
            return None

    def _write_manifest(self, version: int, content: bytes) -> None:
        write_whole(os.path.join(self._path(version), MANIFEST_FILE), content)

    def _facts(self, version: int, names: list[str]) -> FileFacts:
        return {name: hash_file(os.path.join(self._path(version), name)) for name in names}

    def _read_pointer(self) -> tuple[int | None, None]:
        name = os.path.basename(os.path.realpath(os.path.join(self._folder, LATEST)))
        return (int(name) if _VERSION.fullmatch(name) else None), None

    def _point(self, version: int | None, token: None) -> bool:
        del token  # the lock keeps others out
        self._check_latest()
        if version is None:
            os.unlink(os.path.join(self._folder, LATEST))
            sync_folder(self._folder)
        else:
            self._move_latest(str(version))
        return True

    def _remove_leftovers(self) -> None:
        """Removes what interrupted pushes left behind; under the lock no push is at work."""
        for name in os.listdir(self._folder):
            path = os.path.join(self._folder, name)
            if not name.startswith(_TEMPORARY):
                continue
            if os.path.islink(path):
                os.unlink(path)
            else:
                shutil.rmtree(path)


def _verify(folder: str, facts: FileFacts) -> None:
    for name, expected in facts.items():
        path = os.path.join(folder, name)
        received = hash_file(path)
        if received != expected:
            raise OSError(f"Expected {path} with {expected}. Received: {received}.")


def lost_versions(store: metadata_store.MetadataStore, destination: str) -> tuple[str, ...]:
    """Published versions that somebody has deleted, damaged or withdrawn since.

    Part of the Pusher's cache key, so that a cached Pusher does not claim what is gone: the same
    losses give the same value; a version that is published again and lost again, another one.

    Args:
      store: has the PushedModel artifacts of earlier runs, see `pipeline.shipping.pusher.Pusher`.
      destination: a folder; of a URL, only what was withdrawn is known.

    Returns:
      Ids of the PushedModel artifacts whose version is missing, incomplete or has another model or
      other labels by now, and `withdrawn ID`; and `latest after ID`, with the last artifact's id,
      if `latest` leads nowhere.
    """
    artifacts = store.get_artifacts_by_type(_PUSHED_MODEL)
    known = withdrawals(store)
    back = [
        f"{WITHDRAWN} {artifact.id}"
        for artifact in artifacts
        if artifact.custom_properties["sha256"].string_value in known
        and _place(artifact) == _resolved(destination)
    ]
    if "://" in destination:
        return tuple(back)
    folder = os.path.realpath(destination)
    pushed, lost = [], []
    for artifact in artifacts:
        facts = artifact.custom_properties
        version = os.path.realpath(facts["pushed_destination"].string_value)
        if not facts["pushed"].int_value or os.path.dirname(version) != folder:
            continue
        pushed.append(artifact.id)
        if not _is_whole(version, facts):
            lost.append(artifact.id)
    values = [*(str(artifact_id) for artifact_id in sorted(lost)), *sorted(back)]
    if pushed and not os.path.isdir(os.path.join(folder, LATEST)):
        values.append(f"{LATEST} after {max(pushed)}")
    return tuple(values)


def _place(artifact: metadata_store_pb2.Artifact) -> str:
    """Where a version was pushed to."""
    version = artifact.custom_properties["pushed_destination"].string_value
    return _resolved(version).rpartition("/")[0]


def _resolved(place: str) -> str:
    return place.rstrip("/") if "://" in place else os.path.realpath(place)


def _is_whole(version: str, recorded: Mapping[str, metadata_store_pb2.Value]) -> bool:
    try:
        os.stat(os.path.join(version, MANIFEST_FILE))
        names = [n for n in JUDGED_FILES if n not in FORMS or FORMS[n] in recorded]
        files = {name: Path(version, name).read_bytes() for name in names}
    except OSError:
        return False
    if HASH_PROPERTY in recorded:
        return recorded[HASH_PROPERTY].string_value == hash_together(files)
    # Pushed before the labels had a hash.
    model = hashlib.sha256(files[PUSHED_MODEL_FILE]).hexdigest()
    return model == recorded["sha256"].string_value
