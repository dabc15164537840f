"""Publishes to Cloud Storage: `latest` is an object, {"version": ..., "path": "gs://..."}.

An object store has no rename, so each step depends on an object's generation. A version is claimed
by creating its first object where there is none; its manifest, uploaded last, shows that it is
whole; and `latest` is replaced only if nobody else has replaced it since it was read. If two runs
finish at once, both get a version, and `latest` ends at the greater one, whoever is faster.
"""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import google_crc32c
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from pipeline.errors import UserError
from pipeline.files import (
    LABELS_FILE,
    LATEST,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    WITHDRAWN,
    parse_manifest,
)
from pipeline.shipping.publisher import (
    FileFacts,
    Published,
    Publisher,
    file_facts,
    manifest_content,
)

SCHEME = "gs://"
_ABSENT = 0  # the generation of an object that does not exist
_ATTEMPTS = 20


class BucketPublisher(Publisher):
    """Publishes into a folder of a bucket; any number of processes may do so at once.

    An interrupted push leaves a version without a manifest, which `latest` never names.

    Args:
      destination: gs://BUCKET/FOLDER.

    Raises:
      UserError: a URL of another form, or no credentials.
    """

    def __init__(self, destination: str):
        bucket, _, folder = destination.removeprefix(SCHEME).strip("/").partition("/")
        if not destination.startswith(SCHEME) or not bucket or not folder:
            raise UserError(f"Expected gs://BUCKET/FOLDER to push to. Received: {destination}.")
        self.root = f"{SCHEME}{bucket}/{folder}"
        self._folder = folder
        try:
            self._client = storage.Client()
        except (DefaultCredentialsError, OSError) as error:
            raise UserError(
                f"Expected credentials to push to {self.root}. Received: none ({error}). "
                "Run: gcloud auth application-default login"
            ) from error
        self._bucket = self._client.bucket(bucket)

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """See `pipeline.shipping.publisher.Publisher.publish`.

        Raises:
          UserError: the bucket does not exist or is not writable.
          OSError: other processes kept moving `latest`.
        """
        with self._exclusive():
            return self._publish(files, manifest)

    @contextlib.contextmanager
    def _exclusive(self, create: bool = True) -> Iterator[None]:
        """Generations keep processes apart, so that nobody has to wait."""
        del create
        try:
            yield
        except (Forbidden, NotFound) as error:
            raise UserError(
                f"Expected a writable bucket as push destination. Received: {self.root} "
                f"({error.message}). Grant roles/storage.objectAdmin, or choose another --push-to."
            ) from error

    def _publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        facts = file_facts(files)
        same = self._latest_with(facts)
        if same:
            return same
        self._refuse_withdrawn(files)
        version = self._claim(files[PUSHED_MODEL_FILE])
        text = manifest_content(manifest, str(version), facts)
        for name, content in {**files, MANIFEST_FILE: text}.items():
            if name != PUSHED_MODEL_FILE:
                self._fill(f"{version}/{name}", content)
        self._move_latest(version)
        return Published(f"{self.root}/{version}", str(version), facts, text)

    def _claim(self, model: bytes) -> int:
        """Uploads the model as the next version; other processes may be claiming versions, too."""
        version = 1 + max(self._numbers(), default=0)
        for _ in range(_ATTEMPTS):
            try:
                self._upload(f"{version}/{PUSHED_MODEL_FILE}", model, _ABSENT)
            except PreconditionFailed:
                version += 1
            else:
                return version
        raise OSError(f"Could not claim a version in {self.root}: others were always faster.")

    def _fill(self, name: str, content: bytes) -> None:
        """Uploads another file of the version that we claimed."""
        # If it exists, an earlier attempt of ours arrived and its answer got lost.
        with contextlib.suppress(PreconditionFailed):
            self._upload(name, content, _ABSENT)

    def _move_latest(self, version: int) -> None:
        for _ in range(_ATTEMPTS):
            current, generation = self._read_pointer()
            if current is not None and current >= version:
                return  # a later push was faster
            if self._point(version, generation):
                return
        raise OSError(f"Could not move {self.root}/{LATEST}: others kept moving it.")

    def _read_latest(self) -> tuple[dict[str, str] | None, int]:
        """Content and generation of `latest`; a damaged one names nothing."""
        blob = self._bucket.get_blob(f"{self._folder}/{LATEST}")
        if blob is None:
            return None, _ABSENT
        generation = blob.generation  # a download sets it anew, if the answer has it
        try:
            content = blob.download_as_bytes(if_generation_match=generation)
        except (NotFound, PreconditionFailed):
            return self._read_latest()  # it was replaced between the two requests
        try:
            found = json.loads(content)
            int(found["version"])
        except (ValueError, LookupError, TypeError):
            return None, generation
        return found, generation

    def _latest_with(self, facts: FileFacts) -> Published | None:
        """The latest version if it has these files, undamaged."""
        current, _ = self._read_latest()
        if current is None:
            return None
        version = current["version"]
        folder = f"{self._folder}/{version}"
        try:
            found = {
                name: self._bucket.blob(f"{folder}/{name}").download_as_bytes()
                for name in (*facts, MANIFEST_FILE)
            }
            text = found.pop(MANIFEST_FILE)
            recorded = json.loads(text)
            if recorded["files"] != facts or file_facts(found) != facts or WITHDRAWN in recorded:
                return None
        except (NotFound, ValueError, LookupError, TypeError):  # incomplete or damaged
            return None
        return Published(f"{self.root}/{version}", version, facts, text)

    def _path(self, version: int) -> str:
        return f"{self.root}/{version}"

    def _read_pointer(self) -> tuple[int | None, int]:
        current, generation = self._read_latest()
        return (None if current is None else int(current["version"])), generation

    def _point(self, version: int | None, token: int) -> bool:
        pointer = {"version": str(version), "path": f"{self.root}/{version}"}
        try:
            if version is None:
                self._bucket.blob(f"{self._folder}/{LATEST}").delete(
                    if_generation_match=token, retry=DEFAULT_RETRY
                )
            else:
                self._upload(LATEST, (json.dumps(pointer) + "\n").encode(), token)
        except PreconditionFailed:
            return False
        return True

    def _read_manifest(self, version: int) -> dict[str, Any] | None:
        try:
            return parse_manifest(self._download(version, MANIFEST_FILE))
        except (FileNotFoundError, ValueError):
            return None

    def _write_manifest(self, version: int, content: bytes) -> None:
        # Nobody else changes the manifest of a whole version; who withdraws it at once wins.
        blob = self._bucket.get_blob(f"{self._folder}/{version}/{MANIFEST_FILE}")
        generation = blob.generation if blob else _ABSENT
        with contextlib.suppress(PreconditionFailed):
            self._upload(f"{version}/{MANIFEST_FILE}", content, generation)

    def _facts(self, version: int, names: list[str]) -> FileFacts:
        return file_facts({name: self._download(version, name) for name in names})

    def _download(self, version: int, name: str) -> bytes:
        try:
            return self._bucket.blob(f"{self._folder}/{version}/{name}").download_as_bytes()
        except NotFound as error:
            raise FileNotFoundError(f"{self._path(version)}/{name}") from error

    def _numbers(self) -> list[int]:
        listing = self._client.list_blobs(self._bucket, prefix=f"{self._folder}/", delimiter="/")
        for _ in listing:
            pass  # prefixes is complete once all pages are read
        names = [prefix.rstrip("/").rpartition("/")[2] for prefix in listing.prefixes]
        return [int(name) for name in names if name.isdecimal()]

    def _upload(self, name: str, content: bytes, generation: int) -> None:
        """Creates or replaces an object if it has this generation, whole or not at all."""
        blob = self._bucket.blob(f"{self._folder}/{name}")
        # The service compares this with what it receives.
        blob.crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        kind = "application/json" if name.endswith((LATEST, MANIFEST_FILE)) else _type_of(name)
        # Safe to repeat: the generation lets only one attempt take effect.
        blob.upload_from_string(content, kind, if_generation_match=generation, retry=DEFAULT_RETRY)


def _type_of(name: str) -> str:
    return "text/plain" if name.endswith(LABELS_FILE) else "application/octet-stream"
