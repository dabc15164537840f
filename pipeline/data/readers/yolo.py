"""YOLO: a text file for every picture, in which a line is an object; class names are elsewhere.

Those of Ultralytics and Roboflow (`data.yaml`), of Darknet and CVAT (`obj.data`, `obj.names`), and
folders of labels with a `classes.txt`.
"""

import fnmatch
import functools
import math
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import Box, LabelledImage, Unusable, image_id_of
from pipeline.data.readers import Inputs
from pipeline.data.readers.labelling import Found, Objects, label, unusable, usable
from pipeline.data.readers.tree import (
    Pairs,
    Tree,
    by_folder,
    is_picture,
    join,
    pair,
    read_bytes,
    sample,
    stem_of,
)
from pipeline.data.split import EVAL, TEST, TRAIN
from pipeline.errors import UserError

TITLE = "YOLO"
# On one line, so that a list of numbers is none; in one way only, so that any file is told at once.
_LINE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*\d+(?:\.0*)?"
    rb"(?:[ \t]+-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?){4,}[ \t]*(?:\n|\r|$)"
)
_NAMES_FILES = (
    *("classes.txt", "obj.names", "classes.names", "class_names.txt", "predefined_classes.txt"),
    *("labels.txt", "_darknet.labels"),
)
_SIDES = {"train": TRAIN, "val": EVAL, "valid": EVAL, "validation": EVAL, "test": TEST}
_YAML = (".yaml", ".yml")
_DARKNET = ".data"


@dataclass(frozen=True)
class YoloItem:
    """One picture to read; paths are relative to `base`.

    Attributes:
      base: absolute path or URL.
      picture: its path; "" when there is none.
      label: path of the text file; "" when there is none, as of a picture without objects.
      image_id: without its side.
      side: "train", "eval", "test", or empty when nothing says.
      problem: why it cannot be read, if that is known.
    """

    base: str
    picture: str
    label: str
    image_id: str
    side: str
    problem: str = ""


class _Spec(NamedTuple):
    """What the file that describes the data set says.

    Attributes:
      file: its path.
      names: of the classes by number.
      pictures: by side; none when it does not say.
      keypoints: whether keypoints follow the box on each line.
      notes: what it names that is not there.
      lists: other files it was read from.
    """

    file: str
    names: Mapping[int, str]
    pictures: Mapping[str, list[str]]
    keypoints: bool = False
    notes: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


class _DataYaml(BaseModel):
    path: str = ""
    names: list[str] | dict[int, str] = {}
    train: str | list[str] = ""
    val: str | list[str] = ""
    valid: str | list[str] = ""
    validation: str | list[str] = ""
    test: str | list[str] = ""
    kpt_shape: Any = None


def recognise(tree: Tree) -> list[str]:
    """The text files of folders in which some hold lines of YOLO's."""
    texts = [path for path in tree.labels(".txt") if os.path.basename(path) not in _NAMES_FILES]
    folders = by_folder(texts)
    stems = {image_id_of(os.path.basename(path)) for path in tree.pictures}
    sure, empty = [], []
    for folder, names in folders.items():
        labels = [name for name in names if stem_of(name) in stems]
        heads = [tree.head(join(folder, name)) for name in sample(labels or names, 16)]
        if any(_LINE.match(head) for head in heads):
            sure.append(folder)
        elif labels and not any(head.strip() for head in heads):
            empty.append(folder)
    if not sure and not _spec_files(tree):
        return []
    # Of empty files alone one cannot tell; beside others they are pictures without objects.
    return [join(folder, name) for folder in [*sure, *empty] for name in folders[folder]]


def sources(tree: Tree, labels: list[str]) -> list[str]:
    """Other files that decide what is read: class names, lists, the description."""
    named = [path for path in tree.files if os.path.basename(path) in _NAMES_FILES]
    lists = [
        path
        for path in tree.files
        if path.endswith(".txt")
        and ("/" not in tree.relative(path) or os.path.basename(path)[:-4] in _SIDES)
    ]
    return [*named, *tree.sources(".names"), *_spec_files(tree), *lists] if labels else []


def _spec_files(tree: Tree) -> list[str]:
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


