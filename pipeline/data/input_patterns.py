"""Where the inputs are, as TFX's driver takes it: a base folder, and glob patterns below it.

The driver fingerprints the files that match, so that a change of the data is a change of the cache
key. Paths in object stores are never looked up here: that would need the network, and credentials.
"""

import itertools
import os
from collections.abc import Iterable, Mapping

from tfx.proto import example_gen_pb2

from pipeline.data.split import EVAL, TEST, TRAIN
from pipeline.errors import UserError

# Globs, and {SPAN}.
_PATTERN_CHARACTERS = "*?[{"


def is_remote(path: str) -> bool:
    """Whether the path is in an object store."""
    return "://" in path


def is_special(path: str) -> bool:
    """Whether the path is a pipe, a socket or a device, which might keep a reader waiting."""
    return (
        not is_remote(path)
        and os.path.exists(path)
        and not (os.path.isfile(path) or os.path.isdir(path))
    )


def is_pattern(path: str) -> bool:
    """Whether the driver would expand the path."""
    return any(character in path for character in _PATTERN_CHARACTERS)


def absolute(path: str) -> str:
    """Makes a local path absolute; a URL only loses a trailing slash."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def paths_by_side(
    data: str | None, train_data: str | None, eval_data: str | None, test_data: str | None = None
) -> dict[str, str]:
    """Returns the absolute paths of the inputs by side; the side "" stands for all.

    Raises:
      UserError: when the arguments contradict each other.
    """
    own = bool(train_data or eval_data or test_data)
    if bool(data) == own or bool(train_data) != bool(eval_data) or (own and not train_data):
        raise UserError(
            "Expected either data, or both train_data and eval_data, and then perhaps test_data. "
            f"Received: data={data}, train_data={train_data}, eval_data={eval_data}, "
            f"test_data={test_data}."
        )
    if data:
        return {"": absolute(data)}
    given = {TRAIN: train_data, EVAL: eval_data, TEST: test_data}
    paths = {side: absolute(path) for side, path in given.items() if path}
    if len(set(paths.values())) < len(paths):
        raise UserError(
            "Expected different data for training, for evaluation and for the test. Received: "
            f"{', '.join(map(str, given.values()))}."
        )
    for inner, outer in itertools.permutations(paths.values(), 2):
        if inner.startswith(f"{outer}/"):
            raise UserError(
                "Expected the data of each side in a folder of its own. Received: "
                f"{inner}, which is inside of {outer}. A split into folders such as train and val "
                "needs no flags but --data."
            )
    return paths


def common_base(folders: Iterable[str]) -> str:
    """Returns the deepest folder that contains all of them and is not a pattern."""
    shared = []
    for parts in zip(*(folder.split("/") for folder in folders), strict=False):
        if len(set(parts)) > 1 or is_pattern(parts[0]):
            break
        shared.append(parts[0])
    base = "/".join(shared) or "/"
    # Two buckets share `gs:/`, and joining a path to that would lose a slash.
    return f"{base}/" if base.endswith(":/") else base


def below(base: str, path: str) -> str:
    """Returns the path relative to the base."""
    return path[len(base) :].lstrip("/")


def remote_lists(lists: Mapping[str, str | None]) -> dict[str, str]:
    """Returns those of the split lists, by fingerprint group, that are in an object store."""
    return {group: path for group, path in lists.items() if path and is_remote(path)}


def list_splits(base: str, lists: dict[str, str]) -> list[example_gen_pb2.Input.Split]:
    """Has the driver fingerprint the lists that can only be read at run time."""
    return [
        example_gen_pb2.Input.Split(name=group, pattern=below(base, path))
        for group, path in lists.items()
    ]


def require_plain(path: str) -> None:
    """Rejects a folder that the driver would take for a pattern, and silently find nothing.

    Raises:
      UserError: when the path contains a special character.
    """
    if is_pattern(path):
        raise UserError(
            f"Expected a folder's path without {' '.join(_PATTERN_CHARACTERS)}. Received: {path}. "
            "Rename the folder, or link to it under another name."
        )
