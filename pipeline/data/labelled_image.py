"""A labelled image, whichever format it came in. Pure Python."""

import functools
import hashlib
import json
import os
from dataclasses import dataclass

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".heic", ".avif"),
)

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

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class LabelledImage:
    """A picture that decodes, with its objects.

    Attributes:
      image_id: names the image in the data set and decides its split.
      filename: of the picture, without folders.
      encoded: the picture's file, untouched unless `file_sha256` is given.
      image_format: "jpeg" or "png", by content.
      height: of the decoded picture, pixels.
      width: of the decoded picture, pixels.
      boxes: one an object, 0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1, float32 values.
      names: the class of every box.
      difficult: whether every object is hard to recognise, and counts neither as found nor as
        missed; empty if none is.
      crowd: whether every box is a region of many objects rather than one object, which is neither
        trained on nor evaluated; empty if none is.
      file_sha256: hex digest of the picture's file, if `encoded` is another one.
      turned: whether `encoded` shows it turned upright, as its EXIF data say.
      converted: whether `encoded` has another format than the file, see `conversion`.
      clipped: whether a box left the picture a little, see `checks.check_boxes`.

    Raises:
      ValueError: flags that are not one a box.
    """

    image_id: str
    filename: str
    encoded: bytes
    image_format: str
    height: int
    width: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    difficult: tuple[bool, ...] = ()
    crowd: tuple[bool, ...] = ()
    file_sha256: str = ""
    turned: bool = False
    converted: bool = False
    clipped: bool = False

    def __post_init__(self):
        for name in ("difficult", "crowd"):
            flags = tuple(map(bool, getattr(self, name)))
            if flags and len(flags) != len(self.boxes):
                raise ValueError(
                    f"Expected {name} to be empty, or one flag for each of {len(self.boxes)} "
                    f"boxes. Received: {len(flags)} flags ({self.image_id})."
                )
            # One form for what formats with and without flags say of ordinary objects.
            object.__setattr__(self, name, flags if any(flags) else ())

    @property
    def objects(self) -> tuple[str, ...]:
        """The class of every box that is an object rather than a crowd."""
        if not self.crowd:
            return self.names
        return tuple(name for name, crowd in zip(self.names, self.crowd, strict=True) if not crowd)

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the picture's file, as its owner has it."""
        return self.file_sha256 or hashlib.sha256(self.encoded).hexdigest()

    @property
    def annotation_sha256(self) -> str:
        """Hex digest of boxes, classes and, if any is set, flags, in their order.

        Of what the annotation means rather than of its file: the same labels have the same digest
        in a TFRecord, and in a reformatted XML.
        """
        meaning: list = [self.boxes, self.names]
        if self.difficult or self.crowd:
            meaning.append({"difficult": self.difficult, "crowd": self.crowd})
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()


def image_id_of(filename: str) -> str:
    """Returns the file name without a picture's suffix: `cat_1` for `cat_1.jpg` and `cat_1`."""
    stem, suffix = os.path.splitext(filename)
    return stem if stem and suffix.lower() in PICTURE_SUFFIXES else filename
