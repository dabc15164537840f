"""Pictures that TensorFlow's decoders for training and phones do not take, as PNGs."""

import hashlib
import io
import warnings
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from pipeline.data.checks import check_megapixels
from pipeline.data.labelled_image import Unusable
from pipeline.errors import one_line

_FORMATS = ("BMP", "GIF", "TIFF", "WEBP")
_SIGNATURES = (b"BM", b"GIF8", b"II*\0", b"MM\0*")
# Pillow's modes of 8 bits a channel or less. It would cut off what is brighter in the others.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_ORIENTATION = 0x0112


class Readable(NamedTuple):
    """A picture that everything behind ExampleGen can read.

    Attributes:
      encoded: bytes of a file.
      file_sha256: hex digest of the owner's file, if that is another one; else "".
    """

    encoded: bytes
    file_sha256: str


def make_readable(encoded: bytes, max_megapixels: float) -> Readable:
    """A picture's file itself, or a PNG of it; for arguments and errors see `as_png`."""
    png = as_png(encoded, max_megapixels)
    return Readable(png, hashlib.sha256(encoded).hexdigest()) if png else Readable(encoded, "")


def as_png(encoded: bytes, max_megapixels: float) -> bytes | None:
    """Converts a BMP, GIF, TIFF or WebP picture, without a loss.

    Args:
      encoded: bytes of a file.
      max_megapixels: larger pictures are not decoded.

    Returns:
      A PNG in RGB, without what the file says about transparency; None if the file does not begin
      like any of these.

    Raises:
      Unusable: it is damaged, too large, has several frames or more than 8 bits a channel, or its
        EXIF data turn it.
    """
    is_webp = encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP"
    if not encoded.startswith(_SIGNATURES) and not is_webp:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of large pictures
            warnings.simplefilter("ignore", UserWarning)  # of odd EXIF data
            with Image.open(io.BytesIO(encoded), formats=_FORMATS) as picture:
                _check(picture, max_megapixels)
                png = io.BytesIO()
                picture.convert("RGB").save(png, "PNG")
    except UnidentifiedImageError:
        reason = f"the file begins like a {' or '.join(_FORMATS)}, and is none"
        raise Unusable("unreadable_image", reason) from None
    except Image.DecompressionBombError as error:
        raise Unusable("too_large", one_line(error)) from None
    except Unusable:
        raise
    except Exception as error:  # whatever damage makes Pillow say
        reason = f"the picture does not decode: {one_line(error)}"
        raise Unusable("unreadable_image", reason) from None
    return png.getvalue()


def _check(picture: Image.Image, max_megapixels: float) -> None:
    check_megapixels(*picture.size, max_megapixels)
    what = f"this {picture.format}"
    if getattr(picture, "n_frames", 1) > 1:
        raise Unusable(
            "several_frames", f"expected one picture, {what} has {picture.n_frames} frames"
        )
    if picture.mode not in _EIGHT_BITS:
        raise Unusable(
            "deep_colour",
            f"expected 8 bits a channel, {what} has Pillow's mode {picture.mode}: which of its "
            "values are black and white is for you to say; save it as a PNG or a JPEG",
        )
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        raise Unusable(
            "turned", f"the EXIF data turn {what}, which is done for JPEGs alone: save it as one"
        )
