"""What describes a YOLO data set: class names, and the side of the split of each picture.

A `data.yaml` of Ultralytics and Roboflow, an `obj.data` of Darknet and CVAT, or, without these,
lists of pictures and files of class names.
"""

import fnmatch
import os
import re
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.data.readers.tree import Tree, is_picture, join
from pipeline.data.split import EVAL, TEST, TRAIN
from pipeline.errors import UserError

NAMES_FILES = (
    *("classes.txt", "obj.names", "classes.names", "class_names.txt", "predefined_classes.txt"),
    *("labels.txt", "_darknet.labels"),
)
_SIDES = {"train": TRAIN, "val": EVAL, "valid": EVAL, "validation": EVAL, "test": TEST}
_YAML = (".yaml", ".yml")
_DARKNET = ".data"


class Description(NamedTuple):
    """What is known about a data set as a whole.

    Attributes:
      names: of the classes by number.
      side_of: the side of each picture; none when nothing says.
      file: that says so; "" for none.
      keypoints: whether keypoints follow the box on each line.
      notes: what a person should know before training.
    """

    names: Mapping[int, str]
    side_of: Mapping[str, str]
    file: str = ""
    keypoints: bool = False
    notes: tuple[str, ...] = ()


class _DataYaml(BaseModel):
    path: str = ""
    names: list[str] | dict[int, str] = {}
    train: str | list[str] = ""
    val: str | list[str] = ""
    valid: str | list[str] = ""
    validation: str | list[str] = ""
    test: str | list[str] = ""
    kpt_shape: Any = None


def description_files(tree: Tree) -> list[str]:
    """Files that describe a data set, the likeliest first."""
    found = [
        path
        for path in tree.sources(*_YAML)
        if re.search(rb"^\s*names\s*:", tree.head(path, 1 << 16), re.MULTILINE)
        and re.search(rb"^\s*(train|val|path|nc)\s*:", tree.head(path, 1 << 16), re.MULTILINE)
    ] + [
        path
        for path in tree.sources(_DARKNET)
        if re.search(rb"^\s*(train|valid|names)\s*=", tree.head(path), re.MULTILINE)
    ]
    return sorted(found, key=lambda path: (path.count("/"), os.path.basename(path) != "data.yaml"))


def sources(tree: Tree) -> list[str]:
    """All files that a description may consist of."""
    named = [path for path in tree.files if os.path.basename(path) in NAMES_FILES]
    lists = [
        path
        for path in tree.files
        if path.endswith(".txt")
        and ("/" not in tree.relative(path) or os.path.basename(path)[:-4] in _SIDES)
    ]
    return [*named, *tree.sources(".names"), *description_files(tree), *lists]


def describe(tree: Tree, file: str = "") -> Description:
    """Reads what describes a data set.

    Args:
      tree: the data set.
      file: the data.yaml or obj.data that the user named; "" looks for one.

    Raises:
      UserError: when it is broken, puts a picture on two sides, or names none for training, or when
        there are no class names.
    """
    files = [file] if file else description_files(tree)
    if not files:
        found = _read_lists(tree)
    elif files[0].lower().endswith(_YAML):
        found = _read_yaml(tree, files[0])
    else:
        found = _read_darknet(tree, files[0])
    notes = list(found.notes)
    if len(files) > 1:
        notes.append(f"{files[0]} describes the data set; not read: {', '.join(files[1:])}")
    return found._replace(names=found.names or _read_names(tree), notes=tuple(notes))


def _read_lists(tree: Tree) -> Description:
    """The split of a data set without a description: lists such as train.txt at its root."""
    given = {key: f"{key}.txt" for key in _SIDES if join(tree.root, f"{key}.txt") in tree.file_set}
    file = join(tree.root, "train.txt")
    if "train" not in given or not _pictures_in_list(tree, file)[0]:
        return Description({}, {})
    side_of, notes = _sides(tree, file, given)
    return Description({}, side_of, file, notes=notes)


