"""Finds out in which format a data set is, and lists what there is to read."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import PICTURE_SUFFIXES, LabelledImage
from pipeline.data.readers import Inputs, coco, tfrecord, voc, yolo
from pipeline.data.readers.tree import MAX_DEPTH, Tree, is_picture, sample, walk
from pipeline.data.split import EVAL, TEST, TRAIN
from pipeline.errors import UserError

AUTO = "auto"
READERS: dict[str, ModuleType] = {"voc": voc, "coco": coco, "yolo": yolo, "tfrecord": tfrecord}
_LOOKED_FOR = {
    "voc": "Pascal VOC (.xml files with <annotation>)",
    "coco": "COCO (a .json with images, annotations and categories)",
    "yolo": "YOLO (.txt files beside pictures or in a folder of labels, with a data.yaml, a "
    "classes.txt or an obj.names)",
    "tfrecord": "TFRecords (files with record or .tfr in their names)",
}
# What people often have instead, by the beginnings of its files.
_NOT_READ = {
    "a file of labelme's own format": (".json", rb'"shapes"\s*:\s*\['),
    "a file of CVAT's own format (CVAT for images)": (".xml", rb"<annotations>"),
    "a file of Supervisely's own format": (".json", rb'"classTitle"'),
    "a file of Label Studio's own format": (".json", rb'"rectanglelabels"'),
    "a project of the VGG Image Annotator": (".json", rb'"_via_img_metadata"'),
    "a table": (".csv", rb"(?i)x_?min"),
}
_BY_SUFFIX = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".data": "yolo"}


@dataclass(frozen=True)
class Source:
    """A data set, or one side of it, as the user named it. Paths are relative to a base.

    Attributes:
      root: the folder to search.
      file: the file in it that the user named, or "".
      side: "train" or "eval" if the user said so, or "".
      images: the folder of the pictures, or "".
      annotations: the folder of the labels, or "".
      depth: how many levels of folders are searched.
    """

    root: str
    file: str = ""
    side: str = ""
    images: str = ""
    annotations: str = ""
    depth: int = MAX_DEPTH


class Detected(NamedTuple):
    """A data set whose format is known.

    Attributes:
      tree: its files.
      reader: the module that reads it.
      labels: files with labels.
      sources: other files that decide what is read.
      notes: what a person should know.
    """

    tree: Tree
    reader: ModuleType
    labels: list[str]
    sources: list[str]
    notes: tuple[str, ...]


def format_of_file(path: str) -> str:
    """The format that a single file's name says, or ""."""
    return _BY_SUFFIX.get(os.path.splitext(path)[1].lower(), "")


def detect(base: str, source: Source, format_: str = AUTO) -> Detected:
    """Looks at a data set's files.

    Args:
      base: absolute path or URL.
      source: where to look.
      format_: "auto", or one of `READERS`.

    Raises:
      UserError: when the data set is not there, or in no known format.
    """
    tree = walk(base, source.root, source.images, source.annotations, source.depth)
    if source.file:
        name = format_of_file(source.file)
        reader = READERS[name]
        if format_ not in (AUTO, name):
            raise UserError(
                f"Expected data of the format {format_}. Received: {tree.full(source.file)}, which "
                f"is named like a file of {reader.TITLE}. Name the folder, or leave out the format."
            )
        if reader is coco:
            return Detected(tree, coco, [source.file], [], ())
        labels = reader.recognise(tree)
        return Detected(tree, reader, labels, [source.file, *reader.sources(tree, labels)], ())
    wanted = READERS if format_ == AUTO else {format_: READERS[format_]}
    found = {name: labels for name in wanted if (labels := READERS[name].recognise(tree))}
    if not found:
        raise _unknown(tree, list(wanted))
    notes: tuple[str, ...] = ()
    chosen = next(iter(found))
    if len(found) > 1:
        counts = {name: _count(tree, READERS[name], labels) for name, labels in found.items()}
        chosen = max(counts, key=lambda name: counts[name])
        others = [
            f"{READERS[name].TITLE} ({counts[name]} pictures; --format {name})"
            for name in counts
            if name != chosen
        ]
        notes = (
            f"there are labels in other formats, too: {', '.join(others)}; taken: "
            f"{READERS[chosen].TITLE} ({counts[chosen]} pictures)",
        )
    reader, labels = READERS[chosen], found[chosen]
    return Detected(tree, reader, labels, reader.sources(tree, labels), notes)


