"""A lease on a folder in a bucket: two runs never train in the same checkpoints at once.

The holder writes an object anew every half minute, and whoever else wants the folder waits to see
whether it does. So nobody's clock is compared with another's, and the lease of a holder that died
runs out. A folder on this machine needs none: the runner locks its workdir.
"""

import contextlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from pipeline.errors import UserError

LEASE_FILE = "lease.json"
_SCHEME = "gs://"
_LEASE_SECONDS = 120.0
_RENEWAL_SECONDS = 30.0
_ABSENT = 0  # the generation of an object that does not exist
# Vertex AI's name for the job that this container belongs to; the same after a restart.
_JOB_ID = "CLOUD_ML_JOB_ID"

_log = logging.getLogger("detector")


@contextlib.contextmanager
def hold(folder: str, run: str) -> Iterator[Callable[[], None]]:
    """Holds the lease on a folder.

    Args:
      folder: gs://BUCKET/FOLDER, or a local folder, for which nothing is done.
      run: for the error that others get.

    Yields:
      A function to call before each change of the folder; it raises UserError if the lease is lost.

    Raises:
      UserError: another run holds the lease.
    """
    if not folder.startswith(_SCHEME):
        yield lambda: None
        return
    lease = _Lease(folder, run)
    lease.take()
    stop = threading.Event()
    renewal = threading.Thread(target=lease.keep, args=(stop,), daemon=True)
    renewal.start()
    try:
        yield lease.check
    finally:
        stop.set()
        renewal.join()
        lease.give_back()


class _Lease:
    def __init__(self, folder: str, run: str):
        bucket, _, path = folder.removeprefix(_SCHEME).partition("/")
        self._folder = folder
        self._blob = storage.Client().bucket(bucket).blob(f"{path}/{LEASE_FILE}")
        self._owner = os.environ.get(_JOB_ID) or uuid.uuid4().hex
        # A restarted job has the owner of the one before, but not its token.
        self._content = {"run": run, "owner": self._owner, "token": uuid.uuid4().hex}
        self._generation = _ABSENT
        self._renewed = 0.0
        self._lost = False

    def take(self) -> None:
        held, generation = self._read()
        watched = time.monotonic()
        while held is not None and held["owner"] != self._owner:
            if time.monotonic() - watched > _LEASE_SECONDS:
                _log.warning("Trainer: run %s has died; taking over %s", held["run"], self._folder)
                break
            _log.info("Trainer: waiting to see whether run %s still trains here", held["run"])
            time.sleep(_RENEWAL_SECONDS / 2)
            before = generation
            held, generation = self._read()
            if held is not None and generation != before:
                raise self._taken(held)
        try:
            self._write(generation)
        except PreconditionFailed as error:
            raise self._taken(self._read()[0] or {"run": "unknown"}) from error

    def keep(self, stop: threading.Event) -> None:
        """Renews the lease until it is lost or told to stop."""
        while not stop.wait(_RENEWAL_SECONDS):
            try:
                self._write(self._generation)
            except PreconditionFailed:
                held, generation = self._read()
                if held is None or held["token"] != self._content["token"]:
                    self._lost = True
                    return
                self._generation = generation  # the answer to our last renewal got lost
            except (GoogleAPIError, OSError) as error:  # tried again, until the lease has run out
                _log.warning("Trainer: could not renew the lease on %s: %s", self._folder, error)

    def check(self) -> None:
        if self._lost or time.monotonic() - self._renewed > _LEASE_SECONDS:
            raise UserError(
                f"Lost the lease on {self._folder}: it could not be renewed for "
                f"{_LEASE_SECONDS:g} s, and another run may train there by now. Submit again to "
                "resume from the last checkpoint."
            )

    def give_back(self) -> None:
        # Lost, or taken by another: then it is not ours to delete.
        with contextlib.suppress(NotFound, PreconditionFailed):
            self._blob.delete(if_generation_match=self._generation, retry=DEFAULT_RETRY)

    def _taken(self, held: dict[str, str]) -> UserError:
        return UserError(
            f"Run {held['run']} is training in {self._folder}, with the same data and settings. "
            f"Wait for it, or end it: vertex_runner.py cancel {held['run']}. Then submit again, to "
            "resume from its last checkpoint."
        )

    def _read(self) -> tuple[dict[str, str] | None, int]:
        """Content and generation of the object; None and 0 if there is none."""
        try:
            self._blob.reload(retry=DEFAULT_RETRY)
            generation = self._blob.generation
            text = self._blob.download_as_bytes(if_generation_match=generation)
        except NotFound:
            return None, _ABSENT
        except PreconditionFailed:
            return self._read()  # renewed between the two requests
        return json.loads(text), generation

    def _write(self, generation: int) -> None:
        started = time.monotonic()
        self._blob.upload_from_string(
            json.dumps(self._content),
            "application/json",
            if_generation_match=generation,
            retry=DEFAULT_RETRY,
        )
        self._generation, self._renewed = self._blob.generation, started
