"""Records on their way from the workers that read them to the files in which they stay.

Workers append records to files of their own, in any order, and tell the place of each. Whoever
knows all places decides which records go where; they are then copied as they are. So no record
passes through Beam, whose local runner would hold all of them in memory, and the files do not
depend on how the work was shared.
"""

import contextlib
import os
import threading
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.data.input_patterns import is_remote

# TFRecord's framing: 12 bytes before a record, 4 behind it.
_FRAME_BYTES = 16
# Of a file of records: large enough to be read in one go, small enough to share the work.
_SHARD_BYTES = 64_000_000
# Records that are read at a time, and, from an object store, by so many threads, which wait.
_PART, _THREADS = 8, 16


class Place(NamedTuple):
    """Where a record was written.

    Attributes:
      path: of the file.
      offset: of the record with its frame, in bytes.
      length: likewise.
    """

    path: str
    offset: int
    length: int


class Shard(NamedTuple):
    """A TFRecord file to write: its path, and its records in their order."""

    path: str
    places: Sequence[Place]


class StagingFile:
    """A TFRecord file that several threads may append to.

    Args:
      folder: gets the file, under a name of its own.
    """

    def __init__(self, folder: str):
        fileio.makedirs(folder)
        self._path = os.path.join(folder, uuid.uuid4().hex)
        self._writer = tf.io.TFRecordWriter(self._path)
        self._offset = 0
        self._lock = threading.Lock()

    def append(self, record: bytes) -> Place:
        """Writes a record; returns its place."""
        with self._lock:
            place = Place(self._path, self._offset, len(record) + _FRAME_BYTES)
            self._writer.write(record)
            self._offset += place.length
        return place

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def plan_shards(folder: str, prefix: str, places: Iterable[Place]) -> list[Shard]:
    """Deals records, in their order, to files of about 64 MB: the same records, the same files."""
    parts: list[list[Place]] = [[]]
    size = 0
    for place in places:
        if size >= _SHARD_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(place)
        size += place.length
    return [
        Shard(os.path.join(folder, shard_name(prefix, number, len(parts))), part)
        for number, part in enumerate(parts)
    ]


def shard_name(prefix: str, number: int, count: int) -> str:
    """The name that Beam would give to a file of several."""
    return f"{prefix}-{number:05d}-of-{count:05d}"


def write_shard(shard: Shard) -> None:
    """Copies the records of a shard to its file; once more makes no difference."""
    fileio.makedirs(os.path.dirname(shard.path))
    starts = range(0, len(shard.places), _PART)
    parts = (shard.places[start : start + _PART] for start in starts)
    with contextlib.ExitStack() as stack:
        file, read = stack.enter_context(_open(shard.path, "wb")), map
        if is_remote(shard.path):
            read = stack.enter_context(ThreadPoolExecutor(_THREADS)).map
        for frames in read(_read, parts):
            file.write(frames)


def _read(places: Sequence[Place]) -> bytes:
    with contextlib.ExitStack() as stack:
        files, frames = {}, []
        for place in places:
            if place.path not in files:
                files[place.path] = stack.enter_context(_open(place.path, "rb"))
            files[place.path].seek(place.offset)
            frames.append(files[place.path].read(place.length))
        return b"".join(frames)


def _open(path: str, mode: str):
    # Python's own files are copied in half the time.
    return fileio.open(path, mode) if is_remote(path) else open(path, mode)
