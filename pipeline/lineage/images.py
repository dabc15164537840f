"""The images in Examples artifacts, from the report files that the ExampleGens leave there."""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.metadata.records import Artifact, local_path


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
    """Finds an image.

    Args:
      artifacts: raw Examples.
      wanted: image id, file name with or without its folders, or hex sha256.

    Returns:
      The sightings, and the artifacts whose report files are gone: nobody can tell about these.
    """
    sightings, gone = [], []
    # Only lines that contain the name are parsed. A skipped image may be listed by the name of its
    # annotation, which has another extension.
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
