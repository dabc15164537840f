"""Reads the transformed examples as records of `models.training.input_pipeline`."""

import dataclasses
import logging

import numpy as np
import tensorflow as tf

from pipeline import features
from pipeline.errors import UserError
from pipeline.training.memory import available_bytes

# Decoded canvases are kept in memory if they fit into this share of what is free; the rest is for
# the network, its optimizer and the batches in flight.
_MEMORY_SHARE = 0.5

_log = logging.getLogger("detector")

_BOXES = features.BOXES_FLAT + features.RAGGED_VALUES
_CLASS_IDS = features.CLASS_IDS + features.RAGGED_VALUES
_SPEC = {
    _BOXES: tf.io.VarLenFeature(tf.float32),
    _CLASS_IDS: tf.io.VarLenFeature(tf.int64),
    features.TRANSFORMED_ID: tf.io.FixedLenFeature([], tf.string),
}


@dataclasses.dataclass(frozen=True)
class TransformedExamples:
    """One split of the transformed examples.

    Attributes:
      records: see `models.training.input_pipeline`; every record once, in the order of `image_ids`.
      image_ids: in the order of `image_index`.
      class_ids: int64, of all objects.
      max_boxes: the largest number of boxes in one image of the training split.
      box_sizes: float32 [21], quantiles of the training boxes' sqrt(area).
      box_ratios: float32 [21], quantiles of the training boxes' height / width.
    """

    records: tf.data.Dataset
    image_ids: list[str]
    class_ids: np.ndarray
    max_boxes: int
    box_sizes: np.ndarray
    box_ratios: np.ndarray


def read_transformed_examples(
    patterns: list[str], view: str, size: int, limit: int | None = None
) -> TransformedExamples:
    """Reads one split.

    Args:
      patterns: of its gzipped TFRecord files.
      view: which pixels become the records' `canvas`: `features.CANVAS` for training,
        `features.PICTURE` for evaluation.
      size: their side in pixels.
      limit: reads at most this many images; None reads all.

    Raises:
      UserError: there are no images.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    raw = tf.data.TFRecordDataset(files, compression_type="GZIP")
    image_ids, class_ids = [], []
    facts = {name: _SPEC[name] for name in (_CLASS_IDS, features.TRANSFORMED_ID)}
    for example in raw.map(lambda record: tf.io.parse_single_example(record, facts)):
        image_ids.append(example[features.TRANSFORMED_ID].numpy().decode())
        class_ids.append(example[_CLASS_IDS].values.numpy())
    if not image_ids:
        raise UserError(f"Expected transformed examples. Received: none in {patterns}.")
    head = tf.io.parse_single_example(
        next(iter(raw)),
        {
            features.MAX_BOXES: tf.io.FixedLenFeature([1], tf.int64),
            features.BOX_SIZES: tf.io.VarLenFeature(tf.float32),
            features.BOX_RATIOS: tf.io.VarLenFeature(tf.float32),
        },
    )

    def parse(index: tf.Tensor, record: tf.Tensor) -> dict:
        pixels = {view: tf.io.FixedLenFeature([], tf.string)}
        example = tf.io.parse_single_example(record, _SPEC | pixels)
        canvas = tf.io.parse_tensor(example[view], tf.uint8)
        return {
            "canvas": tf.ensure_shape(canvas, [size, size, 3]),
            "boxes": tf.reshape(example[_BOXES].values, [-1, 4]),
            "class_ids": tf.cast(example[_CLASS_IDS].values, tf.int32),
            "image_index": tf.cast(index, tf.int32),
        }

    if limit is not None and limit < len(image_ids):
        # The order of images in the files means nothing, so the first ones are a fair sample.
        raw, image_ids, class_ids = raw.take(limit), image_ids[:limit], class_ids[:limit]
    records = raw.enumerate().map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    if _fits_into_memory(len(image_ids), size):
        records = records.cache()
    return TransformedExamples(
        records=records,
        image_ids=image_ids,
        class_ids=np.concatenate(class_ids),
        max_boxes=int(head[features.MAX_BOXES][0]),
        box_sizes=head[features.BOX_SIZES].values.numpy(),
        box_ratios=head[features.BOX_RATIOS].values.numpy(),
    )


def _fits_into_memory(num_images: int, size: int) -> bool:
    needed, free = num_images * size**2 * 3, available_bytes()
    fits = needed <= _MEMORY_SHARE * free
    _log.info(
        "Trainer: %d decoded pictures, %.2f GB, are %s (%.1f GB of memory free)",
        num_images,
        needed / 1e9,
        "kept in memory" if fits else "too many for memory: each epoch reads them from disk",
        free / 1e9,
    )
    return fits
