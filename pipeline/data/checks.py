"""The checks that every input must pass, whichever format it came in."""

import math
import re
import struct
from collections.abc import Sequence

import tensorflow as tf

from models.image import decode_image
from models.labels import is_fit
from pipeline.data.labelled_image import Box, Unusable

# The share of its side that a box may leave a picture by, or a pixel if that is more: labelling
# tools round, count from 1, and follow the mouse. Further outside, it is another picture's box.
_MOST_OUTSIDE = 0.01
# Pixels that the digits of a format alone move an edge by, which is not worth a word.
_ROUNDING = 0.1
# TensorFlow wraps the cause of an error in the names of the node and the op.
_TF_NOISE = re.compile(r"\{\{.*?\}\}|\[Op:.*", re.DOTALL)


def sniff_format(encoded: bytes) -> str:
    """Returns "jpeg" or "png" by the first bytes, whatever the file's name says.

    Raises:
      Unusable: when it is neither.
    """
    if encoded.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if not encoded:
        raise Unusable("unreadable_image", "the picture's file is empty")
    raise Unusable(
        "unknown_format",
        "expected a JPEG, PNG, BMP, GIF, TIFF or WebP picture, received a file that starts with "
        f"{encoded[:8]!r}",
    )


def decoded_size(encoded: bytes, max_megapixels: float) -> tuple[str, int, int]:
    """Makes sure that a picture decodes, with the decoders that Transform and serving use.

    A picture that passes here cannot stop Transform later. Of a JPEG, all of the file is read, but
    only an eighth of the lines and columns are computed, which saves a third of the time: a file is
    damaged in its headers and its entropy-coded data, not in the arithmetic that follows.

    Args:
      encoded: bytes of the file.
      max_megapixels: larger pictures are not decoded, because that could take all memory.

    Returns:
      Format ("jpeg" or "png"), width and height in pixels.

    Raises:
      Unusable: when it is neither JPEG nor PNG, too large, or does not decode.
    """
    image_format = sniff_format(encoded)
    try:
        file = tf.constant(encoded)
        height, width = _stated_size(encoded, file, image_format)
        check_megapixels(width, height, max_megapixels)
        if image_format == "jpeg":
            tf.io.decode_jpeg(file, channels=3, ratio=8)
        else:
            decode_image(file)
    except tf.errors.OpError as error:
        cause = _TF_NOISE.sub("", error.message).strip().splitlines()[0]
        raise Unusable(
            "unreadable_image", f"the {image_format.upper()} does not decode: {cause[:200]}"
        ) from None
    return image_format, width, height


def check_megapixels(width: int, height: int, limit: float) -> None:
    """Checks that so many pixels may be decoded.

    Raises:
      Unusable: when they are more.
    """
    if height * width > 1e6 * limit:
        raise Unusable(
            "too_large",
            f"{width}x{height} pixels are {height * width / 1e6:.4g} megapixels; the limit is "
            f"{limit:.4g} (data.max_megapixels)",
        )


def _stated_size(encoded: bytes, file: tf.Tensor, image_format: str) -> tuple[int, int]:
    """Height and width in the header; zeros if a PNG has none, which then does not decode."""
    if image_format == "jpeg":
        height, width, _ = tf.image.extract_jpeg_shape(file).numpy().tolist()
        return height, width
    # Length and type of the first chunk follow the signature.
    width, height = struct.unpack(">II", encoded[16:24].ljust(8, b"\0"))
    return height, width


def check_size(stated: tuple[int, int] | None, true: tuple[int, int]) -> None:
    """Checks the annotated size, (width, height) in pixels, against the true one.

    Raises:
      Unusable: when they differ, because the boxes belong to another version of the picture.
    """
    if stated in (None, (0, 0), true):  # old versions of LabelImg state zeros
        return
    hint = ""
    if stated == true[::-1]:
        hint = "; width and height are swapped, as if the boxes were drawn on a rotated picture"
    raise Unusable(
        "size_mismatch",
        f"the annotation says {stated[0]}x{stated[1]} pixels, the picture has "
        f"{true[0]}x{true[1]}{hint}",
    )


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def check_boxes(boxes: Sequence[Box], width: int, height: int) -> tuple[tuple[Box, ...], bool]:
    """Checks normalised boxes (ymin, xmin, ymax, xmax).

    Args:
      boxes: as annotated.
      width: of the picture in pixels.
      height: likewise.

    Returns:
      The boxes, rounded to float32, and clipped where they leave the picture by at most a pixel or
      a hundredth of its side; and whether any was clipped by more than a format's digits.

    Raises:
      Unusable: when a box is not finite, extends further outside the picture, or has no area.
    """
    checked = [_check_box(number, box, width, height) for number, box in enumerate(boxes, 1)]
    return tuple(box for box, _ in checked), any(clipped for _, clipped in checked)


def _check_box(number: int, box: Box, width: int, height: int) -> tuple[Box, bool]:
    if not all(math.isfinite(edge) for edge in box):
        raise Unusable("box_not_finite", f"box {number} is not finite: {box}")
    ymin, xmin, ymax, xmax = box
    where = (
        f"box {number}, xmin={xmin * width:.5g} ymin={ymin * height:.5g} "
        f"xmax={xmax * width:.5g} ymax={ymax * height:.5g} in pixels,"
    )
    sizes = (height, width, height, width)
    outside = [max(-edge, edge - 1) * size for edge, size in zip(box, sizes, strict=True)]
    if any(
        by > max(1, _MOST_OUTSIDE * size) + _ROUNDING
        for by, size in zip(outside, sizes, strict=True)
    ):
        raise Unusable("box_outside", f"{where} extends outside the {width}x{height} picture")
    ymin, xmin, ymax, xmax = (_float32(min(max(edge, 0.0), 1.0)) for edge in box)
    if ymin >= ymax or xmin >= xmax:
        raise Unusable(
            "box_empty",
            f"{where} has no area in the picture: it needs xmin < xmax and ymin < ymax",
        )
    return (ymin, xmin, ymax, xmax), max(outside) > _ROUNDING


def check_names(names: Sequence[str], num_boxes: int) -> tuple[str, ...]:
    """Checks that every box has a class that a label file can hold.

    Raises:
      Unusable: when the counts differ, a class is blank, or has a line break or another control
        character.
    """
    stripped = tuple(name.strip() for name in names)
    if len(stripped) != num_boxes:
        raise Unusable("no_class", f"{num_boxes} boxes have {len(stripped)} class names")
    if not all(stripped):
        raise Unusable("no_class", f"box {stripped.index('') + 1} has no class name")
    for number, name in enumerate(stripped, 1):
        if not is_fit(name):
            raise Unusable(
                "unfit_class",
                f"box {number} has the class {name!r}, with a line break or control character",
            )
    return stripped
