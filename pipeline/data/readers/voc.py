"""Pascal VOC folders: finds the annotations and their pictures, and reads them."""

import functools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.data.census import Checked, Ignored
from pipeline.data.checks import check_boxes, check_names, check_size, decoded_size
from pipeline.data.input_patterns import is_special
from pipeline.data.labelled_image import PICTURE_SUFFIXES, LabelledImage, Unusable, image_id_of
from pipeline.data.orientation import annotated_size, set_upright
from pipeline.data.readers import Inputs
from pipeline.data.readers.voc_annotation import class_of_filename, parse_annotation
from pipeline.data.split import SIDES, sided_id
from pipeline.errors import UserError

IMAGE_FOLDERS = ("images", "JPEGImages")
ANNOTATION_FOLDERS = ("annotations/xmls", "Annotations")


@dataclass(frozen=True)
class Layout:
    """Folders of a VOC data set, relative to its root."""

    images: str
    annotations: str


@dataclass(frozen=True)
class VocItem:
    """One annotation to read; paths are relative to `base`.

    Attributes:
      base: the data set's root.
      annotation: the XML.
      images: the folder of pictures.
      namesakes: pictures there with the XML's stem, in case its <filename> does not exist.
      side: "train", "eval", or empty when the split is not given by folders.
    """

    base: str
    annotation: str
    images: str
    namesakes: tuple[str, ...]
    side: str


def find_layout(root: str) -> Layout:
    """Finds the folders of pictures and of annotations.

    Raises:
      UserError: when the root, its pictures or its annotations do not exist.
    """
    if not fileio.isdir(root):
        raise UserError(
            f"Expected a folder in Pascal VOC layout. Received: {root}, which is not a folder. "
            "Check the path; for TFRecord files, pass --format tfrecord."
        )
    found = []
    for what, names in (("pictures", IMAGE_FOLDERS), ("annotations", ANNOTATION_FOLDERS)):
        name = next((name for name in names if fileio.isdir(os.path.join(root, name))), None)
        if name is None:
            raise UserError(
                f"Expected {what} in {names[0]}/ or {names[1]}/ of {root}. Received: a folder "
                "with neither. Move or link the files there."
            )
        found.append(name)
    return Layout(*found)


def resolve_layout(root: str, images: str | None, annotations: str | None) -> Layout:
    """Returns the folders that the user named, or else those that are there.

    Raises:
      UserError: when only one is named, or when none is named and they do not exist.
    """
    if images and annotations:
        return Layout(images.strip("/"), annotations.strip("/"))
    if images or annotations:
        raise UserError(
            "Expected images and annotations together, or neither. Received: "
            f"images={images}, annotations={annotations}."
        )
    return find_layout(root)


def require_utf8_names(root: str, layout: Layout) -> None:
    """Rejects local files on whose names the driver's glob would fail with a UnicodeDecodeError.

    Raises:
      UserError: names the first one.
    """
    for folder in (layout.images, layout.annotations):
        path = os.path.join(root, folder)
        names = os.listdir(path) if os.path.isdir(path) else []
        broken = [name for name in names if not _is_utf8(name)]
        if broken:
            raise UserError(
                f"Expected file names in UTF-8. Received: {len(broken)} others in {path}, the "
                f"first is {os.fsencode(broken[0])!r}. Rename them."
            )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_annotations(
    base: str,
    patterns: Mapping[str, str],
    class_from: str,
    max_megapixels: float = math.inf,
) -> Inputs:
    """Pairs the annotations of Pascal VOC folders with the pictures beside them.

    Args:
      base: root that the patterns are relative to.
      patterns: `FOLDER/*` by group: `images` and `annotations`, or the same two with the prefixes
        `train_` and `eval_`.
      class_from: see `read_annotation`.
      max_megapixels: likewise.

    Raises:
      UserError: when a folder does not exist.
    """
    items: list[VocItem] = []
    pictures: set[str] = set()
    ignored: list[Ignored] = []
    for side in SIDES if "train_images" in patterns else ("",):
        prefix = f"{side}_" if side else ""
        images = os.path.dirname(patterns[f"{prefix}images"])
        annotations = os.path.dirname(patterns[f"{prefix}annotations"])
        by_stem: dict[str, list[str]] = {}
        for name in _list_folder(os.path.join(base, images)):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in PICTURE_SUFFIXES and not name.startswith("."):
                by_stem.setdefault(stem, []).append(name)
                pictures.add(os.path.join(images, name))
            else:
                ignored.append(_ignored(base, os.path.join(images, name), "not a picture"))
        for name in _list_folder(os.path.join(base, annotations)):
            stem, suffix = os.path.splitext(name)
            path = os.path.join(annotations, name)
            if suffix.lower() == ".xml" and not name.startswith("."):
                items.append(VocItem(base, path, images, tuple(by_stem.get(stem, ())), side))
            else:
                ignored.append(_ignored(base, path, "not an annotation"))
    read = functools.partial(read_annotation, class_from=class_from, max_megapixels=max_megapixels)
    return Inputs(items, read, frozenset(pictures), ignored)


