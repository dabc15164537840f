"""COCO JSON: the labels of many pictures in one file, or one for each side of the split.

Pydantic parses and checks the file: its errors name line and column, or the path of the value.
"""

import functools
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import Box, LabelledImage, Unusable, image_id_of
from pipeline.data.readers import Inputs
from pipeline.data.readers.labelling import Found, Objects, label, unusable, usable
from pipeline.data.readers.tree import Place, Tree, read_bytes, side_of
from pipeline.errors import UserError

TITLE = "COCO"
_KEYS = re.compile(rb'"(?:images|annotations|categories)"\s*:\s*\[')
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_HEAD = 1 << 16
_LONGEST_ID = 100
# Files in a message.
_NAMED = 3

_Id = int | str


class _Image(BaseModel):
    id: _Id
    file_name: str = Field(min_length=1)
    width: int | None = None
    height: int | None = None


class _Category(BaseModel):
    id: _Id
    name: str


class _Annotation(BaseModel):
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float] | tuple[()] | None = None
    segmentation: list[list[float]] | dict[str, Any] | None = None
    iscrowd: bool = False


class _Document(BaseModel):
    images: list[Any]
    annotations: list[Any]
    categories: list[_Category]


_IMAGE, _ANNOTATION = TypeAdapter(_Image), TypeAdapter(_Annotation)


class CocoObject(NamedTuple):
    """One annotation: class, box in pixels (xmin, ymin, xmax, ymax), and whether it is a crowd."""

    name: str
    box: tuple[float, float, float, float]
    crowd: bool


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
    documents, items = {}, []
    for path in labels:
        document = _parse(tree, path, may_be_other=len(labels) > 1)
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
    for path, document in documents.items():
        names = _names(tree, path, document)
        items += _items(tree, path, document, names, places)
    # Exports also list a parent of all categories, which no object has.
    classes = {drawn.name for item in items for drawn in item.objects}
    read = functools.partial(read_item, class_from=class_from, max_megapixels=max_megapixels)
    return Inputs(items, read, frozenset(tree.pictures), ignored, classes=sorted(classes))


def _names(tree: Tree, path: str, document: _Document) -> dict[str, str]:
    """The names of the categories by their ids."""
    names: dict[str, str] = {}
    for category in document.categories:
        first = names.setdefault(str(category.id), category.name)
        if first != category.name:
            raise UserError(
                f"Expected one name for each category in {tree.full(path)}. Received: "
                f"{first!r:.60} and {category.name!r:.60} for the id {category.id!r:.60}. Correct "
                "the categories."
            )
    return names


def _of_objects(labels: list[str]) -> tuple[list[str], list[Ignored]]:
    """Of COCO's own download, the files of its object detection task."""
    objects = [path for path in labels if os.path.basename(path).startswith("instances_")]
    if not objects:
        return labels, []
    others = [path for path in labels if path not in objects]
    reason = f"labels of another task than {objects[0]}"
    return objects, [Ignored(path, reason) for path in others]


def _parse(tree: Tree, path: str, may_be_other: bool) -> _Document | None:
    where = tree.full(path)
    try:
        content = read_bytes(where)
        if content is None:
            raise UserError(f"Expected a COCO JSON. Received: {where}, which is gone.")
        data = from_json(content.removeprefix(b"\xef\xbb\xbf"))
        if may_be_other and not (
            isinstance(data, dict) and data.keys() >= {"images", "annotations"}
        ):
            return None
        return _Document.model_validate(data)
    except Unusable as problem:
        raise UserError(f"Expected a COCO JSON. Received: {problem.reason}.") from None
    except ValidationError as error:
        raise UserError(f"Expected a COCO JSON. Received: {where}, {_why(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"Expected a COCO JSON. Received: {where}, which is not JSON: {error}. Nothing in it "
            "can be trusted. Export it again."
        ) from None


