"""The images of data sets in ML Metadata: found by content or name, whatever becomes of a file.

The list beside the examples can be edited, damaged or deleted; what is recorded here cannot, short
of the store. An image is in one of 256 chunks by its sha256, and its name in another. Data sets
that share most of their images share most of the chunks, so a question about one image reads little
even in a store of many data sets. Records, see `pipeline.metadata.facts`:

    images/<Examples id>           {"chunks": the names of its chunks, one after the other}
    image_chunk/<name>             {"images": [lines of images.jsonl], "names": {stem: [sha256]}}

A stem with upper-case letters, or others that can be written in several ways, is there in its
`folded` form, too.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.fingerprint import fingerprint_of

LISTS, CHUNKS = "images", "image_chunk"
_NUM_CHUNKS = 256
# Digits of a chunk's name: chunks of equal names, but other contents, will not happen.
_DIGITS = 16

Record = Callable[[str, str], Any]
"""The record of a kind and a name; None if there is none."""


def chunks_of(images: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, Any]]:
    """What to record of a data set.

    Args:
      images: the lines of its images.jsonl.

    Returns:
      The record of kind `LISTS`, and those of kind `CHUNKS` by name.
    """
    chunks = [{"images": [], "names": {}} for _ in range(_NUM_CHUNKS)]
    for image in sorted(images, key=lambda image: (image["sha256"], image["id"])):
        digest = image["sha256"]
        chunks[_chunk_of(digest)]["images"].append(dict(image))
        for stem in {*_stems(image["id"]), *_stems(image["file"])}:
            contents = chunks[_chunk_of_name(stem)]["names"].setdefault(stem, [])
            if digest not in contents:
                contents.append(digest)
    names = [fingerprint_of(chunk)[:_DIGITS] for chunk in chunks]
    return {"chunks": "".join(names)}, dict(zip(names, chunks, strict=True))


class RecordedImages:
    """The images of one data set.

    Args:
      recorded: its record of kind `LISTS`.
      record: reads a chunk.
    """

    def __init__(self, recorded: Mapping[str, str], record: Record):
        self._names, self._record = recorded["chunks"], record

    def with_content(self, digest: str) -> list[dict[str, Any]]:
        """Images by the hex sha256, or at least its first two digits, in lower case."""
        images = self._chunk(_chunk_of(digest))["images"]
        return [image for image in images if image["sha256"].startswith(digest)]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Images of which the id or the file may have this name: it is the same but for folders,
        extension, and what `folded` makes equal."""
        contents = {
            digest: None
            for stem in _stems(name)
            for digest in self._chunk(_chunk_of_name(stem))["names"].get(stem, ())
        }
        return [image for digest in contents for image in self.with_content(digest)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(_NUM_CHUNKS):
            yield from self._chunk(number)["images"]

    def _chunk(self, number: int) -> dict[str, Any]:
        return self._record(CHUNKS, self._names[number * _DIGITS : (number + 1) * _DIGITS])


def _chunk_of(digest: str) -> int:
    return int(digest[:2], 16)


def folded(name: str) -> str:
    """The name in lower case, and with accents as they are usually encoded: systems differ."""
    return unicodedata.normalize("NFC", name.casefold())


def _stems(name: str) -> set[str]:
    stem = PurePosixPath(name).stem
    return {stem, folded(stem)}


def _chunk_of_name(stem: str) -> int:
    return hashlib.sha256(stem.encode("utf-8", "surrogatepass")).digest()[0]


def data_fingerprint(images: Iterable[Mapping[str, Any]]) -> str:
    """What the Examples artifact has as `data_fingerprint`, see `pipeline.data.census`."""
    prints = sorted(
        f"{image['split']}\t{image['id']}\t{image['sha256']}\t{image['annotation_sha256']}\n"
        for image in images
    )
    return hashlib.sha256("".join(prints).encode("utf-8", "surrogateescape")).hexdigest()
