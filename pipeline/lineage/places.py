"""Files of artifacts and pushed versions: on this machine, or in Cloud Storage.

Google's client takes a second to load, so it is loaded when the first gs:// path is met.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.errors import one_line
from pipeline.files import LATEST
from pipeline.metadata.records import local_path

if TYPE_CHECKING:
    from google.cloud import storage

_SCHEME = "gs://"
_SECONDS = 10  # how long a request is repeated


class CannotTellError(OSError):
    """Nobody can tell what is at a place: no credentials, no permission, or no connection."""

    def __init__(self, uri: str, reason: str):
        super().__init__(errno.EACCES, reason, uri)


def read(uri: str) -> bytes:
    """The content of a file.

    Raises:
      FileNotFoundError: there is no such file.
      CannotTellError: nobody can tell.
      OSError: it cannot be read.
    """
    path = local_path(uri)
    if path is None:
        with _bucket_of(uri) as (bucket, name):
            return bucket.blob(name).download_as_bytes(**_patience())
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
        raise OSError(errno.EINVAL, "not a file", path)
    return Path(path).read_bytes()


def exists(uri: str) -> bool:
    """Whether there is a file or a folder; raises as `read`."""
    path = local_path(uri)
    return os.path.exists(path) if path is not None else bool(_names(uri))


def hash_files(uri: str) -> dict[str, dict[str, Any]]:
    """`pipeline.files.hash_files`, also of a folder in a bucket; raises as `read`."""
    path = local_path(uri)
    if path is not None:
        return files.hash_files(path)
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name in _names(uri)
        for content in [read(uri if name == "." else f"{uri.rstrip('/')}/{name}")]
    }


def state_of_version(uri: str) -> tuple[bool | None, bool | None]:
    """Whether a version in a bucket is there, and whether it is the latest; None: cannot tell."""
    folder, _, version = uri.rstrip("/").rpartition("/")
    found = _versions(folder)
    if found is None:
        return None, None
    versions, latest = found
    return version in versions, version in versions and version == latest


@functools.cache
def _versions(folder: str) -> tuple[set[str], str | None] | None:
    """The versions in a folder, and which one is the latest; None if nobody can tell."""
    versions: set[str] = set()
    try:
        with _bucket_of(f"{folder}/") as (bucket, prefix):
            listing = bucket.list_blobs(prefix=prefix, delimiter="/", **_patience())
            for _ in listing:
                pass  # prefixes is complete once all pages are read
            versions = {path.rstrip("/").rpartition("/")[2] for path in listing.prefixes}
        return versions, json.loads(read(f"{folder}/{LATEST}"))["version"]
    except FileNotFoundError:  # of the bucket, or of `latest`
        return versions, None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _names(uri: str) -> list[str]:
    """Names of the objects below a folder, relative to it; of an object, "."."""
    with _bucket_of(uri.rstrip("/")) as (bucket, name):
        found = [blob.name for blob in bucket.list_blobs(prefix=name, **_patience())]
    below = [path.removeprefix(f"{name}/") for path in found if path.startswith(f"{name}/")]
    return ["."] if name in found else [path for path in below if path and path[-1] != "/"]


@contextlib.contextmanager
def _bucket_of(uri: str) -> Iterator[tuple["storage.Bucket", str]]:
    """The bucket and the name in it; turns its errors into those of `read`."""
    if not uri.startswith(_SCHEME):
        raise CannotTellError(uri, "only local files and gs:// can be read")
    client, problem = _client()
    if client is None:
        raise CannotTellError(uri, problem)
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError

    bucket, _, name = uri.removeprefix(_SCHEME).partition("/")
    try:
        yield client.bucket(bucket), name
    except NotFound:
        raise FileNotFoundError(errno.ENOENT, "not in the bucket", uri) from None
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise CannotTellError(uri, one_line(error)) from error


@functools.cache
def _client() -> tuple["storage.Client | None", str]:
    """Google's client; None, and why, without credentials: to look for them takes seconds."""
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    try:
        return storage.Client(project=None), ""
    except (GoogleAuthError, OSError):
        return None, "no credentials for Google Cloud: gcloud auth application-default login"


def _patience() -> dict[str, Any]:
    """Of a request: nobody waits minutes to be told that nobody can tell."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(_SECONDS), "timeout": _SECONDS}
