"""YOLO: a text file for every picture, in which a line is an object; class names are elsewhere.

What Ultralytics, Roboflow, Darknet and CVAT write, and folders of labels with a `classes.txt`; see
`yolo_description` and `yolo_labels`.
"""

import functools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import LabelledImage, Unusable, image_id_of
from pipeline.data.readers import Inputs, yolo_description
from pipeline.data.readers.labelling import Found, label, unusable, usable
from pipeline.data.readers.tree import (
    Pairs,
    Tree,
    by_folder,
    join,
    pair,
    read_bytes,
    sample,
    stem_of,
)
from pipeline.data.readers.yolo_description import (
    NAMES_FILES,
    Description,
    describe,
    description_files,
)
from pipeline.data.readers.yolo_labels import objects_of, parse_labels, starts_with_label

TITLE = "YOLO"


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


def recognise(tree: Tree) -> list[str]:
    """The text files of folders in which some hold lines of YOLO's."""
    texts = [path for path in tree.labels(".txt") if os.path.basename(path) not in NAMES_FILES]
    folders = by_folder(texts)
    stems = {image_id_of(os.path.basename(path)) for path in tree.pictures}
    sure, empty = [], []
    for folder, names in folders.items():
        labels = [name for name in names if stem_of(name) in stems]
        heads = [tree.head(join(folder, name)) for name in sample(labels or names, 16)]
        if any(starts_with_label(head) for head in heads):
            sure.append(folder)
        elif labels and not any(head.strip() for head in heads):
            empty.append(folder)
    if not sure and not description_files(tree):
        return []
    # Of empty files alone one cannot tell; beside others they are pictures without objects.
    return [join(folder, name) for folder in [*sure, *empty] for name in folders[folder]]


def sources(tree: Tree, labels: list[str]) -> list[str]:
    """Other files that decide what is read: class names, lists, the description."""
    return yolo_description.sources(tree) if labels else []


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
    data = describe(tree, spec_file)
    pairs = pair(tree, labels)
    label_of, problems = _pair(labels, pairs)
    orphans, ignored = _without_picture(tree, labels, pairs)
    of_pictures, unnamed = _of_pictures(tree, data, pairs, label_of, problems)
    items = [*orphans, *of_pictures]
    notes = list(data.notes)
    unlabelled = sum(not item.label for item in items)
    if unlabelled > len(items) / 2:
        notes.append(
            f"{unlabelled} of {len(items)} pictures have no label file: they count as pictures "
            "without objects"
        )
    read = functools.partial(
        read_item,
        names=data.names,
        class_from=class_from,
        max_megapixels=max_megapixels,
        keypoints=data.keypoints,
    )
    pictures = frozenset(tree.pictures) - {item.file for item in unnamed}
    return Inputs(
        items,
        read,
        pictures,
        [*ignored, *unnamed],
        classes=tuple(data.names.values()),
        notes=tuple(notes),
    )


def _pair(labels: list[str], pairs: Pairs) -> tuple[dict[str, str], dict[str, str]]:
    """The label file of each picture that has one, and what is wrong with those that have more."""
    label_of: dict[str, str] = {}
    problems: dict[str, str] = {}
    for path in labels:
        found = pairs.pictures_of(path)
        for picture in found:
            if len(found) > 1:
                problems[picture] = f"{path} has the name of several pictures: {', '.join(found)}"
            elif picture in label_of:
                problems[picture] = f"two label files belong to it: {label_of[picture]}, {path}"
            label_of[picture] = path
    return label_of, problems


def _without_picture(
    tree: Tree, labels: list[str], pairs: Pairs
) -> tuple[list[YoloItem], list[Ignored]]:
    """Label files without a picture, and text files that are no labels."""
    items, ignored = [], []
    for path in labels:
        if pairs.pictures_of(path):
            continue
        head = tree.head(path)
        if head.strip() and not starts_with_label(head):
            ignored.append(Ignored(path, "not YOLO labels"))
            continue
        folder, _, name = path.rpartition("/")
        place = pairs.label_places[folder]
        image_id = "/".join([*place.key, stem_of(name)])
        problem = "no picture has the name of this label file"
        items.append(YoloItem(tree.base, "", path, image_id, place.side, problem))
    return items, ignored


def _of_pictures(
    tree: Tree,
    data: Description,
    pairs: Pairs,
    label_of: Mapping[str, str],
    problems: Mapping[str, str],
) -> tuple[list[YoloItem], list[Ignored]]:
    """The pictures that belong to the data set, and those of which nothing says so."""
    folders = {folder for found in pairs.folders.values() for folder in found}
    divided_labels = any(place.side for place in pairs.label_places.values())
    items, ignored = [], []
    for picture in tree.pictures:
        folder, _, name = picture.rpartition("/")
        label_file = label_of.get(picture, "")
        if data.side_of:
            side = data.side_of.get(picture, "")
            if not side:
                ignored.append(Ignored(picture, f"{data.file} does not name it"))
                continue
        elif folder not in folders:
            continue  # the census lists it
        else:
            side = pairs.places[folder].side
            if not side and label_file:
                side = pairs.label_places[label_file.rpartition("/")[0]].side
            if not side and divided_labels:
                ignored.append(Ignored(picture, "no label file says which side it is on"))
                continue
        image_id = "/".join([*pairs.places[folder].key, image_id_of(name)])
        items.append(
            YoloItem(tree.base, picture, label_file, image_id, side, problems.get(picture, ""))
        )
    return items, ignored


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
            functools.partial(objects_of, lines, names),
            stated=None,
            class_from=class_from,
            max_megapixels=max_megapixels,
        )
    except Unusable as problem:
        yield unusable(found, problem)
    else:
        yield usable(found, image)
