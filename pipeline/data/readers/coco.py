"""COCO JSON: the labels of many pictures in one file, or one for each side of the split."""

import functools
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import Box, LabelledImage, Unusable, image_id_of
from pipeline.data.readers import Inputs
from pipeline.data.readers.coco_document import (
    CocoImage,
    CocoObject,
    Document,
    bounded,
    parse_document,
)
from pipeline.data.readers.labelling import Found, Objects, label, unusable, usable
from pipeline.data.readers.tree import Place, Tree, read_bytes, side_of
from pipeline.errors import UserError

TITLE = "COCO"
_KEYS = re.compile(rb'"(?:images|annotations|categories)"\s*:\s*\[')
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_HEAD = 1 << 16
# A file name that is an absolute path, one on a Windows drive, or a URL.
_OUTSIDE = re.compile(r"/|[A-Za-z]:|\w+://")
# Files in a message.
_NAMED = 3


@dataclass(frozen=True)
class CocoItem:
    """One image to read; paths are relative to `base`.

    Attributes:
      base: absolute path or URL.
      file: the JSON and the image's id in it.
      picture: its path; "" when there is none.
      image_id: without its side.
      side: "train", "eval", "test", or empty when nothing says.
      stated: width and height, if the JSON says.
      objects: the annotations.
      kind: of the problem, if it is known that the image cannot be used.
      reason: likewise.
    """

    base: str
    file: str
    picture: str
    image_id: str
    side: str
    stated: tuple[int, int] | None
    objects: tuple[CocoObject, ...]
    kind: str = ""
    reason: str = ""


def recognise(tree: Tree) -> list[str]:
    """The JSON files that have COCO's keys near their beginning; small ones, both that matter."""
    found = []
    for path in tree.labels(".json"):
        head = tree.head(path, _HEAD)
        seems = _START.match(head) and _KEYS.search(head) and b'"shapes"' not in head[:4096]
        if seems and (len(head) == _HEAD or _is_coco(head)):
            found.append(path)
    return found


