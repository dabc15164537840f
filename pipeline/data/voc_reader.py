"""From one VOC annotation to a checked, labelled image: what a Beam worker runs."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf
from tfx.dsl.io import fileio

from pipeline.data.census import Checked
from pipeline.data.checks import decoded_size
from pipeline.data.labelled_image import (
    LabelledImage,
    Unusable,
    check_boxes,
    check_names,
    check_size,
    image_id_of,
)
from pipeline.data.split import sided_id
from pipeline.data.voc import class_of_filename, parse_annotation


@dataclass(frozen=True)
class VocItem:
    """One annotation to read; paths are relative to `base`.

    Attributes:
      base: the data set's root.
      annotation: the XML.
      images: the folder of pictures.
      namesakes: pictures there with the XML's stem, for an XML that names none that exists.
      side: "train", "eval", or empty when the split is not given by folders.
    """

    base: str
    annotation: str
    images: str
    namesakes: tuple[str, ...]
    side: str


def _read_bytes(path: str) -> bytes | None:
    """Returns a file's bytes, None when there is no such file."""
    try:
        with fileio.open(path, "rb") as file:
            return file.read()
    # Which of these it is depends on the file system; a folder in its place is no file either.
    except (fileio.NotFoundError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return None
    except (OSError, tf.errors.OpError) as error:
        raise Unusable("unreadable_file", f"{path} can't be read: {error}") from None


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
        f"no picture directly in {item.images}: neither the <filename> {filename!r} nor one with "
        "the annotation's own name",
    )


def read_voc(item: VocItem, class_from: str) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks one annotation with its picture.

    Args:
      item: what to read.
      class_from: "name" for the objects' `<name>`, "filename" for the picture's file name.

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
        image_format, width, height = decoded_size(encoded)
        check_size(annotation.size, (width, height))
        boxes = [drawn.normalised(width, height) for drawn in annotation.objects]
        if class_from == "filename" and boxes:
            names = [class_of_filename(image_id)] * len(boxes)
        else:
            names = [drawn.name for drawn in annotation.objects]
        image = LabelledImage(
            image_id=sided_id(item.side, image_id),
            filename=picture,
            encoded=encoded,
            image_format=image_format,
            height=height,
            width=width,
            boxes=check_boxes(boxes, width, height),
            names=check_names(names, len(boxes)),
        )
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