def _read_yaml(tree: Tree, file: str) -> Description:
    text = tree.text(file, "the description of a YOLO data set")
    try:
        # Leaves every scalar a text: `no` is a class name like any other.
        data = _DataYaml.model_validate(yaml.load(text, Loader=yaml.BaseLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(
            f"Expected a data.yaml of YOLO's. Received: {tree.full(file)}, {_why(error)}."
        ) from None
    names = data.names if isinstance(data.names, dict) else dict(enumerate(data.names))
    given = {key: getattr(data, key) for key in _SIDES}
    side_of, notes = _sides(tree, file, given, data.path)
    return Description(names, side_of, file, bool(data.kpt_shape), notes)


def _why(error: Exception) -> str:
    """The first problem with its place, in one line."""
    if isinstance(error, ValidationError):
        # Of the alternatives, the one that fits best.
        errors = error.errors(include_url=False, include_context=False)
        first = max(errors, key=lambda problem: len(problem["loc"]))
        place = ".".join(map(str, first["loc"])) or "the whole file"
        # A file of some bytes may name a list of lists ... that has billions of entries.
        return f"{place}: {first['msg']}, received {reprlib.repr(first['input'])[:100]}"
    if isinstance(error, RecursionError):
        return "which is nested too deeply"
    return " ".join(str(error).split())[:300]


def _read_darknet(tree: Tree, file: str) -> Description:
    given = {}
    for line in tree.text(file, "the description of a YOLO data set").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            given[key.strip()] = value.strip()
    found = _resolve(tree, file, "", given.get("names", ""))
    names = _names_in(tree, found[0]) if found else {}
    side_of, notes = _sides(tree, file, {key: given.get(key, "") for key in _SIDES})
    return Description(names, side_of, file, notes=notes)


def _sides(
    tree: Tree, file: str, given: Mapping[str, str | list[str]], path: str = ""
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The side of each picture that a description names, and notes on what it names in vain."""
    side_of: dict[str, str] = {}
    notes, resolved = [], False
    for key, value in given.items():
        for entry in filter(None, [value] if isinstance(value, str) else value):
            found = _resolve(tree, file, path, entry)
            resolved |= bool(found)
            if not found:
                notes.append(f"{file} names {key}: {entry}, which is not there")
            elif not is_picture(found[0]):
                [name] = found
                found, lost = _pictures_in_list(tree, name)
                if lost:
                    notes.append(
                        f"{name} lists {len(lost)} pictures that are not there, or of which "
                        f"there are several; the first is {lost[0]}"
                    )
            for picture in found:
                if side_of.setdefault(picture, _SIDES[key]) != _SIDES[key]:
                    raise UserError(
                        "Expected every picture on one side of the split of "
                        f"{tree.full(file)}. Received: {picture} on two. Use different folders "
                        "for train, val and test, or name train alone: a part of it is held out "
                        "then."
                    )
    if resolved and TRAIN not in side_of.values():
        raise UserError(
            f"Expected the pictures that {tree.full(file)} names for training. Received: "
            f"{given['train'] or 'no train'}, which is not in {tree.where}, or lists nothing that "
            "is. Correct the file, or give your own split with --train and --eval."
        )
    return side_of, tuple(notes)


def _pictures_in_list(tree: Tree, file: str) -> tuple[list[str], list[str]]:
    """The pictures in a list of paths, one a line, and the lines that name none, or several."""
    found, lost = [], []
    for line in tree.text(file, "a list of pictures", 1 << 28).splitlines():
        parts = _parts(line.strip())
        if not parts:
            continue
        same_name = tree.pictures_by_name.get(parts[-1], ())
        common = [_common_end(picture.split("/"), parts) for picture in same_name]
        if common.count(max(common, default=0)) == 1:
            found.append(same_name[common.index(max(common))])
        else:
            lost.append(line.strip())
    return found, lost


def _common_end(path: list[str], other: list[str]) -> int:
    length = 0
    for a, b in zip(reversed(path), reversed(other), strict=False):
        if a != b:
            break
        length += 1
    return length


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _resolve(tree: Tree, file: str, path: str, entry: str) -> list[str]:
    """The pictures or the list that an entry of a description names, inside the data set only.

    Descriptions hold paths of the machine that wrote them, and Roboflow's have one `..` too many.
    So the front of a path may be missing here, but never a part of a relative entry.
    """
    own = _parts(entry)
    if not own:
        return []
    front = [*_parts(os.path.dirname(tree.relative(file))), *_parts(path)]
    # Darknet's are relative to the folder that it was started in.
    elsewhere = file.endswith(_DARKNET) or entry.startswith(("/", "\\")) or entry[1:2] == ":"
    whole = own if elsewhere else front + own
    least = len(own)
    if elsewhere:
        least = 1 if own[-1].endswith((".txt", ".names")) else min(2, len(own))
    for start in range(len(whole) - least + 1):
        wanted = join(tree.root, "/".join(whole[start:]))
        if re.search(r"[*?\[]", wanted):
            found = [p for p in tree.pictures if fnmatch.fnmatchcase(p, wanted)]
        elif wanted in tree.file_set:
            return [wanted]
        else:
            found = [p for p in tree.pictures if p.startswith(f"{wanted}/")]
        if found:
            return found
    return []


def _read_names(tree: Tree) -> dict[int, str]:
    """The class names of a data set without a description."""
    files = [path for path in tree.files if os.path.basename(path) in NAMES_FILES]
    files = sorted({*files, *tree.sources(".names")}, key=lambda path: (path.count("/"), path))
    if not files:
        raise UserError(
            f"Expected the names of the classes of the YOLO labels in {tree.where}: a data.yaml, "
            "a classes.txt or an obj.names. Received: none of them. Write classes.txt, one name a "
            "line; the first is that of class 0."
        )
    names = _names_in(tree, files[0])
    for other in files[1:]:
        if _names_in(tree, other) != names:
            raise UserError(
                f"Expected the same class names in all files of {tree.where}. Received: other ones "
                f"in {other} than in {files[0]}. Remove one."
            )
    return names


def _names_in(tree: Tree, file: str) -> dict[int, str]:
    lines = tree.text(file, "class names, one a line").splitlines()
    return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
