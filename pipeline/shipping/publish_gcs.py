"""Publishing to Cloud Storage: the same promise as in a folder, kept by generation checks.

    gs://BUCKET/FOLDER/<version>/    detect.tflite, labels.txt, manifest.json
    gs://BUCKET/FOLDER/latest        JSON: {"version": ..., "path": "gs://..."}

A store of objects has no rename. A version is claimed by creating its first object on the
condition that there is none; its manifest, uploaded last, says that it is whole; and `latest`, one
object, is replaced on the condition that it still is the one that was read. Of two runs that finish
at once both get a version, and `latest` ends at the greater one, whoever is faster.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import google_crc32c
from google.api_core.exceptions import (
    Forbidden,
    NotFound,
    PreconditionFailed,
)
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from pipeline.errors import UserError
from pipeline.files import LABELS_FILE, LATEST, MANIFEST_FILE, PUSHED_MODEL_FILE
from pipeline.shipping.publish import Published

SCHEME = "gs://"
_ABSENT = 0  # the generation of an object that does not exist
_ATTEMPTS = 20


class BucketPublisher:
    """Publishes into a folder of a bucket; any number of processes may do so at once.

    Versions count up from 1. A push that was cut off leaves a version without a manifest, which
    `latest` never names.

    Args:
      destination: gs://BUCKET/FOLDER.

    Raises:
      UserError: no such URL, or no credentials.
    """

    def __init__(self, destination: str):
        bucket, _, folder = destination.removeprefix(SCHEME).strip("/").partition("/")
        if not destination.startswith(SCHEME) or not bucket or not folder:
            raise UserError(f"Expected gs://BUCKET/FOLDER to push to. Received: {destination}.")
        self._root = f"{SCHEME}{bucket}/{folder}"
        self._folder = folder
        try:
            self._client = storage.Client()
        except (DefaultCredentialsError, OSError) as error:
            raise UserError(
                f"Expected credentials to push to {self._root}. Received: none ({error}). "
                "Run: gcloud auth application-default login"
            ) from error
        self._bucket = self._client.bucket(bucket)

    def publish(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Published:
        """See `pipeline.shipping.publish.Publisher.publish`.

        Raises:
          UserError: the bucket is not there, or may not be written to.
          OSError: other processes kept moving `latest`.
        """
        try:
            return self._publish(files, manifest)
        except (Forbidden, NotFound) as error:
            raise UserError(
                f"Expected a bucket that can be written to as push destination. Received: "
                f"{self._root} ({error.message}). Grant roles/storage.objectAdmin, or choose "
                "another --push-to."
            ) from error

    def _publish(self, files, manifest):
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        entries = {
            name: {"sha256": digests[name], "size_bytes": len(content)}
            for name, content in files.items()
        }
        same = self._latest_with(entries, digests)
        if same:
            return same
        version = self._claim(files[PUSHED_MODEL_FILE])
        for name, content in files.items():
            if name != PUSHED_MODEL_FILE:
                self._fill(f"{version}/{name}", content)
        facts = {**manifest, "version": str(version), "files": entries}
        text = (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()
        self._fill(f"{version}/{MANIFEST_FILE}", text)
        self._move_latest(version)
        return Published(f"{self._root}/{version}", str(version), digests, text)

    def _claim(self, model: bytes) -> int:
        """Uploads the model as the next version; another process may be claiming, too."""
        version = 1 + max(self._versions(), default=0)
        for _ in range(_ATTEMPTS):
            try:
                self._upload(f"{version}/{PUSHED_MODEL_FILE}", model, _ABSENT)
            except PreconditionFailed:
                version += 1
            else:
                return version
        raise OSError(f"Expected to claim a version in {self._root}. Others were faster.")

    def _fill(self, name: str, content: bytes) -> None:
        """Uploads a further file of a version that is ours."""
        try:
            self._upload(name, content, _ABSENT)
        except PreconditionFailed:
            # Nobody else writes here: an earlier attempt arrived, and its answer got lost.
            return

    def _move_latest(self, version: int) -> None:
        pointer = {"version": str(version), "path": f"{self._root}/{version}"}
        text = (json.dumps(pointer) + "\n").encode()
        for _ in range(_ATTEMPTS):
            current, generation = self._read_latest()
            if current is not None and int(current["version"]) >= version:
                return  # a later push has been here
            try:
                self._upload(LATEST, text, generation)
            except PreconditionFailed:
                continue
            return
        raise OSError(f"Expected to move {self._root}/{LATEST}. Others kept moving it.")

    def _read_latest(self) -> tuple[dict[str, str] | None, int]:
        """What `latest` says, and the generation that says so."""
        blob = self._bucket.get_blob(f"{self._folder}/{LATEST}")
        if blob is None:
            return None, _ABSENT
        try:
            content = blob.download_as_bytes(if_generation_match=blob.generation)
        except (NotFound, PreconditionFailed):
            return self._read_latest()  # it moved between the two requests
        return json.loads(content), blob.generation

    def _latest_with(self, entries, digests) -> Published | None:
        """The latest version, if its files are these."""
        current, _ = self._read_latest()
        if current is None:
            return None
        version = current["version"]
        blob = self._bucket.get_blob(f"{self._folder}/{version}/{MANIFEST_FILE}")
        if blob is None:
            return None
        text = blob.download_as_bytes()
        if json.loads(text)["files"] != entries:
            return None
        return Published(f"{self._root}/{version}", version, digests, text)

    def _versions(self) -> list[int]:
        listing = self._client.list_blobs(self._bucket, prefix=f"{self._folder}/", delimiter="/")
        for _ in listing:
            pass  # the folders are known once all pages are read
        names = [prefix.rstrip("/").rpartition("/")[2] for prefix in listing.prefixes]
        return [int(name) for name in names if name.isdecimal()]

    def _upload(self, name: str, content: bytes, generation: int) -> None:
        """Creates or replaces an object that has this generation, whole or not at all."""
        blob = self._bucket.blob(f"{self._folder}/{name}")
        # The service compares this with what arrives.
        blob.crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        kind = "application/json" if name.endswith((LATEST, MANIFEST_FILE)) else _type_of(name)
        # Safe to repeat: under the condition only one attempt can take effect.
        blob.upload_from_string(content, kind, if_generation_match=generation, retry=DEFAULT_RETRY)


def _type_of(name: str) -> str:
    return "text/plain" if name.endswith(LABELS_FILE) else "application/octet-stream"
