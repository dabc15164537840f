"""Decodes and resizes pictures, in the same way for training, evaluation and serving.

TensorFlow only, because it is part of input pipelines; works in graphs and eagerly.

Cameras store a photograph as the sensor lies, and say in its EXIF data how to turn it. Everybody
shows the upright picture, and apps get upright frames from a camera. So ExampleGen turns such
photographs once (`pipeline/data/orientation.py`), and nothing behind it needs to ask.
"""

import struct

import numpy as np
import tensorflow as tf

# EXIF data begin in the first segments of a file, each of which has at most 64 kB.
_EXIF, _EXIF_WITHIN = b"Exif\0\0", 1 << 17
_ORIENTATION, _SHORT = 0x0112, 3
# By EXIF orientation: whether to swap lines and columns, and then which axes to reverse.
_TURNS = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG file, grayscale and CMYK included, into RGB.

    Args:
      encoded: scalar string, the bytes of the file.

    Returns:
      uint8 [height, width, 3], RGB, as it is stored: see `upright` for EXIF orientation.

    Raises:
      tf.errors.InvalidArgumentError: when the bytes cannot be decoded.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes to a square, ignoring the aspect ratio, so normalised boxes stay as they are.

    Bilinear with antialiasing: shrinking a photograph without it keeps one pixel in many, and
    phones shrink their frames with an area or mip-mapped filter.

    Args:
      image: [height, width, 3], any numeric dtype, values 0..255.
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3].
    """
    resized = tf.image.resize(image, [size, size], method="bilinear", antialias=True)
    resized = tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)
    return tf.ensure_shape(resized, [size, size, 3])


def encode_canvas(image: tf.Tensor) -> tf.Tensor:
    """Compresses a picture that training reads again and again.

    A JPEG of quality 95 with whole chroma has a sixth of the bytes of the pixels. Measured on 67
    photographs of pets, resized to 384x384, November 2026: 70 kB each, and a PSNR of 43.7 dB (the
    worst 36.4), where quality 97 has 46.0 dB in 91 kB, and quality 90 has 40.9 dB in 47 kB. Of
    the difference, augmented views of 300x300 keep 0.7 of 255 levels (48 dB), without a bias.

    Args:
      image: uint8 [height, width, 3], RGB.

    Returns:
      Scalar string, for `decode_canvas`.
    """
    return tf.io.encode_jpeg(image, "rgb", quality=95, chroma_downsampling=False)


def decode_canvas(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes what `encode_canvas` compressed: uint8 [height, width, 3], RGB.

    With the accurate transform: TensorFlow's default is the fast one, whose rounding darkens these
    pictures by 0.8 of 255 levels, and costs 3 dB of PSNR. Both take 0.7 ms.
    """
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, [None, None, 3])


def decode_and_resize(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """`decode_image`, then `resize`: bytes of a file to uint8 [size, size, 3]."""
    return resize(decode_image(encoded), size)


def orientation_of(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG file, 1 to 8; 1, which is upright, if it says none.

    Files without EXIF data cost a search of their first bytes. PNG files have no orientation that
    viewers agree on.
    """
    start = encoded.find(_EXIF, 0, _EXIF_WITHIN) if encoded.startswith(b"\xff\xd8") else -1
    tiff = encoded[start + len(_EXIF) :][:_EXIF_WITHIN] if start >= 0 else b""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}4xI", tiff)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(count):
            entry = directory + 2 + 12 * number
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return value if value in _TURNS else 1
    except struct.error:  # damaged, and decoders do not care
        pass
    return 1


def swaps_sides(orientation: int) -> bool:
    """Whether the upright picture is as wide as the stored one is high."""
    return orientation in _TURNS and _TURNS[orientation][0]


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored picture, [height, width, ...], as its EXIF orientation says."""
    swap, axes = _TURNS.get(orientation, (False, ()))
    return np.flip(image.swapaxes(0, 1) if swap else image, axes)


def upright_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """The same for boxes, float32 [n, 4] (ymin, xmin, ymax, xmax), normalised to the picture."""
    swap, axes = _TURNS.get(orientation, (False, ()))
    corners = boxes.reshape(-1, 2, 2)  # [n, (min, max), (y, x)]
    corners = corners[..., ::-1] if swap else corners
    for axis in axes:
        turned = corners.copy()
        turned[..., axis] = 1 - corners[:, ::-1, axis]
        corners = turned
    return corners.reshape(-1, 4)