def _count(tree: Tree, reader: ModuleType, labels: list[str]) -> int:
    """How many pictures have labels in a format; 0 when it cannot be read."""
    try:
        return sum(1 for item in reader.find(tree, labels).items if item.picture)
    except UserError:
        return 0


def _unknown(tree: Tree, wanted: Sequence[str]) -> UserError:
    suffixes = Counter(os.path.splitext(path)[1].lower() or "no ending" for path in tree.files)
    counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(8))
    looked_for = "; ".join(_LOOKED_FOR[name] for name in wanted)
    remedy = "Export the labels in one of these formats, or name another folder."
    if other := _other_tool(tree):
        remedy = f"{other}. {remedy}"
    if not tree.files:
        remedy = "Check the path."
    elif not any(map(is_picture, tree.files)) and "tfrecord" not in wanted:
        remedy = "Name the folder that holds both pictures and labels."
    return UserError(
        f"Expected labelled images in {tree.where}. Looked for {looked_for}. Received: "
        f"{counts or 'no files'}. {remedy}"
    )


def _other_tool(tree: Tree) -> str:
    """Says whose own format the labels are in, if it is one that people often have."""
    for what, (suffix, mark) in _NOT_READ.items():
        for path in sample(tree.labels(suffix), 5):
            if re.search(mark, tree.head(path)):
                return f"{path} is {what}"
    return ""


def find_inputs(
    base: str,
    sources: Sequence[Source],
    format_: str = AUTO,
    *,
    class_from: str = "name",
    max_megapixels: float,
    has_lists: bool = False,
) -> Inputs:
    """Lists what there is to read, and settles on which side of the split it is.

    Args:
      base: absolute path or URL.
      sources: one, or one for each side.
      format_: "auto", or one of `READERS`.
      class_from: see `labelling.label`.
      max_megapixels: likewise.
      has_lists: whether the user's lists decide the sides, and not the data.

    Raises:
      UserError: when the data set is not there, or in no known format, or its files are broken.
    """
    parts = []
    for source in sources:
        detected = detect(base, source, format_)
        tree, labels = detected.tree, detected.labels
        more = {}
        if detected.reader is yolo and source.file:
            more = {"spec_file": source.file}
        inputs = detected.reader.find(tree, labels, class_from, max_megapixels, **more)
        inputs = dataclasses.replace(
            inputs,
            title=detected.reader.TITLE,
            ignored=[*inputs.ignored, *_strays(detected, inputs)],
            notes=(*detected.notes, *_unlabelled(inputs), *inputs.notes),
        )
        if source.side:
            parts.append(_with_sides(inputs, lambda _, side=source.side: side))
        else:
            parts.append(settle(inputs, has_lists))
    return parts[0] if len(parts) == 1 else merge(parts)


def _strays(detected: Detected, inputs: Inputs) -> Iterator[Ignored]:
    """Files beside those that are read, which are not; hidden pictures anywhere."""
    tree = detected.tree
    known = {*detected.labels, *detected.sources, *tree.pictures}
    known.update(item.file for item in inputs.ignored)
    folders = {path.rpartition("/")[0] for path in [*detected.labels, *detected.sources]}
    folders |= {item.picture.rpartition("/")[0] for item in inputs.items if item.picture}
    folders.add(tree.root)
    for path in tree.files:
        hidden = path.lower().endswith(PICTURE_SUFFIXES) and not is_picture(path)
        if path not in known and (hidden or path.rpartition("/")[0] in folders):
            yield Ignored(path, f"not a part of a {detected.reader.TITLE} data set")
    for folder in tree.unsearched:
        yield Ignored(folder, "a folder that is too deep to be searched")


