"""The last checks of an input, with TensorFlow's eyes, and its way into a tf.Example."""

import re

import tensorflow as tf

from models.image import decode_image
from pipeline import features
from pipeline.data.labelled_image import LabelledImage, Unusable, sniff_format

# TensorFlow puts the node before the cause and the op behind it.
_TF_NOISE = re.compile(r"\{\{.*?\}\}|\[Op:.*", re.DOTALL)


def decoded_size(encoded: bytes) -> tuple[str, int, int]:
    """Decodes a picture with the function that Transform and serving use.

    A picture that passes here can't stop Transform later.

    Args:
      encoded: bytes of the file.

    Returns:
      Format ("jpeg" or "png"), width and height in pixels.

    Raises:
      Unusable: when it is no JPEG or PNG, or doesn't decode.
    """
    image_format = sniff_format(encoded)
    try:
        height, width, _ = decode_image(tf.constant(encoded)).shape
    except tf.errors.OpError as error:
        cause = _TF_NOISE.sub("", error.message).strip().splitlines()[0]
        raise Unusable(
            "unreadable_image", f"the {image_format.upper()} does not decode: {cause[:200]}"
        ) from None
    return image_format, width, height


def _bytes(*values: str | bytes) -> tf.train.Feature:
    # A file name that isn't UTF-8 comes out as the bytes that it has on the disk.
    raw = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def to_example(image: LabelledImage) -> tf.train.Example:
    """Returns the raw example, with the features that `pipeline/features.py` describes."""
    feature = {
        features.IMAGE_ENCODED: _bytes(image.encoded),
        features.IMAGE_FORMAT: _bytes(image.image_format),
        features.IMAGE_FILENAME: _bytes(image.filename),
        features.SOURCE_ID: _bytes(image.image_id),
        features.IMAGE_SHA256: _bytes(image.sha256),
        features.IMAGE_HEIGHT: _int64(image.height),
        features.IMAGE_WIDTH: _int64(image.width),
        features.CLASS_TEXT: _bytes(*image.names),
    }
    for position, key in enumerate(features.BOX):
        edges = [box[position] for box in image.boxes]
        feature[key] = tf.train.Feature(float_list=tf.train.FloatList(value=edges))
    return tf.train.Example(features=tf.train.Features(feature=feature))
