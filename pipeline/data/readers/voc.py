"""Pascal VOC: an XML for every picture, in one of many folders, or beside it."""

import dataclasses
import functools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import LabelledImage, Unusable, image_id_of
from pipeline.data.readers import Inputs
from pipeline.data.readers.labelling import Found, Objects, label, unusable, usable
from pipeline.data.readers.tree import (
    SIDES,
    Tree,
    by_folder,
    join,
    pair,
    read_bytes,
    sample,
    stem_of,
)
from pipeline.data.readers.voc_annotation import parse_annotation
from pipeline.data.split import EVAL, TEST, TRAIN

TITLE = "Pascal VOC"
_SUFFIX = ".xml"
_IS_ANNOTATION = re.compile(rb"<annotation[\s>]")
_FLAG = re.compile(r"\s+-?[01]$")
_LISTS = re.compile(r"(?:.*/)?ImageSets/Main/(\w+)\.txt")


@dataclass(frozen=True)
class VocItem:
    """One annotation to read; paths are relative to `base`.

    Attributes:
      base: absolute path or URL.
      annotation: the XML.
      folders: where the picture may be.
      namesakes: pictures there with the XML's name, in case its <filename> does not exist.
      key: the folders that are a part of the image's id.
      side: "train", "eval", "test", or empty when nothing says.
    """

    base: str
    annotation: str
    folders: tuple[str, ...]
    namesakes: tuple[str, ...]
    key: tuple[str, ...] = ()
    side: str = ""

    @property
    def picture(self) -> str:
        """The likeliest picture; "" when there is none of that name."""
        return self.namesakes[0] if self.namesakes else ""


def recognise(tree: Tree) -> list[str]:
    """The XML files of folders in which some are Pascal VOC's."""
    found = []
    for folder, names in by_folder(tree.labels(_SUFFIX)).items():
        paths = [join(folder, name) for name in names]
        heads = (tree.head(path).replace(b"\0", b"") for path in sample(paths, 5))  # UTF-16
        if any(map(_IS_ANNOTATION.search, heads)):
            found += paths
    return found


def sources(tree: Tree, labels: list[str]) -> list[str]:
    """Other files that decide what is read: the lists of the split."""
    return list(_lists(tree).values()) if labels else []


def _lists(tree: Tree) -> dict[str, str]:
    """The lists of the split by their names in lower case; those of a class alone are none."""
    matches = filter(None, map(_LISTS.fullmatch, tree.files))
    return {m[1].lower(): m[0] for m in matches if m[1].lower() in SIDES}


def find(
    tree: Tree, labels: list[str], class_from: str = "name", max_megapixels: float = math.inf
) -> Inputs:
    """Pairs annotations with pictures.

    Args:
      tree: the data set.
      labels: its XML files.
      class_from: see `labelling.label`.
      max_megapixels: likewise.
    """
    pairs = pair(tree, labels)
    items = []
    for path in labels:
        folder = path.rpartition("/")[0]
        namesakes = pairs.pictures_of(path)
        place = pairs.label_places[folder]
        folders = pairs.folders[folder]
        if len({name.rpartition("/")[0] for name in namesakes}) == 1:
            folders = (namesakes[0].rpartition("/")[0],)
            place = pairs.places[folders[0]]
        side = place.side or pairs.label_places[folder].side
        items.append(VocItem(tree.base, path, folders, tuple(namesakes), place.key, side))
    items, ignored = _split_by_lists(tree, items)
    read = functools.partial(read_annotation, class_from=class_from, max_megapixels=max_megapixels)
    unlisted = {item.file for item in ignored}
    pictures = set(tree.pictures).difference(
        *(pairs.pictures_of(path) for path in labels if path in unlisted)
    )
    return Inputs(items, read, frozenset(pictures), ignored)