def find(
    tree: Tree,
    labels: list[str],
    class_from: str = "name",
    max_megapixels: float = math.inf,
    spec_file: str = "",
) -> Inputs:
    """Lists the pictures, each with its labels.

    Args:
      tree: the data set.
      labels: its text files.
      class_from: see `labelling.label`.
      max_megapixels: likewise.
      spec_file: the data.yaml or obj.data that the user named; "" looks for one.

    Raises:
      UserError: when the file that describes it is broken, or there are no class names.
    """
    specs = [spec_file] if spec_file else _spec_files(tree)
    spec = _read_spec(tree, specs[0]) if specs else _read_lists(tree)
    notes = list(spec.notes)
    if len(specs) > 1:
        notes.append(f"{specs[0]} describes the data set; not read: {', '.join(specs[1:])}")
    names = spec.names or _read_names(tree)
    pairs = pair(tree, labels)
    items, ignored, unlabelled = _items(tree, labels, pairs, spec)
    if unlabelled > len(items) / 2:
        notes.append(
            f"{unlabelled} of {len(items)} pictures have no label file: they count as pictures "
            "without objects"
        )
    read = functools.partial(
        read_item,
        names=names,
        class_from=class_from,
        max_megapixels=max_megapixels,
        keypoints=spec.keypoints,
    )
    pictures = frozenset(tree.pictures) - {item.file for item in ignored}
    return Inputs(items, read, pictures, ignored, classes=tuple(names.values()), notes=tuple(notes))


def _items(
    tree: Tree, labels: list[str], pairs: Pairs, spec: _Spec
) -> tuple[list[YoloItem], list[Ignored], int]:
    """The items, the files that are none, and how many pictures have no label file."""
    label_of: dict[str, str] = {}
    problems: dict[str, str] = {}
    items, ignored = [], []
    for path in labels:
        found = pairs.pictures_of(path)
        if not found:
            if not tree.head(path).strip() or _LINE.match(tree.head(path)):
                place = pairs.label_places[path.rpartition("/")[0]]
                stem = "/".join([*place.key, stem_of(os.path.basename(path))])
                problem = "no picture has the name of this label file"
                items.append(YoloItem(tree.base, "", path, stem, place.side, problem))
            else:
                ignored.append(Ignored(path, "not YOLO labels"))
        for picture in found:
            if len(found) > 1:
                problems[picture] = f"{path} has the name of several pictures: {', '.join(found)}"
            elif picture in label_of:
                problems[picture] = f"two label files belong to it: {label_of[picture]}, {path}"
            label_of[picture] = path
    side_of = {picture: side for side, found in spec.pictures.items() for picture in found}
    folders = {folder for found in pairs.folders.values() for folder in found}
    by_labels = any(pairs.label_places[path.rpartition("/")[0]].side for path in labels)
    unlabelled = 0
    for picture in tree.pictures:
        folder, _, name = picture.rpartition("/")
        label_file = label_of.get(picture, "")
        if spec.pictures:
            if picture not in side_of:
                ignored.append(Ignored(picture, f"{spec.file} does not name it"))
                continue
            side = side_of[picture]
        else:
            if folder not in folders:
                continue  # the census lists it
            side = pairs.places[folder].side
            if not side and label_file:
                side = pairs.label_places[label_file.rpartition("/")[0]].side
            if not side and by_labels:
                ignored.append(Ignored(picture, "no label file says which side it is on"))
                continue
        unlabelled += not label_file
        image_id = "/".join([*pairs.places[folder].key, image_id_of(name)])
        items.append(
            YoloItem(tree.base, picture, label_file, image_id, side, problems.get(picture, ""))
        )
    return items, ignored, unlabelled


def _read_lists(tree: Tree) -> _Spec:
    """The split of a data set without a description: lists such as train.txt at its root."""
    given = {key: f"{key}.txt" for key in _SIDES if join(tree.root, f"{key}.txt") in tree.file_set}
    file = join(tree.root, "train.txt")
    if "train" not in given or not _pictures_in_list(tree, file)[0]:
        return _Spec("", {}, {})
    return _resolve_all(tree, file, {}, given, "", False)


