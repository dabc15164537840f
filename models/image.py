"""Decodes and resizes pictures, in the same way for training, evaluation and serving.

TensorFlow only, because it is part of input pipelines; works in graphs and eagerly.
"""

import tensorflow as tf


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG file, grayscale and CMYK included, into RGB.

    Args:
      encoded: scalar string, the bytes of the file.

    Returns:
      uint8 [height, width, 3], RGB. EXIF orientation is not applied: boxes are given in the
      pixels as they are stored.

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


def decode_and_resize(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """`decode_image`, then `resize`: bytes of a file to uint8 [size, size, 3]."""
    return resize(decode_image(encoded), size)
