"""A labelled image, whichever format it came in. Pure Python."""

import functools
import hashlib
import json
import os
from dataclasses import dataclass

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")

# Of a reason, in characters: what was received may have any length.
_REASON_BEGIN, _REASON_END = 300, 100

# (ymin, xmin, ymax, xmax), normalised to the image.
Box = tuple[float, float, float, float]


class Unusable(Exception):
    """An input that cannot become an example.

    Attributes:
      kind: a short name to count by, such as "box_outside".
      reason: one sentence for the person who must fix the file; shortened if it is long.
    """

    def __init__(self, kind: str, reason: str):
        if len(reason) > _REASON_BEGIN + _REASON_END:
            reason = f"{reason[:_REASON_BEGIN]} ... {reason[-_REASON_END:]}"
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

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the picture's file."""
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def annotation_sha256(self) -> str:
        """Hex digest of boxes and classes, in their order.

        Of what the annotation means rather than of its file: the same labels have the same digest
        in a TFRecord, and in a reformatted XML.
        """
        meaning = json.dumps([self.boxes, self.names])
        return hashlib.sha256(meaning.encode()).hexdigest()


def image_id_of(filename: str) -> str:
    """Returns the file name without a picture's suffix: `cat_1` for `cat_1.jpg` and `cat_1`."""
    stem, suffix = os.path.splitext(filename)
    return stem if stem and suffix.lower() in PICTURE_SUFFIXES else filename
