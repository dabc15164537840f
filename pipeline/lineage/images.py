"""The images in Examples artifacts, from the report files that the ExampleGens leave there."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.lineage import places
from pipeline.metadata.records import Artifact

# Whole, or at least eight of its first digits.
_SHA256 = re.compile(r"[0-9a-f]{8,64}")


@dataclasses.dataclass(frozen=True)
class Sighting:
    """An image in an Examples artifact.

    Attributes:
      examples: the artifact.
      split: "train", "eval", or "set_aside" if it was skipped, so that no model saw it.
      image: its line in the report file.
    """

    examples: Artifact
    split: str
    image: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"examples": self.examples.id, "split": self.split, "image": self.image}


def images_of(examples: Artifact) -> dict[str, dict[str, Any]] | None:
    """Images by id; None if the report file is gone."""
    text = _read(examples, IMAGES_FILE)
    if text is None:
        return None
    return {image["id"]: image for image in map(json.loads, text.splitlines())}


def find_image(artifacts: Iterable[Artifact], wanted: str) -> tuple[list[Sighting], list[Artifact]]:
    """Finds an image, under all of its names.

    Args:
      artifacts: raw Examples.
      wanted: image id, file name with or without its folders, also of a file that is gone by now,
        or the hex sha256 or at least eight of its first digits.

    Returns:
      The sightings, and the artifacts whose report files are gone: nobody can tell about these.
    """
    artifacts = list(artifacts)
    digest = wanted.lower()
    if _SHA256.fullmatch(digest):
        sightings, gone = _search(
            artifacts, [digest], lambda image, _: image.get("sha256", "").startswith(digest)
        )
        if sightings:
            return sightings, gone
    # A skipped image may be listed by the name of its annotation, which has another extension.
    sightings, gone = _search(
        artifacts, [PurePosixPath(wanted).stem], lambda image, report: _is(image, wanted, report)
    )
    hashes = {sighting.image.get("sha256") for sighting in sightings} - {None}
    if hashes:
        named = [sighting for sighting in sightings if "sha256" not in sighting.image]
        same, _ = _search(artifacts, hashes, lambda image, _: image.get("sha256") in hashes)
        sightings = named + same
    return sightings, gone


def _search(
    artifacts: Iterable[Artifact],
    needles: Iterable[str],
    is_wanted: Callable[[dict[str, Any], str], bool],
) -> tuple[list[Sighting], list[Artifact]]:
    """Parses only the lines with one of the needles."""
    escaped = [json.dumps(needle)[1:-1] for needle in needles]
    sightings, gone = [], []
    for examples in artifacts:
        for name in (IMAGES_FILE, SKIPPED_FILE):
            text = _read(examples, name)
            if text is None:
                if name == IMAGES_FILE:
                    gone.append(examples)
                continue
            found = [needle for needle in escaped if needle in text]
            for line in text.splitlines() if found else ():
                if any(needle in line for needle in found):
                    image = json.loads(line)
                    if is_wanted(image, name):
                        split = image.get("split", "set_aside")
                        sightings.append(Sighting(examples, split, image))
    return sightings, gone


def _is(image: dict[str, Any], wanted: str, report: str) -> bool:
    file = image["file"]
    if report == SKIPPED_FILE and PurePosixPath(wanted).stem == PurePosixPath(file).stem:
        return True
    # Extensions in either case: cameras and data sets disagree about .JPG.
    wanted, file = _with_lower_extension(wanted), _with_lower_extension(file)
    if wanted in (image["id"], file):
        return True
    return file.endswith(f"/{wanted}") or wanted.endswith(f"/{file}")


def _with_lower_extension(path: str) -> str:
    root, extension = os.path.splitext(path)
    return root + extension.lower()


def _read(examples: Artifact, name: str) -> str | None:
    """A report file; None if it is gone, or nobody can read it."""
    try:
        return places.read(f"{examples.uri.rstrip('/')}/{name}").decode()
    except OSError:
        return None