def _why(error: ValidationError, prefix: str = "") -> str:
    """The first problem with its place."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}"
                             for part in first["loc"])  # fmt: skip
    received = "" if first["type"] == "missing" else f", received {_short(first['input'])}"
    return f"{place.lstrip('.')}: {first['msg'].lower()}{received}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _items(
    tree: Tree,
    path: str,
    document: _Document,
    names: Mapping[str, str],
    places: Mapping[str, Place],
) -> list[CocoItem]:
    """The images of one JSON file, usable or not."""
    images: dict[str, _Image] = {}
    problems: dict[str, tuple[str, str]] = {}
    items: list[CocoItem] = []
    folder = path.rpartition("/")[0]
    side = _side_of_json(tree, path)

    def broken(what: str, kind: str, reason: str) -> None:
        items.append(CocoItem(tree.base, f"{path}#{what}", "", "", side, None, (), kind, reason))

    several = Counter()
    for number, value in enumerate(document.images):
        try:
            image = _IMAGE.validate_python(value)
        except ValidationError as error:
            broken(f"images[{number}]", "malformed_json", _why(error, f"images[{number}]"))
            continue
        key = str(image.id)
        several[key] += 1
        if several[key] > 1:
            reason = (
                f"{several[key]} images have the id {key[:60]!r}: whose the labels are is unknown"
            )
            problems[key] = "duplicate_id", reason
        images.setdefault(key, image)
    objects: dict[str, list[CocoObject]] = {key: [] for key in images}
    orphans = Counter()
    for number, value in enumerate(document.annotations):
        place = f"annotations[{number}]"
        try:
            annotation = _ANNOTATION.validate_python(value)
        except ValidationError as error:
            key = value.get("image_id") if isinstance(value, dict) else None
            key = str(key) if isinstance(key, int | str) else ""
            if key in images:
                problems.setdefault(key, ("malformed_json", _why(error, place)))
            else:
                broken(place, "malformed_json", _why(error, place))
            continue
        key = str(annotation.image_id)
        if key not in images:
            orphans[key] += 1
            continue
        try:
            objects[key].append(_object(annotation, names, place))
        except Unusable as problem:
            problems.setdefault(key, (problem.kind, problem.reason))
    for key, count in orphans.items():
        reason = f"{count} annotations are of image {key[:60]!r}, which is not among the images"
        broken(_unique(key), "missing_image", reason)
    pictures = _find_pictures(tree, path, folder, side, images, places)
    for key, image in images.items():
        stated = None
        if image.width is not None and image.height is not None:
            stated = (image.width, image.height)
        picture, kind, reason = pictures[key]
        kind, reason = problems.get(key, (kind, reason))
        place = places[picture.rpartition("/")[0]] if picture else Place("", ())
        name = os.path.basename(picture or image.file_name.replace("\\", "/"))
        items.append(
            CocoItem(
                tree.base,
                f"{path}#{_unique(key)}",
                picture,
                "/".join([*place.key, image_id_of(name)]),
                side or place.side,
                stated,
                tuple(objects[key]),
                kind,
                reason,
            )
        )
    return items


def _unique(key: str) -> str:
    """The id, of bounded length."""
    if len(key) <= _LONGEST_ID:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[:_LONGEST_ID]}...{digest}"


def _side_of_json(tree: Tree, path: str) -> str:
    """By the file's name (instances_val2017.json), or that of a folder it is in."""
    return next(filter(None, map(side_of, reversed(tree.relative(path).split("/")))), "")


def _object(annotation: _Annotation, names: Mapping[str, str], place: str) -> CocoObject:
    name = names.get(str(annotation.category_id))
    if name is None:
        raise Unusable(
            "no_class",
            f"{place}.category_id: no category has the id {annotation.category_id!r:.60}",
        )
    if annotation.bbox:
        x, y, width, height = annotation.bbox
        box = (x, y, x + width, y + height)
    elif isinstance(annotation.segmentation, list):
        corners = [polygon for polygon in annotation.segmentation if polygon]
        xs = [value for polygon in corners for value in polygon[::2]]
        ys = [value for polygon in corners for value in polygon[1::2]]
        if not ys or len(xs) != len(ys):
            raise Unusable(
                "malformed_json", f"{place} has no bbox, and no polygon of x, y, x, y ..."
            )
        box = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise Unusable("malformed_json", f"{place} has no bbox, and no polygon to take it from")
    return CocoObject(name, box, annotation.iscrowd)


def _find_pictures(
    tree: Tree,
    path: str,
    folder: str,
    side: str,
    images: Mapping[str, _Image],
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
    for key, image in images.items():
        name = image.file_name.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts or not parts:
            reason = (
                f"file_name {image.file_name[:100]!r} leaves the data set: expected a path below "
                "the folder of the pictures"
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
    chosen = _choose(tree, path, folder, starts)
    for key, name in wanted.items():
        there = [start for start in chosen if key in starts[start]]
        if there:
            found[key] = starts[there[0]][key], "", ""
        else:
            where = " or ".join(start or "the data set's root" for start in chosen)
            reason = f"{name[:100]!r} is not in {where or tree.where}"
            found[key] = "", "missing_image", reason
    return found


def _of_name(tree: Tree, name: str) -> Sequence[str]:
    """The pictures of a name; if there is none, those that differ from it in case alone."""
    same = tree.pictures_by_name.get(name) or tree.pictures_by_lower_name.get(name.lower(), ())
    return same if len({os.path.basename(picture) for picture in same}) == 1 else ()


def _choose(
    tree: Tree, path: str, folder: str, starts: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The folders that a JSON's names are relative to: one, or several without common names."""
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
