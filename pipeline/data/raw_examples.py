"""Reads pictures out of the raw examples, one split at a time."""

import tensorflow as tf
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from pipeline import features


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
