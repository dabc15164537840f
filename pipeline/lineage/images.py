"""The images in Examples artifacts, as recorded in the store.

Where nothing is recorded (a run was stopped, or has not ended yet; Vertex; earlier versions), from
the report files that the ExampleGens leave beside the examples.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.lineage import places
from pipeline.metadata.image_lists import (
    LISTS,
    Record,
    RecordedImages,
    data_fingerprint,
    folded,
)
from pipeline.metadata.records import Artifact

# Whole, or at least eight of its first digits.
_SHA256 = re.compile(r"[0-9a-f]{8,64}")


@dataclasses.dataclass(frozen=True)
class Sighting:
    """An image in an Examples artifact.

    Attributes:
      examples: the artifact.
      split: "train", "eval", "test", or "set_aside" if it was skipped, so that no model saw it.
      image: its line in the report file.
    """

    examples: Artifact
    split: str
    image: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"examples": self.examples.id, "split": self.split, "image": self.image}


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Examples of which nobody can tell whether an image is among them.

    Attributes:
      examples: the artifact.
      reason: what has become of its list, such as "is gone".
    """

    examples: Artifact
    reason: str


def images_of(examples: Artifact) -> dict[str, dict[str, Any]] | None:
    """Images by id, from the report file; None if it is gone or damaged."""
    try:
        text = _read(examples, IMAGES_FILE)
        return None if text is None else {image["id"]: image for image in _ListFile(text)}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def recorded_images(record: Record, examples: Artifact) -> dict[str, dict[str, Any]] | None:
    """Images by id, as recorded, or else from the report file; None if it is gone or changed."""
    listed, unknown = _list_of(record, examples)
    return None if unknown else {image["id"]: image for image in listed}


def find_image(
    record: Record, artifacts: Iterable[Artifact], wanted: str
) -> tuple[list[Sighting], list[Unknown]]:
    """Finds an image, under all of its names.

    Args:
      record: see `Backend.record`.
      artifacts: raw Examples.
      wanted: image id, file name with or without its folders, also of a file that is gone by now,
        or the hex sha256 or at least eight of its first digits.

    Returns:
      The sightings, and the artifacts whose lists are gone or changed.
    """
    artifacts = list(artifacts)
    lists, unknown = [], []
    for examples in artifacts:
        listed, doubt = _list_of(record, examples)
        lists.append((examples, listed))
        unknown += [doubt] if doubt else []

    def with_content(digest: str) -> list[Sighting]:
        return [
            Sighting(examples, image["split"], image)
            for examples, listed in lists
            for image in listed.with_content(digest)
        ]

    digest = wanted.lower()
    if _SHA256.fullmatch(digest):
        sightings = with_content(digest)
        if sightings:
            return sightings, unknown
    named = [image for _, listed in lists for image in listed.named(wanted)]
    aside = [(examples, image) for examples in artifacts for image in _set_aside(examples, wanted)]
    # Only where no name is the very same do upper and lower case not matter.
    for form in (_with_lower_extension, folded):
        contents = {image["sha256"] for image in named if _is(image, wanted, form)}
        sightings = [
            Sighting(examples, "set_aside", image)
            for examples, image in aside
            if _is(image, wanted, form) or _has_stem(image["file"], wanted, form)
        ]
        if contents or sightings:
            break
    for content in sorted(contents):
        sightings += with_content(content)
    return sightings, unknown


def _list_of(record: Record, examples: Artifact) -> "tuple[RecordedImages | _ListFile, Unknown]":
    """The images of Examples, and why they may be others; None if they are not."""
    recorded = record(LISTS, examples.id)
    if recorded:
        return RecordedImages(recorded, record), None
    try:
        text = _read(examples, IMAGES_FILE)
        if text is None:
            return _ListFile(""), Unknown(examples, "is gone")
        listed = _ListFile(text)
        if not _is_as_written(record, examples, text, listed):
            return listed, Unknown(examples, "has changed since it was written")
    except OSError as error:
        return _ListFile(""), Unknown(examples, f"cannot be read ({error.strerror})")
    except (ValueError, LookupError, TypeError, AttributeError):  # no UTF-8, no JSON, other JSON
        return _ListFile(""), Unknown(examples, "is damaged")
    return listed, None


def _is_as_written(
    record: Record, examples: Artifact, text: str, listed: Iterable[dict[str, Any]]
) -> bool:
    files = record("files", examples.id) or {}
    recorded = files.get(IMAGES_FILE, {}).get("sha256")
    # The fingerprint takes longer, and is all there is of a run that was stopped.
    return hashlib.sha256(text.encode()).hexdigest() == recorded or (
        data_fingerprint(listed) == examples.properties["data_fingerprint"]
    )


class _ListFile:
    """The images of one data set, from its report file; see `RecordedImages`."""

    def __init__(self, text: str):
        self._text = text

    def with_content(self, digest: str) -> list[dict[str, Any]]:
        return [image for image in self._with(digest) if image["sha256"].startswith(digest)]

    def named(self, name: str) -> list[dict[str, Any]]:
        stem = PurePosixPath(name).stem
        # Other letters are escaped in the file.
        return self._with(stem) if stem.isascii() else list(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._text.splitlines())

    def _with(self, text: str) -> list[dict[str, Any]]:
        """Parses only the lines with a text, in whatever case."""
        escaped = json.dumps(text)[1:-1].lower()
        if escaped not in self._text.lower():
            return []
        return [json.loads(line) for line in self._text.splitlines() if escaped in line.lower()]


def _set_aside(examples: Artifact, wanted: str) -> list[dict[str, Any]]:
    """Images that were skipped, and may be the one that is wanted."""
    try:
        found = _ListFile(_read(examples, SKIPPED_FILE) or "").named(wanted)
        return [i for i in found if isinstance(i["id"], str) and isinstance(i["file"], str)]
    except (OSError, ValueError, LookupError, TypeError):  # no model saw it, whatever it says
        return []


def _has_stem(file: str, wanted: str, form: Callable[[str], str]) -> bool:
    """A skipped image may be listed by the name of its annotation."""
    return form(PurePosixPath(file).stem) == form(PurePosixPath(wanted).stem)


def _is(image: dict[str, Any], wanted: str, form: Callable[[str], str]) -> bool:
    wanted, key, file = map(form, (wanted, image["id"], image["file"]))
    if wanted in (key, file):
        return True
    return file.endswith(f"/{wanted}") or wanted.endswith(f"/{file}")


def _with_lower_extension(path: str) -> str:
    """Extensions are equal in either case: cameras and data sets disagree about .JPG."""
    root, extension = os.path.splitext(path)
    return root + extension.lower()


def _read(examples: Artifact, name: str) -> str | None:
    """A report file; None if it is gone."""
    try:
        return places.read(f"{examples.uri.rstrip('/')}/{name}").decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
