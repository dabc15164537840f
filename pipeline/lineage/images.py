"""The pictures of Examples artifacts, from the report files that the ExampleGens leave in them."""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.lineage.records import Artifact, local_path


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A picture in an Examples artifact.

    Attributes:
      examples: the artifact.
      split: "train", "eval", or "set_aside" when no model could see it.
      image: its line in the report file.
    """

    examples: Artifact
    split: str
    image: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"examples": self.examples.id, "split": self.split, "image": self.image}


def images_of(examples: Artifact) -> dict[str, dict[str, Any]] | None:
    """Pictures by image id; None when the report file is not there any more."""
    text = _read(examples, IMAGES_FILE)
    if text is None:
        return None
    return {image["id"]: image for image in map(json.loads, text.splitlines())}


def find_image(artifacts: Iterable[Artifact], wanted: str) -> tuple[list[Sighting], list[Artifact]]:
    """Where a picture is.

    Args:
      artifacts: raw Examples.
      wanted: image id, file name with or without its folders, or hex sha256.

    Returns:
      The sightings, and the artifacts whose report files are gone: nobody can tell about these.
    """
    sightings, gone = [], []
    # A line is only parsed when it holds the text; folders are compared after parsing.
    # What was set aside is known by its annotation's name, which has another ending.
    needle = json.dumps(PurePosixPath(wanted).stem)[1:-1]
    for examples in artifacts:
        for name in (IMAGES_FILE, SKIPPED_FILE):
            text = _read(examples, name)
            if text is None:
                if name == IMAGES_FILE:
                    gone.append(examples)
                continue
            if needle not in text:
                continue
            for line in text.splitlines():
                if needle in line and _is(image := json.loads(line), wanted, name):
                    split = image.get("split", "set_aside")
                    sightings.append(Sighting(examples, split, image))
    return sightings, gone


def _is(image: dict[str, Any], wanted: str, report: str) -> bool:
    file = image["file"]
    if report == SKIPPED_FILE and PurePosixPath(wanted).stem == PurePosixPath(file).stem:
        return True
    return wanted in (image["id"], image.get("sha256"), file) or file.endswith(f"/{wanted}")


def _read(examples: Artifact, name: str) -> str | None:
    folder = local_path(examples.uri)
    if folder is None:
        return None
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
