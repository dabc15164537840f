"""The raw example: a labelled image as a tf.Example, and its picture back out of it."""

import tensorflow as tf
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from pipeline import features
from pipeline.data.labelled_image import LabelledImage


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


def _bytes(*values: str | bytes) -> tf.train.Feature:
    # A file name that is not UTF-8 becomes the bytes that it has on the disk.
    raw = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def encoded_pictures(examples: Artifact, split: str, count: int) -> list[bytes]:
    """The first pictures of a split.

    Args:
      examples: a raw Examples artifact.
      split: "train" or "eval".
      count: how many, fewer if there are fewer.

    Returns:
      The bytes of JPEG or PNG files.
    """
    files = io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split))
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(files)), compression_type="GZIP")
    return [
        tf.train.Example.FromString(record)
        .features.feature[features.IMAGE_ENCODED]
        .bytes_list.value[0]
        for record in records.take(count).as_numpy_iterator()
    ]