def _unlabelled(inputs: Inputs) -> Iterator[str]:
    alone = len(inputs.pictures - {item.picture for item in inputs.items})
    if alone > len(inputs.pictures) / 2:
        yield (
            f"{alone} of {len(inputs.pictures)} pictures have no annotation, and are left out; if "
            "they show no objects, annotate them as empty"
        )


def settle(inputs: Inputs, has_lists: bool) -> Inputs:
    """Decides which sides of the data's own split are used, and says so.

    Args:
      inputs: with the sides that the data bring.
      has_lists: whether the user's lists decide instead.
    """
    if has_lists:
        return dataclasses.replace(_with_sides(inputs, lambda _: ""), split="split by your lists")
    sides = {item.side for item in inputs.items} - {""}
    if len(sides) < 2:
        only = f"only {sides.pop()} is there: " if sides else ""
        inputs = _with_sides(inputs, lambda _: "")
        return dataclasses.replace(inputs, split=f"{only}split by a hash of the image ids")
    split = "split as given"
    if EVAL not in sides:
        inputs = _with_sides(inputs, lambda side: EVAL if side == TEST else side)
        split += ", test is the evaluation side"
    if any(not item.side for item in inputs.items):
        split += ", images without a side by a hash of their ids"
    return dataclasses.replace(inputs, split=split)


def _with_sides(inputs: Inputs, side_of: Callable[[str], str]) -> Inputs:
    items = [dataclasses.replace(item, side=side_of(item.side)) for item in inputs.items]
    return dataclasses.replace(inputs, items=items)


@dataclass(frozen=True)
class _Part:
    """An item of one of several data sets."""

    number: int
    item: Any

    @property
    def side(self) -> str:
        return self.item.side

    @property
    def picture(self) -> str:
        return self.item.picture


@dataclass(frozen=True)
class _ReadPart:
    reads: tuple[Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]], ...]

    def __call__(self, part: _Part) -> Iterator[tuple[Checked, LabelledImage | None]]:
        return self.reads[part.number](part.item)


def merge(parts: Sequence[Inputs]) -> Inputs:
    """The data sets of both sides as one."""
    classes = [part.classes for part in parts]
    return Inputs(
        items=[_Part(n, item) for n, part in enumerate(parts) for item in part.items],
        read=_ReadPart(tuple(part.read for part in parts)),
        pictures=frozenset().union(*(part.pictures for part in parts)),
        ignored=[item for part in parts for item in part.ignored],
        title=" and ".join(dict.fromkeys(part.title for part in parts)),
        classes=None if None in classes else sorted({name for c in classes for name in c}),
        split="split as you gave it",
        notes=tuple(note for part in parts for note in part.notes),
    )


def in_one_line(inputs: Inputs, num_classes: int, at_least: bool = False) -> str:
    """Says what was found: "YOLO, 5 classes, 240 + 60 images, split as given".

    Args:
      inputs: see `find_inputs`.
      num_classes: that were seen.
      at_least: whether there may be more.
    """
    count = "at least " if at_least else ""
    count += f"{num_classes} {'class' if num_classes == 1 else 'classes'}"
    sides: Mapping[str, int] = Counter(item.side for item in inputs.items)
    unit = "file" if inputs.title == tfrecord.TITLE else "image"
    numbers = [str(sides[side]) for side in (TRAIN, EVAL, "") if sides.get(side)]
    unit += "" if numbers == ["1"] else "s"
    line = f"{inputs.title}, {count}, {' + '.join(numbers) or '0'} {unit}"
    if sides.get(TEST):
        line += f" and {sides[TEST]} for test"
    return f"{line}, {inputs.split}"
