"""What a .tflite says of itself: a copy of it may be far from the store that knows its making."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from models.tflite_metadata import read_metadata
from pipeline.errors import UserError
from pipeline.files import LABELS_FILE, PROVENANCE_FILE, PUSHED_MODEL_FILE

_SUFFIX = ".tflite"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """The metadata of a file.

    Attributes:
      path: of the file.
      sha256: of the file.
      name: of the model; None if it has none.
      description: likewise.
      version: likewise.
      classes: names by index.
      provenance: what made the file, see `pipeline.shipping.rewriter`; None if it does not say.
    """

    path: str
    sha256: str
    name: str | None
    description: str | None
    version: str | None
    classes: list[str]
    provenance: Any

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def read_embedded(given: str) -> Embedded | None:
    """The metadata of a .tflite file, or of the one in a pushed folder; None if it has none.

    Args:
      given: X; anything but such a file has none.

    Raises:
      UserError: the file is damaged, or not what its name says.
    """
    path = Path(given)
    path = path / PUSHED_MODEL_FILE if path.is_dir() else path
    if path.suffix != _SUFFIX or not path.is_file():
        return None
    try:
        content = path.read_bytes()
        found = read_metadata(content, str(path))
        if found is None:
            return None
        provenance = found.files.get(PROVENANCE_FILE)
        classes = found.files.get(LABELS_FILE, b"").decode("utf-8", "replace").splitlines()
        try:
            told = None if provenance is None else json.loads(provenance)
        except ValueError as error:
            raise ValueError(
                f"Expected JSON in {PROVENANCE_FILE} of {path}. Received: {error}."
            ) from error
        return Embedded(
            path=str(path),
            sha256=hashlib.sha256(content).hexdigest(),
            **{name: found.model.get(name) for name in ("name", "description", "version")},
            classes=classes,
            provenance=told,
        )
    except OSError as error:
        raise UserError(
            f"Expected a readable file. Received: {path} ({error.strerror})."
        ) from error
    except ValueError as error:
        raise UserError(f"{error}") from error
