"""Downloads the Oxford-IIIT Pet data set, and says how to train on it.

    .venv/bin/python -m pipeline.data.oxford_pets FOLDER

7,390 photographs of 37 breeds (Parkhi et al., "Cats and Dogs", CVPR 2012), of which 3,686 have a
box around the head; CC BY-SA 4.0. The class of a picture is in its file name. An interrupted
download continues where it ended.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pipeline.data import archives
from pipeline.errors import UserError
from pipeline.files import sha256_of

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
# Of a connection that is cut, urllib3 2 drops the chunk that is not complete.
_CHUNK = 1 << 12
_TIMEOUT = 60.0  # seconds without a byte
# A connection that breaks is opened again, unless this often in a row not a byte came.
_ATTEMPTS, _PAUSE = 5, 2.0
_MAX_GIGABYTES = 5.0


class Archive(NamedTuple):
    """An archive of the data set, with one folder of its name in it."""

    name: str
    size: int
    sha256: str


# As in TensorFlow Datasets; torchvision's MD5s are of the same files.
ARCHIVES = (
    Archive(
        "images", 791_918_971, "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d"
    ),
    Archive(
        "annotations",
        19_173_078,
        "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
    ),
)


def fetch(folder: Path, url: str = URL) -> None:
    """Downloads, checks and unpacks what the folder does not have yet.

    Args:
      folder: made if it does not exist; gets `images/` and `annotations/`.
      url: where the archives are.

    Raises:
      UserError: the server has no such file, the file is not the published one, the connection
        breaks again and again, or there is no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive in ARCHIVES:
            if (folder / archive.name).exists():
                print(f"{folder / archive.name} is there")
                continue
            file = folder / f"{archive.name}.tar.gz"
            if not file.exists():
                _download(f"{url}/{file.name}", file, archive)
            _unpack(file, folder / archive.name)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}. Free or choose another place, "
            "and run the command again: it continues."
        ) from error


def _unpack(file: Path, folder: Path) -> None:
    scratch = folder.with_name(f".{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"unpacking {file} ...")
    archives.unpack(file, scratch, _MAX_GIGABYTES)
    os.rename(scratch / folder.name, folder)
    shutil.rmtree(scratch)
    file.unlink()


def _download(url: str, file: Path, archive: Archive) -> None:
    """Downloads a file, which appears under its name when it is whole and the right one."""
    partial = file.with_name(f"{file.name}.partial")
    columns = (TextColumn(file.name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    failures = 0
    with Progress(*columns) as progress, requests.Session() as session:
        task = progress.add_task("", total=archive.size)
        while (had := _size(partial)) < archive.size:
            progress.update(task, completed=had)
            problem = "the connection ended early"
            try:
                for count in _continue(session, url, partial, had):
                    progress.update(task, completed=count)
            except requests.RequestException as error:
                problem = str(error)
            failures = failures + 1 if _size(partial) <= had else 0
            if failures >= _ATTEMPTS:
                raise UserError(
                    f"{url} could not be downloaded: {problem}. Run the command again later: it "
                    f"continues after {_size(partial) / 1e6:.1f} of {archive.size / 1e6:.1f} MB."
                )
            if failures:
                time.sleep(_PAUSE)
    received = sha256_of(partial)
    if received != archive.sha256:
        partial.unlink()
        raise UserError(
            f"Expected the published {file.name} with the sha256 {archive.sha256}. Received: "
            f"another file from {url}, with {received}. It was removed; run the command again, and "
            "if this repeats, the file at the source has changed."
        )
    os.rename(partial, file)


def _continue(session: requests.Session, url: str, partial: Path, had: int):
    """Appends what is missing to a file; yields its size now and then."""
    headers = {"Range": f"bytes={had}-"} if had else {}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.too_many_requests or response.status_code >= 500:
            response.raise_for_status()  # it may pass
        if not response.ok:
            raise UserError(
                f"Expected a file at {url}. Received: {response.status_code} {response.reason}."
            )
        # A server may ignore the range, and send the whole file.
        begun = response.status_code == requests.codes.partial_content
        if begun and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
            raise UserError(f"Expected {url} from byte {had} on. Received: another part of it.")
        with open(partial, "ab" if begun else "wb") as out:
            for chunk in response.iter_content(_CHUNK):
                out.write(chunk)
                yield out.tell()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def train_command(folder: Path) -> str:
    """The command that trains on the data set."""
    return (
        f".venv/bin/python local_runner.py --data {shlex.quote(str(folder))} "
        "--class-from filename --schema schema/oxford_iiit_pets --set evaluation.min_map50=0.5"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.data.oxford_pets",
        description="Downloads the Oxford-IIIT Pet data set (811 MB), continues if it was "
        "interrupted, checks its hashes, unpacks it, and prints the command that trains on it.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--url", default=URL, help=f"where the archives are; default: {URL}")
    options = parser.parse_args(arguments)
    try:
        fetch(options.folder, options.url.rstrip("/"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        return 130
    print(
        f"\nTrain on it with\n\n    {train_command(options.folder)}\n\nand, to start from a "
        "detector that was trained on COCO, --warm-start with its detect.tflite or checkpoint."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
