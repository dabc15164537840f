"""What one COCO JSON says.

Pydantic parses and checks the file: its errors name line and column, or the path of the value.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from pipeline.data.labelled_image import Unusable
from pipeline.errors import UserError

_LONGEST_ID = 100

_Id = int | str


class CocoImage(BaseModel):
    """An entry of `images`."""

    id: _Id
    file_name: str = Field(min_length=1)
    width: int | None = None
    height: int | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), if the JSON says."""
        return None if self.width is None or self.height is None else (self.width, self.height)


class _Category(BaseModel):
    id: _Id
    name: str


class _Annotation(BaseModel):
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float] | tuple[()] | None = None
    segmentation: list[list[float]] | list[float] | dict[str, Any] | None = None
    iscrowd: bool = False


class _Document(BaseModel):
    images: list[Any]
    annotations: list[Any]
    categories: list[_Category]


_IMAGE, _ANNOTATION = TypeAdapter(CocoImage), TypeAdapter(_Annotation)


class CocoObject(NamedTuple):
    """One annotation: class, box in pixels (xmin, ymin, xmax, ymax), and whether it is a crowd."""

    name: str
    box: tuple[float, float, float, float]
    crowd: bool


class Document(NamedTuple):
    """Images by their ids, as texts, and what is wrong.

    Attributes:
      images: of several with one id, the first.
      objects: of each image.
      problems: (kind, reason) by image that cannot be used.
      strays: (place, kind, reason) of entries that belong to no image.
    """

    images: dict[str, CocoImage]
    objects: dict[str, list[CocoObject]]
    problems: dict[str, tuple[str, str]]
    strays: list[tuple[str, str, str]]


def parse_document(content: bytes, where: str, may_be_other: bool = False) -> Document | None:
    """Reads a COCO JSON.

    Args:
      content: of the file.
      where: its path, for messages.
      may_be_other: whether it may be some other JSON.

    Returns:
      None if it is one.

    Raises:
      UserError: it is not JSON, or not COCO's, or gives a category two names.
    """
    try:
        data = from_json(content.removeprefix(b"\xef\xbb\xbf"))
        if may_be_other and not (
            isinstance(data, dict) and data.keys() >= {"images", "annotations"}
        ):
            return None
        document = _Document.model_validate(data)
    except ValidationError as error:
        raise UserError(f"Expected a COCO JSON. Received: {where}, {_why(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"Expected a COCO JSON. Received: {where}, which is not JSON: {error}. Nothing in it "
            "can be trusted. Export it again."
        ) from None
    names = _names(where, document.categories)
    found = _images(document.images)
    _add_objects(found, document.annotations, names)
    return found


def _names(where: str, categories: list[_Category]) -> dict[str, str]:
    """The names of the categories by their ids."""
    names: dict[str, str] = {}
    for category in categories:
        first = names.setdefault(str(category.id), category.name)
        if first != category.name:
            raise UserError(
                f"Expected one name for each category in {where}. Received: "
                f"{first!r:.60} and {category.name!r:.60} for the id {category.id!r:.60}. Correct "
                "the categories."
            )
    return names


def _images(values: list[Any]) -> Document:
    found = Document({}, {}, {}, [])
    several = Counter()
    for number, value in enumerate(values):
        try:
            image = _IMAGE.validate_python(value)
        except ValidationError as error:
            place = f"images[{number}]"
            found.strays.append((place, "malformed_json", _why(error, place)))
            continue
        key = str(image.id)
        several[key] += 1
        if several[key] > 1:
            reason = (
                f"{several[key]} images have the id {key[:60]!r}: whose the labels are is unknown"
            )
            found.problems[key] = "duplicate_id", reason
        found.images.setdefault(key, image)
        found.objects.setdefault(key, [])
    return found


def _add_objects(found: Document, values: list[Any], names: Mapping[str, str]) -> None:
    orphans = Counter()
    for number, value in enumerate(values):
        place = f"annotations[{number}]"
        try:
            annotation = _ANNOTATION.validate_python(value)
        except ValidationError as error:
            key = value.get("image_id") if isinstance(value, dict) else None
            key = str(key) if isinstance(key, int | str) else ""
            if key in found.images:
                found.problems.setdefault(key, ("malformed_json", _why(error, place)))
            else:
                found.strays.append((place, "malformed_json", _why(error, place)))
            continue
        key = str(annotation.image_id)
        if key not in found.images:
            orphans[key] += 1
            continue
        try:
            found.objects[key].append(_object(annotation, names, place))
        except Unusable as problem:
            found.problems.setdefault(key, (problem.kind, problem.reason))
    for key, count in orphans.items():
        reason = f"{count} annotations are of image {key[:60]!r}, which is not among the images"
        found.strays.append((bounded(key), "missing_image", reason))


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
        polygons = annotation.segmentation
        if polygons and isinstance(polygons[0], float):  # one, as the VGG Image Annotator has it
            polygons = [polygons]
        xs = [value for polygon in polygons for value in polygon[::2]]
        ys = [value for polygon in polygons for value in polygon[1::2]]
        if not ys or len(xs) != len(ys):
            raise Unusable(
                "malformed_json", f"{place} has no bbox, and no polygon of x, y, x, y ..."
            )
        box = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise Unusable("malformed_json", f"{place} has no bbox, and no polygon to take it from")
    return CocoObject(name, box, annotation.iscrowd)


def bounded(key: str) -> str:
    """The id, of bounded length."""
    if len(key) <= _LONGEST_ID:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[:_LONGEST_ID]}...{digest}"


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
