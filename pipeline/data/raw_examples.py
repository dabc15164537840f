"""Reads labelled pictures out of the raw examples, one split at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from pipeline import features


class LabelledPicture(NamedTuple):
    """A picture as it was found, and its objects.

    Attributes:
      encoded: the bytes of a JPEG or PNG file.
      boxes: float32 [n, 4] (ymin, xmin, ymax, xmax), normalised to the picture.
      labels: the names of their classes, n of them.
    """

    encoded: bytes
    boxes: np.ndarray
    labels: list[str]


def labelled_pictures(examples: Artifact, split: str, count: int) -> Iterator[LabelledPicture]:
    """Yields the first pictures of a split.

    Args:
      examples: a raw Examples artifact.
      split: "train" or "eval".
      count: how many, fewer if there are fewer.
    """
    files = io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split))
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(files)), compression_type="GZIP")
    for record in records.take(count).as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        encoded = example.features.feature[features.IMAGE_ENCODED].bytes_list.value[0]
        yield LabelledPicture(encoded, *read_objects(example))


def read_objects(example: tf.train.Example) -> tuple[np.ndarray, list[str]]:
    """The boxes and labels of a raw example, as in `LabelledPicture`."""
    values = example.features.feature
    columns = [np.array(values[key].float_list.value, np.float32) for key in features.BOX]
    labels = [text.decode() for text in values[features.CLASS_TEXT].bytes_list.value]
    return np.stack(columns, axis=1), labels
