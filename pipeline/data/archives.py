"""Unpacks archives that other people made: whole or not at all, and never outside of a folder.

What a name, a link or a size inside an archive says is not trusted. Standard library only.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from pipeline.errors import UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_MAX_MEMBERS = 5_000_000
# Labels compress a hundredfold, and small archives hurt nobody, but bombs compress a thousandfold.
_MAX_RATIO, _RATIO_COUNTS_FROM = 200, 100_000_000
# A tar's headers are read whole: real ones have a few kB.
_MAX_HEADER = 1 << 20
_CHUNK = 1 << 20
# What the Finder adds.
_LEFT_OUT = "__MACOSX"
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,  # numbers, names and encodings that are none
    OverflowError,
    NotImplementedError,  # a compression of zip that Python does not have
)


class _Refused(Exception):
    """What is wrong with an archive, for the end of a sentence."""


class _Member(NamedTuple):
    """A file or folder in an archive: its name there, and its content, None for a folder."""

    name: str
    content: IO[bytes] | None


def is_archive(path: str) -> bool:
    """Whether a path is named like an archive that `unpack` reads."""
    return path.lower().endswith(SUFFIXES)


def stem_of(path: str) -> str:
    """The path without the suffix of an archive."""
    suffix = max((s for s in SUFFIXES if path.lower().endswith(s)), key=len, default="")
    return path.removesuffix(path[len(path) - len(suffix) :]) if suffix else path


def unpack(archive: Path, folder: Path, max_gigabytes: float) -> None:
    """Unpacks an archive into a new folder.

    Files get the same time of change, whenever they are unpacked: TFX's cache goes by it.

    Args:
      archive: .zip, or .tar, which gzip, bzip2 or xz may have compressed.
      folder: is made, and appears only when it is complete.
      max_gigabytes: most that all files together may have, unpacked.

    Raises:
      UserError: the archive is damaged, too large, encrypted, or has a member that is neither a
        file nor a folder below its root; or there is no room for it. Nothing is left behind.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    member = ""
    try:
        with open(archive, "rb") as file:
            limit = _Limit(os.fstat(file.fileno()).st_size, max_gigabytes)
            for name, content in _members(file, limit):
                member = name
                _write(partial, name, content, limit)
        os.rename(partial, folder)
    except _Refused as problem:
        raise UserError(f"{archive} was not unpacked: {problem}.") from None
    except _DAMAGED as error:
        where = f" at or behind {member!r}" if member else ""
        raise UserError(
            f"Expected an archive. Received: {archive}, which is damaged{where}: {error}. Copy or "
            "download it again."
        ) from error
    except OSError as error:
        where = f": {member!r}" if member else ""
        raise UserError(
            f"{archive} was not unpacked into {folder.parent}{where}: {error.strerror or error}."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def root_of(folder: Path) -> Path:
    """The folder, or the one that it consists of, however deep."""
    while True:
        entries = [entry for entry in folder.iterdir() if entry.name != ".DS_Store"]
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        [folder] = entries


class _Limit:
    """Counts what comes out of an archive of a size in bytes."""

    def __init__(self, archive_bytes: int, max_gigabytes: float):
        self._archive_bytes = archive_bytes
        self._max_gigabytes = max_gigabytes
        self._bytes = self._members = 0

    def add_member(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise _Refused(f"it has more than {_MAX_MEMBERS} files and folders")

    def add(self, count: int, name: str) -> None:
        self._bytes += count
        if self._bytes > 1e9 * self._max_gigabytes:
            raise _Refused(
                f"with {name!r} it has more than {self._max_gigabytes:g} GB unpacked "
                "(data.max_unpacked_gb)"
            )
        if self._bytes > max(_RATIO_COUNTS_FROM, _MAX_RATIO * self._archive_bytes):
            raise _Refused(
                f"up to {name!r} it unpacks to more than {_MAX_RATIO} times its size, as archives "
                "do that are made to fill disks. If it is not one, unpack it yourself"
            )


def _write(root: Path, name: str, content: IO[bytes] | None, limit: _Limit) -> None:
    limit.add_member()
    parts = _parts(name)
    if not parts or parts[0] == _LEFT_OUT:
        return
    target = root.joinpath(*parts)
    try:
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as out:
            while chunk := content.read(_CHUNK):
                limit.add(len(chunk), name)
                out.write(chunk)
        os.utime(target, (0, 0))
    except (FileExistsError, NotADirectoryError):
        raise _Refused(f"{name!r} is in it twice, or as a file and as a folder") from None


def _parts(name: str) -> list[str]:
    """The folders and the file of a member's name; made on Windows, it may have backslashes."""
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or path[1:2] == ":" or ".." in parts or "\0" in path:
        raise _Refused(f"{name!r} would be outside of the folder")
    return parts


def _members(file: IO[bytes], limit: _Limit) -> Iterator[_Member]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PK"):
        yield from _zip_members(file)
        return
    opener = next(
        (open_ for start, open_ in _COMPRESSIONS.items() if magic.startswith(start)), None
    )
    with contextlib.ExitStack() as stack:
        if opener:
            file = stack.enter_context(opener(file, "rb"))
        yield from _tar_members(_Headers(file), limit)


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused(f"{info.filename!r} is a link or a device")
            if info.flag_bits & 1:
                raise _Refused(f"{info.filename!r} is encrypted")
            if info.is_dir() or info.filename.endswith("\\"):
                yield _Member(info.filename, None)
            else:
                with archive.open(info) as content:
                    yield _Member(info.filename, content)


class _Headers:
    """A file whose pieces are small but for the contents of members, which are read in chunks."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise _Refused("it has a header of more than a megabyte")
        return self._file.read(size)


def _tar_members(file: _Headers, limit: _Limit) -> Iterator[_Member]:
    name = ""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            name = info.name
            if info.isdir():
                yield _Member(name, None)
            elif info.isreg():
                with archive.extractfile(info) as content:
                    yield _Member(name, content)
            else:
                raise _Refused(f"{name!r} is a link or a device")
            archive.members = []  # they would fill the memory
        # Python takes an archive that is cut off between two members, or continues with garbage,
        # for complete.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it has no end")
        while chunk := file.read(_CHUNK):  # up to the compression's own checksum
            limit.add(len(chunk), name)