def _list_folder(folder: str) -> list[str]:
    try:
        # Object stores end the names of folders in a slash.
        return sorted(name.rstrip("/") for name in fileio.listdir(folder))
    except (fileio.NotFoundError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        raise UserError(
            f"Expected a folder. Received: {folder}, which does not exist. Check the path, "
            "data.images and data.annotations."
        ) from None


def _ignored(base: str, path: str, reason: str) -> Ignored:
    # Folders rarely have a suffix: this saves asking the file system about every stray file.
    if not os.path.splitext(path)[1] and fileio.isdir(os.path.join(base, path)):
        reason = "a folder; subfolders are not searched"
    return Ignored(path, reason)


def read_annotation(
    item: VocItem, class_from: str, max_megapixels: float = math.inf
) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks one annotation with its picture.

    Args:
      item: what to read.
      class_from: "name" for the objects' `<name>`, "filename" for the picture's file name.
      max_megapixels: larger pictures are unusable.

    Yields:
      Once: what is known about it, and the image if it is usable.
    """
    picture = item.namesakes[0] if item.namesakes else ""
    image_id = os.path.splitext(os.path.basename(item.annotation))[0]
    try:
        xml = _read_bytes(os.path.join(item.base, item.annotation))
        if xml is None:
            raise Unusable("unreadable_file", "the annotation is gone, or is a folder")
        annotation = parse_annotation(xml)
        picture, encoded = _find_picture(item, annotation.filename)
        image_id = image_id_of(picture)
        image_format, width, height = decoded_size(encoded, max_megapixels)
        width, height = annotated_size(annotation.size, (width, height), encoded)
        check_size(annotation.size, (width, height))
        boxes = [drawn.normalised(width, height) for drawn in annotation.objects]
        if class_from == "filename" and boxes:
            names = [class_of_filename(image_id)] * len(boxes)
        else:
            names = [drawn.name for drawn in annotation.objects]
        stored = LabelledImage(
            image_id=sided_id(item.side, image_id),
            filename=picture,
            encoded=encoded,
            image_format=image_format,
            height=height,
            width=width,
            boxes=check_boxes(boxes, width, height),
            names=check_names(names, len(boxes)),
            difficult=tuple(drawn.difficult for drawn in annotation.objects),
        )
        image = set_upright(stored)
    except Unusable as problem:
        yield (
            Checked(
                file=item.annotation,
                image_id=sided_id(item.side, image_id),
                picture=os.path.join(item.images, picture) if picture else "",
                side=item.side,
                kind=problem.kind,
                reason=problem.reason,
            ),
            None,
        )
    else:
        path = os.path.join(item.images, picture)
        yield Checked.usable(item.annotation, path, item.side, image), image


def _find_picture(item: VocItem, filename: str | None) -> tuple[str, bytes]:
    """Returns name and bytes of the picture that an annotation belongs to."""
    folder = os.path.join(item.base, item.images)
    if filename is not None:
        encoded = _read_bytes(os.path.join(folder, filename))
        if encoded is not None:
            return filename, encoded
    if len(item.namesakes) > 1:
        raise Unusable(
            "missing_image",
            f"<filename> {filename!r} does not exist in {item.images}, and several pictures share "
            f"the annotation's name: {', '.join(item.namesakes)}",
        )
    for namesake in item.namesakes:
        encoded = _read_bytes(os.path.join(folder, namesake))
        if encoded is not None:
            return namesake, encoded
    raise Unusable(
        "missing_image",
        f"{item.images} has neither the <filename> {filename!r} nor a picture with the "
        "annotation's own name",
    )


def _read_bytes(path: str) -> bytes | None:
    """Returns a file's bytes, None when there is no such file."""
    if is_special(path):
        raise Unusable("unreadable_file", f"{path} is a pipe or a device")
    try:
        with fileio.open(path, "rb") as file:
            return file.read()
    # Each file system raises its own error for a missing file, or a folder in its place.
    except (fileio.NotFoundError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return None
    except (OSError, tf.errors.OpError) as error:
        raise Unusable("unreadable_file", f"{path} can't be read: {error}") from None