def _split_by_lists(tree: Tree, items: list[VocItem]) -> tuple[list[VocItem], list[Ignored]]:
    """Gives the sides of ImageSets/Main to items that have none by their folders."""
    lists = _lists(tree)
    if not lists or any(item.side for item in items):
        return items, []
    if EVAL in map(SIDES.get, lists) and "train" in lists:
        lists.pop("trainval", None)  # both together
    listed: dict[str, str] = {}
    # Of an image in several lists, the last one decides: nothing of test is trained on.
    for name in sorted(lists, key=lambda name: (TRAIN, EVAL, TEST).index(SIDES[name])):
        listed |= dict.fromkeys(_images_in(tree, lists[name]), SIDES[name])
    kept, ignored = [], []
    for item in items:
        folder, _, name = item.annotation.rpartition("/")
        parts = [*folder.split("/"), stem_of(name)]
        # A list may name the folders, too: Annotations/a/1.xml is a/1, or 1.
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        side = next((listed[tail] for tail in tails if tail in listed), "")
        if side:
            kept.append(dataclasses.replace(item, side=side))
        else:
            ignored.append(Ignored(item.annotation, "in none of the lists of ImageSets/Main"))
    return kept, ignored


def _images_in(tree: Tree, file: str) -> list[str]:
    """The images of a list; names with blanks may be quoted, and flags may follow the names."""
    lines = tree.text(file, "a list of image ids").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if all(map(_FLAG.search, lines)):
        lines = [_FLAG.sub("", line) for line in lines]
    return [image_id_of(line.strip('"')) for line in lines]


def read_annotation(
    item: VocItem, class_from: str, max_megapixels: float = math.inf
) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks one annotation with its picture.

    Args:
      item: what to read.
      class_from: see `labelling.label`.
      max_megapixels: likewise.

    Yields:
      Once: what is known about it, and the image if it is usable.
    """
    found = _found(item, item.picture or item.annotation, item.picture)
    try:
        xml = read_bytes(os.path.join(item.base, item.annotation))
        if xml is None:
            raise Unusable("unreadable_file", "the annotation is gone, or is a folder")
        annotation = parse_annotation(xml)
        picture, encoded = _find_picture(item, annotation.filename)
        found = _found(item, picture, picture)

        def objects_of(width: int, height: int) -> Objects:
            return Objects(
                [drawn.normalised(width, height) for drawn in annotation.objects],
                [drawn.name for drawn in annotation.objects],
                difficult=tuple(drawn.difficult for drawn in annotation.objects),
            )

        image = label(
            found,
            encoded,
            objects_of,
            stated=annotation.size,
            class_from=class_from,
            max_megapixels=max_megapixels,
        )
    except Unusable as problem:
        yield unusable(found, problem)
    else:
        yield usable(found, image)


def _found(item: VocItem, named: str, picture: str) -> Found:
    name = os.path.basename(named)
    stem = image_id_of(name) if picture else stem_of(name)
    return Found(item.annotation, "/".join([*item.key, stem]), picture, item.side)


def _find_picture(item: VocItem, filename: str | None) -> tuple[str, bytes]:
    """Returns path and bytes of the picture that an annotation belongs to."""
    if filename is not None:
        paths = [join(folder, filename) for folder in item.folders]
        contents = [(path, read_bytes(os.path.join(item.base, path))) for path in paths]
        there = [(path, encoded) for path, encoded in contents if encoded is not None]
        if len(there) > 1:
            raise Unusable(
                "missing_image",
                f"several pictures are called {filename!r}: {there[0][0]}, {there[1][0]}",
            )
        others = [namesake for namesake in item.namesakes if there and namesake != there[0][0]]
        if len(item.namesakes) == 1 and others:
            raise Unusable(
                "ambiguous_image",
                f"<filename> says {there[0][0]}, but the annotation is called like {others[0]}: "
                "whose boxes these are is unknown; correct or remove <filename>",
            )
        if there:
            return there[0]
    where = " or ".join(folder or "the data set's root" for folder in item.folders)
    if not where:
        raise Unusable("missing_image", "no folder of pictures belongs to this annotation's folder")
    if len(item.namesakes) > 1:
        raise Unusable(
            "missing_image",
            f"<filename> {filename!r} does not exist in {where}, and several pictures share "
            f"the annotation's name: {', '.join(item.namesakes)}",
        )
    for namesake in item.namesakes:
        encoded = read_bytes(os.path.join(item.base, namesake))
        if encoded is not None:
            return namesake, encoded
    raise Unusable(
        "missing_image",
        f"{where} has neither the <filename> {filename!r} nor a picture with the annotation's own "
        "name",
    )