def _read_spec(tree: Tree, file: str) -> _Spec:
    text = tree.text(file, "the description of a YOLO data set")
    return (_read_yaml if file.lower().endswith(_YAML) else _read_darknet)(tree, file, text)


def _read_yaml(tree: Tree, file: str, text: str) -> _Spec:
    where = tree.full(file)
    try:
        # Leaves every scalar a text: `no` is a class name like any other.
        content = yaml.load(text, Loader=yaml.BaseLoader)
        data = _DataYaml.model_validate(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(
            f"Expected a data.yaml of YOLO's. Received: {where}, {_why(error)}."
        ) from None
    names = data.names if isinstance(data.names, dict) else dict(enumerate(data.names))
    given = {key: getattr(data, key) for key in _SIDES}
    return _resolve_all(tree, file, names, given, data.path, bool(data.kpt_shape))


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


def _read_darknet(tree: Tree, file: str, text: str) -> _Spec:
    given = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            given[key.strip()] = value.strip()
    names: dict[int, str] = {}
    if given.get("names"):
        found = _resolve(tree, file, "", given["names"])
        if found:
            names = _names_in(tree, found[0])
    return _resolve_all(tree, file, names, {k: given.get(k, "") for k in _SIDES}, "", False)


def _resolve_all(
    tree: Tree,
    file: str,
    names: Mapping[int, str],
    given: Mapping[str, str | list[str]],
    path: str,
    keypoints: bool,
) -> _Spec:
    """Looks up the pictures that a description names for each side."""
    pictures: dict[str, list[str]] = {}
    notes, lists = [], []
    for key, value in given.items():
        for entry in filter(None, [value] if isinstance(value, str) else value):
            found = _resolve(tree, file, path, entry)
            if not found:
                notes.append(f"{file} names {key}: {entry}, which is not there")
            for name in found:
                if is_picture(name):
                    pictures.setdefault(_SIDES[key], []).append(name)
                else:
                    lists.append(name)
                    listed, lost = _pictures_in_list(tree, name)
                    pictures.setdefault(_SIDES[key], []).extend(listed)
                    if lost:
                        notes.append(
                            f"{name} lists {len(lost)} pictures that are not there, or of which "
                            f"there are several; the first is {lost[0]}"
                        )
    on = [(picture, side) for side, found in pictures.items() for picture in set(found)]
    twice = {picture for picture, _ in on}
    if len(twice) < len(on):
        seen: dict[str, str] = {}
        both = next(p for p, side in on if seen.setdefault(p, side) != side)
        raise UserError(
            f"Expected every picture on one side of the split of {tree.full(file)}. Received: "
            f"{both} on two. Use different folders for train, val and test, or name train alone: "
            "a part of it is held out then."
        )
    if pictures and not pictures.get(TRAIN):
        raise UserError(
            f"Expected the pictures that {tree.full(file)} names for training. Received: "
            f"{given['train'] or 'no train'}, which is not in {tree.where}, or lists nothing that "
            "is. Correct the file, or give your own split with --train and --eval."
        )
    return _Spec(file, names, pictures, keypoints, tuple(notes), tuple(lists))


def _pictures_in_list(tree: Tree, file: str) -> tuple[list[str], list[str]]:
    """The pictures in a list of paths, one a line, and the lines that name none, or several."""
    by_name = tree.pictures_by_name
    found, lost = [], []
    for line in tree.text(file, "a list of pictures", 1 << 28).splitlines():
        parts = _parts(line.strip())
        if not parts:
            continue
        ends = [p for p in by_name.get(parts[-1], ()) if _common_end(p.split("/"), parts)]
        best = max((_common_end(path.split("/"), parts) for path in ends), default=0)
        ends = [path for path in ends if _common_end(path.split("/"), parts) == best]
        if len(ends) == 1:
            found += ends
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
    files = [path for path in tree.files if os.path.basename(path) in _NAMES_FILES]
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


def read_item(
    item: YoloItem,
    names: Mapping[int, str],
    class_from: str = "name",
    max_megapixels: float = math.inf,
    keypoints: bool = False,
) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks one picture with its labels.

    Args:
      item: what to read.
      names: of the classes by number.
      class_from: see `labelling.label`.
      max_megapixels: likewise.
      keypoints: whether keypoints follow the box on each line.

    Yields:
      Once: what is known about it, and the image if it is usable.
    """
    found = Found(item.label or item.picture, item.image_id, item.picture, item.side)
    try:
        if item.problem:
            raise Unusable("missing_image", item.problem)
        encoded = read_bytes(os.path.join(item.base, item.picture))
        if encoded is None:
            raise Unusable("missing_image", "the picture is gone, or is a folder")
        content = b""
        if item.label:
            content = read_bytes(os.path.join(item.base, item.label))
            if content is None:
                raise Unusable("unreadable_file", "the label file is gone, or is a folder")
        lines = parse_labels(content, keypoints)
        image = label(
            found,
            encoded,
            functools.partial(_objects, lines, names),
            stated=None,
            class_from=class_from,
            max_megapixels=max_megapixels,
        )
    except Unusable as problem:
        yield unusable(found, problem)
    else:
        yield usable(found, image)


class Line(NamedTuple):
    """One object of a label file.

    Attributes:
      number: of the line, from 1.
      class_id: from 0.
      box: (xmin, ymin, xmax, ymax) in fractions of the picture.
      precision: how far each edge may be off by the rounding of the written digits, likewise.
    """

    number: int
    class_id: int
    box: tuple[float, float, float, float]
    precision: tuple[float, float, float, float]


def parse_labels(content: bytes, keypoints: bool = False) -> list[Line]:
    """Parses a label file.

    Args:
      content: a line is a class's number with center x, center y, width and height of a box, or
        with the corners x, y of a polygon, all in fractions of the picture.
      keypoints: whether keypoints follow the box.

    Raises:
      Unusable: names the first line that is neither.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("not_utf8", "expected text in UTF-8, received other bytes") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            lines.append(_parse_line(number, words[:5] if keypoints else words))
    return lines


def _parse_line(number: int, words: list[str]) -> Line:
    try:
        class_id = float(words[0])
        values = [float(word) for word in words[1:]]
        if not class_id.is_integer():
            raise ValueError
    except ValueError:
        raise Unusable(
            "malformed_label", f"line {number}: expected numbers, received {' '.join(words)!r}"
        ) from None
    off = [_rounding(word) for word in words[1:]]
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        x_off, y_off = off[0] + off[2] / 2, off[1] + off[3] / 2
        precision = (x_off, y_off, x_off, y_off)
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        precision = (max(off[::2]), max(off[1::2])) * 2
    else:
        raise Unusable(
            "malformed_label",
            f"line {number}: expected a class and 4 numbers, or a polygon of at least 3 corners, "
            f"received {len(values)} numbers after the class",
        )
    return Line(number, int(class_id), box, precision)


def _rounding(word: str) -> float:
    """Half a unit of the last digit that is written."""
    mantissa, _, exponent = word.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    return 0.5 * 10.0 ** -min(max(digits, 0), 300)


def _objects(lines: Iterable[Line], names: Mapping[int, str], width: int, height: int) -> Objects:
    boxes, classes = [], []
    for line in lines:
        if line.class_id not in names:
            raise Unusable(
                "no_class",
                f"line {line.number}: class {line.class_id} has no name; there are names for "
                f"{min(names, default=0)} to {max(names, default=0)}",
            )
        if max(map(abs, line.box)) > 2:  # also when it is infinite
            raise Unusable(
                "box_outside",
                f"line {line.number}: expected fractions of the picture, 0 to 1, received a box of "
                f"{' '.join(f'{edge:.6g}' for edge in line.box)}",
            )
        classes.append(names[line.class_id])
        boxes.append(_on_pixels(line, width, height))
    return Objects(boxes, classes)


def _on_pixels(line: Line, width: int, height: int) -> Box:
    """The box, with its edges on whole pixels where the written digits allow it.

    Boxes are drawn on pixels; this gives back what the writer's division and rounding lost.
    """
    sizes = (width, height, width, height)
    xmin, ymin, xmax, ymax = (
        round(edge * size) / size
        if math.isfinite(edge) and abs(edge * size - round(edge * size)) <= (off + 1e-12) * size
        else edge
        for edge, off, size in zip(line.box, line.precision, sizes, strict=True)
    )
    return ymin, xmin, ymax, xmax
