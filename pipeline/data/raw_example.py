"""The raw example: a labelled image as a tf.Example, and what it says back out of it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from pipeline import features
from pipeline.data.labelled_image import LabelledImage

ALL = -1


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
    for key, flags in zip(features.FLAGS, (image.difficult, image.crowd), strict=True):
        if flags:
            feature[key] = _int64(*map(int, flags))
    return tf.train.Example(features=tf.train.Features(feature=feature))


def _bytes(*values: str | bytes) -> tf.train.Feature:
    # A file name that is not UTF-8 becomes the bytes that it has on the disk.
    raw = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))


def _int64(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


class LabelledPicture(NamedTuple):
    """A picture as it was found, and its objects.

    Attributes:
      encoded: the bytes of a JPEG or PNG file.
      boxes: float32 [n, 4] (ymin, xmin, ymax, xmax), normalised to the picture.
      labels: the names of their classes, n of them.
      difficult: bool [n], see `pipeline.data.labelled_image.LabelledImage`.
      crowd: bool [n], likewise.
      image_id: the picture's.
    """

    encoded: bytes
    boxes: np.ndarray
    labels: list[str]
    difficult: np.ndarray
    crowd: np.ndarray
    image_id: str


def labelled_pictures(
    examples: Artifact, split: str, count: int = ALL
) -> Iterator[LabelledPicture]:
    """Yields the first pictures of a split, a fair sample of it: they are ordered by a hash.

    Args:
      examples: a raw Examples artifact.
      split: see `pipeline.data.split`.
      count: how many, fewer if there are fewer.
    """
    for example in raw_examples(examples, split, count):
        encoded = example.features.feature[features.IMAGE_ENCODED].bytes_list.value[0]
        image_id = example.features.feature[features.SOURCE_ID].bytes_list.value[0]
        yield LabelledPicture(
            encoded,
            *read_objects(example),
            *read_flags(example),
            image_id.decode("utf-8", "surrogateescape"),
        )


def raw_examples(examples: Artifact, split: str, count: int = ALL) -> Iterator[tf.train.Example]:
    """Yields the first examples of a split, as `labelled_pictures` does."""
    files = io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split))
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(files)))
    for record in records.take(count).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def read_objects(example: tf.train.Example) -> tuple[np.ndarray, list[str]]:
    """The boxes and labels of a raw example, as in `LabelledPicture`."""
    values = example.features.feature
    columns = [np.array(values[key].float_list.value, np.float32) for key in features.BOX]
    labels = [text.decode() for text in values[features.CLASS_TEXT].bytes_list.value]
    return np.stack(columns, axis=1), labels


def read_flags(example: tf.train.Example) -> tuple[np.ndarray, np.ndarray]:
    """Which objects of a raw example are difficult, and which crowds, as in `LabelledPicture`."""
    values = example.features.feature
    none = np.zeros(len(values[features.CLASS_TEXT].bytes_list.value), bool)
    difficult, crowd = (
        np.array(values[key].int64_list.value, bool) if key in values else none
        for key in features.FLAGS
    )
    return difficult, crowd
