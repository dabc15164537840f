"""From what an annotation says of a picture to a checked, labelled image, in any format."""

from collections.abc import Callable
from typing import NamedTuple

from pipeline.data.census import Checked
from pipeline.data.checks import check_boxes, check_names, check_size, decoded_size
from pipeline.data.conversion import make_readable
from pipeline.data.labelled_image import Box, LabelledImage, Unusable
from pipeline.data.orientation import annotated_size, set_upright
from pipeline.data.split import sided_id

# Where the class of an object is from.
BY_NAME, BY_FILENAME = "name", "filename"


class Objects(NamedTuple):
    """The objects of an image, not yet checked.

    Attributes:
      boxes: (ymin, xmin, ymax, xmax), normalised to the image.
      names: the class of every box.
      difficult: a flag for every box, or none; see `LabelledImage`.
      crowd: likewise.
    """

    boxes: list[Box]
    names: list[str]
    difficult: tuple[bool, ...] = ()
    crowd: tuple[bool, ...] = ()


class Found(NamedTuple):
    """What is known about an image before it is read.

    Attributes:
      file: unique in the data set: the annotation's, for messages and reports.
      image_id: without its side.
      picture: the picture's path; "" when unknown.
      side: see `Checked`.
    """

    file: str
    image_id: str
    picture: str
    side: str


def label(
    found: Found,
    encoded: bytes,
    objects_of: Callable[[int, int], Objects],
    *,
    stated: tuple[int, int] | None,
    class_from: str,
    max_megapixels: float,
) -> LabelledImage:
    """Checks a picture and its labels.

    Args:
      found: which image it is.
      encoded: the picture's file.
      objects_of: the labels, given width and height in pixels.
      stated: width and height by the annotation, None when it does not say.
      class_from: "name" for the objects' own, "filename" for that in the picture's name.
      max_megapixels: larger pictures are unusable.

    Raises:
      Unusable: when something is wrong with either.
    """
    encoded, file_sha256 = make_readable(encoded, max_megapixels)
    image_format, width, height = decoded_size(encoded, max_megapixels)
    width, height = annotated_size(stated, (width, height), encoded)
    check_size(stated, (width, height))
    objects = objects_of(width, height)
    names = objects.names
    filename = found.picture.rpartition("/")[2]
    if class_from == BY_FILENAME and objects.boxes:
        names = [class_of_filename(found.image_id.rpartition("/")[2])] * len(objects.boxes)
    boxes, clipped = check_boxes(objects.boxes, width, height)
    stored = LabelledImage(
        image_id=sided_id(found.side, found.image_id),
        filename=filename,
        encoded=encoded,
        image_format=image_format,
        height=height,
        width=width,
        boxes=boxes,
        names=check_names(names, len(objects.boxes)),
        difficult=objects.difficult,
        crowd=objects.crowd,
        file_sha256=file_sha256,
        converted=bool(file_sha256),
        clipped=clipped,
    )
    return set_upright(stored)


def unusable(found: Found, problem: Unusable) -> tuple[Checked, None]:
    """What is reported of an image that cannot be used."""
    checked = Checked(
        file=found.file,
        image_id=sided_id(found.side, found.image_id),
        picture=found.picture,
        side=found.side,
        kind=problem.kind,
        reason=problem.reason,
    )
    return checked, None


def usable(found: Found, image: LabelledImage) -> tuple[Checked, LabelledImage]:
    """What is reported of an image that passed all checks, and the image."""
    return Checked.usable(found.file, found.picture, found.side, image), image


def class_of_filename(image_id: str) -> str:
    """Returns the class in a file name like those of Oxford-IIIT Pets: `american_bulldog_105`.

    Args:
      image_id: file name without suffix; the class is everything before the last underscore.

    Raises:
      Unusable: when there is nothing before an underscore.
    """
    name = image_id.rpartition("_")[0]
    if not name:
        raise Unusable(
            "no_class", f"expected a file name such as pug_12.jpg, received {image_id!r}: no class"
        )
    return name
