"""What an input must become before it is an example, whichever format it came in. Pure Python."""

import hashlib
import json
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")

# (ymin, xmin, ymax, xmax), normalised to the image.
Box = tuple[float, float, float, float]

# Writers of TFRecords divide in float32; that may end this far outside of 0..1.
_ROUNDING = 1e-6


class Unusable(Exception):
    """An input that can't become an example.

    Attributes:
      kind: the sort of reason, a short name to count by, such as "box_outside".
      reason: one sentence for the person who has to mend the file.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True)
class LabelledImage:
    """A picture that decodes, with its objects.

    Attributes:
      image_id: names the image in the data set and decides its split.
      filename: of the picture, without folders.
      encoded: the picture's file, untouched.
      image_format: "jpeg" or "png", by content.
      height: of the decoded picture, pixels.
      width: of the decoded picture, pixels.
      boxes: one an object, 0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1, float32 values.
      names: the class of every box.
    """

    image_id: str
    filename: str
    encoded: bytes
    image_format: str
    height: int
    width: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hex digest of the picture's file."""
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def annotation_sha256(self) -> str:
        """Hex digest of boxes and classes, in their order.

        Of the meaning and not of the XML file, so that the same labels have the same digest in
        a TFRecord, and a reformatted XML is no other annotation.
        """
        meaning = json.dumps([self.boxes, self.names])
        return hashlib.sha256(meaning.encode()).hexdigest()


def image_id_of(filename: str) -> str:
    """Returns the file name without a picture's suffix: `cat_1.jpg` and `cat_1` are one image."""
    stem, suffix = os.path.splitext(filename)
    return stem if stem and suffix.lower() in PICTURE_SUFFIXES else filename


def sniff_format(encoded: bytes) -> str:
    """Returns "jpeg" or "png" by the first bytes, whatever the file's name says.

    Raises:
      Unusable: when it is neither.
    """
    if encoded.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        raise Unusable("gif", "expected a JPEG or a PNG picture, received a GIF (by its content)")
    if not encoded:
        raise Unusable("unreadable_image", "the picture's file is empty")
    raise Unusable(
        "unknown_format",
        f"expected a JPEG or a PNG picture, received a file that starts with {encoded[:8]!r}",
    )


def check_size(stated: tuple[int, int] | None, true: tuple[int, int]) -> None:
    """Checks a size that came with the picture, (width, height) in pixels, against the true one.

    Raises:
      Unusable: when they differ: the boxes belong to another version of this picture.
    """
    if stated is None or stated == true:
        return
    hint = ""
    if stated == true[::-1]:
        hint = "; width and height are swapped, as if the boxes were drawn on a turned picture"
    raise Unusable(
        "size_mismatch",
        f"the annotation says {stated[0]}x{stated[1]} pixels, the picture has "
        f"{true[0]}x{true[1]}{hint}",
    )


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def check_boxes(boxes: Sequence[Box], width: int, height: int) -> tuple[Box, ...]:
    """Checks normalised boxes (ymin, xmin, ymax, xmax).

    Args:
      boxes: as annotated.
      width: of the picture in pixels, for the message only.
      height: likewise.

    Returns:
      The boxes, rounded to float32 and clipped to 0..1 where only rounding led outside.

    Raises:
      Unusable: when a box isn't finite, reaches outside of the picture, or has no area.
    """
    return tuple(_check_box(number, box, width, height) for number, box in enumerate(boxes, 1))


def _check_box(number: int, box: Box, width: int, height: int) -> Box:
    if not all(math.isfinite(edge) for edge in box):
        raise Unusable("box_not_finite", f"box {number} is not finite: {box}")
    ymin, xmin, ymax, xmax = (
        _float32(min(max(edge, 0.0), 1.0)) if -_ROUNDING <= edge <= 1 + _ROUNDING else edge
        for edge in box
    )
    where = (
        f"box {number}, xmin={xmin * width:.5g} ymin={ymin * height:.5g} "
        f"xmax={xmax * width:.5g} ymax={ymax * height:.5g} in pixels,"
    )
    if min(ymin, xmin, ymax, xmax) < 0 or max(ymin, xmin, ymax, xmax) > 1:
        raise Unusable("box_outside", f"{where} reaches outside of the {width}x{height} picture")
    if ymin >= ymax or xmin >= xmax:
        raise Unusable("box_empty", f"{where} has no area: it needs xmin < xmax and ymin < ymax")
    return ymin, xmin, ymax, xmax


def check_names(names: Sequence[str], num_boxes: int) -> tuple[str, ...]:
    """Checks that every box has a class.

    Raises:
      Unusable: when the counts differ or a class is blank.
    """
    stripped = tuple(name.strip() for name in names)
    if len(stripped) != num_boxes:
        raise Unusable("no_class", f"{num_boxes} boxes have {len(stripped)} class names")
    if not all(stripped):
        raise Unusable("no_class", f"box {stripped.index('') + 1} has no class name")
    return stripped
