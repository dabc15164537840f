"""What is judged and shipped as one: the .tflite, its labels and its raw forms, under one hash.

The TFLiteRewriter, both judges and the Pusher each record the hash of what they saw. A label file
that somebody edits in between would otherwise ship with the figures of another.
"""

import os
from collections.abc import Mapping

from tfx import types
from tfx.dsl.io import fileio

from pipeline.errors import UserError
from pipeline.files import (
    FORMS,
    HASH_PROPERTY,
    JUDGED_FILES,
    PUSHED_MODEL_FILE,
    SHIPPING_MODEL_FILE,
    hash_together,
    serving_path,
)


def read_judged_files(model: types.Artifact) -> dict[str, bytes]:
    """The contents of a shipping model's files, by the names under which they are published.

    Not every model has each raw form. One that was deleted changes the hash.
    """
    paths = {name: serving_path(model.uri, name) for name in JUDGED_FILES}
    paths[PUSHED_MODEL_FILE] = serving_path(model.uri, SHIPPING_MODEL_FILE)
    there = {n: path for n, path in paths.items() if n not in FORMS or fileio.exists(path)}
    return {name: _read(path) for name, path in there.items()}


def _read(path: str | os.PathLike) -> bytes:
    with fileio.open(path, "rb") as file:
        return file.read()


def require_same(
    files: Mapping[str, bytes], recorded: types.Artifact, recorder: str, place: str
) -> str:
    """Checks that files are those that a component saw.

    Args:
      files: from `read_judged_files`.
      recorded: the artifact with the component's hash.
      recorder: the component, for the message.
      place: where the files are, for the message.

    Returns:
      Their hash.

    Raises:
      UserError: when they are others, or no hash is recorded.
    """
    expected = recorded.get_string_custom_property(HASH_PROPERTY)
    received = hash_together(files)
    if received != expected:
        raise UserError(
            f"Expected the {' and '.join(files)} that the {recorder} saw, with the hash "
            f"{expected or 'that it should have recorded'}. Received: {received} in {place}: they "
            "were changed since, and nothing is pushed. Put the originals back, or delete the "
            "folder, and run again."
        )
    return received