def _is_coco(content: bytes) -> bool:
    """Whether a JSON is COCO's, or is broken where it might have been."""
    try:
        data = from_json(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return True
    return len(data.keys() & {"images", "annotations", "categories"}) > 1


def sources(tree: Tree, labels: list[str]) -> list[str]:
    """No other files decide what is read."""
    return []


def find(
    tree: Tree, labels: list[str], class_from: str = "name", max_megapixels: float = math.inf
) -> Inputs:
    """Parses the JSON files, once each, and finds the pictures of their images.

    Args:
      tree: the data set.
      labels: its JSON files.
      class_from: see `labelling.label`.
      max_megapixels: likewise.

    Raises:
      UserError: when a file is not JSON or not COCO's, or when its pictures may be those of several
        folders.
    """
    labels, ignored = _of_objects(labels)
    documents: dict[str, Document] = {}
    for path in labels:
        document = parse_document(_read(tree, path), tree.full(path), len(labels) > 1)
        if document is None:
            ignored.append(Ignored(path, "a JSON file without COCO's images and annotations"))
        else:
            documents[path] = document
    if not documents:
        first = ", ".join(labels[:_NAMED])
        raise UserError(
            f"Expected a COCO JSON with images, annotations and categories in {tree.where}. "
            f"Received: {len(labels)} JSON files without them, such as {first}. Name the folder "
            "that holds the labels."
        )
    places = tree.places(tree.pictures_by_folder)
    items = [
        item
        for path, document in documents.items()
        for item in _items(tree, path, document, places)
    ]
    # Exports also list a parent of all categories, which no object has.
    classes = {drawn.name for item in items for drawn in item.objects}
    read = functools.partial(read_item, class_from=class_from, max_megapixels=max_megapixels)
    return Inputs(items, read, frozenset(tree.pictures), ignored, classes=sorted(classes))


def _of_objects(labels: list[str]) -> tuple[list[str], list[Ignored]]:
    """Of COCO's own download, the files of its object detection task."""
    objects = [path for path in labels if os.path.basename(path).startswith("instances_")]
    if not objects:
        return labels, []
    others = [path for path in labels if path not in objects]
    reason = f"labels of another task than {objects[0]}"
    return objects, [Ignored(path, reason) for path in others]


def _read(tree: Tree, path: str) -> bytes:
    where = tree.full(path)
    try:
        content = read_bytes(where)
    except Unusable as problem:
        raise UserError(f"Expected a COCO JSON. Received: {problem.reason}.") from None
    if content is None:
        raise UserError(f"Expected a COCO JSON. Received: {where}, which is gone.")
    return content


def _items(
    tree: Tree, path: str, document: Document, places: Mapping[str, Place]
) -> Iterator[CocoItem]:
    """The images of one JSON file, usable or not."""
    side = _side_of_json(tree, path)
    for what, kind, reason in document.strays:
        yield CocoItem(tree.base, f"{path}#{what}", "", "", side, None, (), kind, reason)
    pictures = _find_pictures(tree, path, side, document.images, places)
    for key, image in document.images.items():
        picture, kind, reason = pictures[key]
        kind, reason = document.problems.get(key, (kind, reason))
        place = places[picture.rpartition("/")[0]] if picture else Place("", ())
        name = os.path.basename(picture or image.file_name.replace("\\", "/"))
        yield CocoItem(
            tree.base,
            f"{path}#{bounded(key)}",
            picture,
            "/".join([*place.key, image_id_of(name)]),
            side or place.side,
            image.size,
            tuple(document.objects[key]),
            kind,
            reason,
        )


def _side_of_json(tree: Tree, path: str) -> str:
    """By the file's name (instances_val2017.json), or that of a folder it is in."""
    return next(filter(None, map(side_of, reversed(tree.relative(path).split("/")))), "")


def _find_pictures(
    tree: Tree,
    path: str,
    side: str,
    images: Mapping[str, CocoImage],
    places: Mapping[str, Place],
) -> dict[str, tuple[str, str, str]]:
    """Picture, kind and reason of the problem by image id: one of the first two is empty.

    The file names of one JSON are relative to one folder: searched one by one, the name of a
    missing picture might be found in another folder, and be another picture's.
    """
    # Pictures by the images' ids, by the folder that the file names are relative to.
    starts: dict[str, dict[str, str]] = {}
    found: dict[str, tuple[str, str, str]] = {}
    wanted: dict[str, str] = {}
    for key, parts in _below_a_folder(images).items():
        if not parts:
            reason = (
                f"file_name {images[key].file_name[:100]!r} leaves the data set: expected a path "
                "below the folder of the pictures"
            )
            found[key] = "", "missing_image", reason
            continue
        wanted[key] = "/".join(parts)
        for picture in _of_name(tree, parts[-1]):
            if f"/{picture}".lower().endswith(f"/{wanted[key]}".lower()):
                start = picture[: len(picture) - len(wanted[key])].rstrip("/")
                of_picture = places[picture.rpartition("/")[0]].side
                if not (side and of_picture) or side == of_picture:
                    starts.setdefault(start, {})[key] = picture
    chosen = _choose(tree, path, starts)
    for key, name in wanted.items():
        there = [start for start in chosen if key in starts[start]]
        if there:
            found[key] = starts[there[0]][key], "", ""
        else:
            where = " or ".join(start or "the data set's root" for start in chosen)
            reason = f"{name[:100]!r} is not in {where or tree.where}"
            found[key] = "", "missing_image", reason
    return found


def _below_a_folder(images: Mapping[str, CocoImage]) -> dict[str, list[str]]:
    """The parts of each file name; none if it leaves the data set.

    If all do, they are paths of the machine that wrote them, and count from where they part.
    """
    names = {key: image.file_name.replace("\\", "/") for key, image in images.items()}
    paths = {
        key: [part for part in name.split("/") if part not in ("", ".")]
        for key, name in names.items()
    }
    outside = {key for key, name in names.items() if _OUTSIDE.match(name)}
    outside |= {key for key, parts in paths.items() if ".." in parts}
    if outside == paths.keys():
        levels = zip(*(parts[:-1] for parts in paths.values()), strict=False)
        length = len(list(itertools.takewhile(lambda parts: len(set(parts)) == 1, levels)))
        paths = {key: parts[length:] for key, parts in paths.items()}
        outside = {key for key, parts in paths.items() if ".." in parts}
    return {key: [] if key in outside else parts for key, parts in paths.items()}


def _of_name(tree: Tree, name: str) -> Sequence[str]:
    """The pictures of a name; if there is none, those that differ from it in case alone."""
    same = tree.pictures_by_name.get(name) or tree.pictures_by_lower_name.get(name.lower(), ())
    return same if len({os.path.basename(picture) for picture in same}) == 1 else ()


def _choose(tree: Tree, path: str, starts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The folders that a JSON's names are relative to: one, or several without common names."""
    folder = path.rpartition("/")[0]
    if folder in starts:
        return [folder]
    best = max(map(len, starts.values()), default=0)
    largest = sorted(start for start, keys in starts.items() if len(keys) == best)
    total = sum(map(len, starts.values()))
    if total == len(set().union(*starts.values())):
        return sorted(starts)
    if len(largest) == 1 and best > total - best:
        return largest
    raise UserError(
        f"Expected the pictures of {tree.full(path)} in one folder. Received: pictures with the "
        f"same names in {' and '.join(sorted(starts)[:5])}. Name theirs: --set data.images=FOLDER"
    )


def read_item(
    item: CocoItem, class_from: str = "name", max_megapixels: float = math.inf
) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks one image with its labels.

    Args:
      item: what to read.
      class_from: see `labelling.label`.
      max_megapixels: likewise.

    Yields:
      Once: what is known about it, and the image if it is usable.
    """
    found = Found(item.file, item.image_id, item.picture, item.side)
    try:
        if item.kind:
            raise Unusable(item.kind, item.reason)
        encoded = read_bytes(os.path.join(item.base, item.picture))
        if encoded is None:
            raise Unusable("missing_image", "the picture is gone, or is a folder")
        image = label(
            found,
            encoded,
            functools.partial(_objects, item.objects),
            stated=item.stated,
            class_from=class_from,
            max_megapixels=max_megapixels,
        )
    except Unusable as problem:
        yield unusable(found, problem)
    else:
        yield usable(found, image)


def _objects(objects: tuple[CocoObject, ...], width: int, height: int) -> Objects:
    boxes: list[Box] = []
    for drawn in objects:
        xmin, ymin, xmax, ymax = drawn.box
        boxes.append((ymin / height, xmin / width, ymax / height, xmax / width))
    return Objects(
        boxes, [drawn.name for drawn in objects], crowd=tuple(drawn.crowd for drawn in objects)
    )
