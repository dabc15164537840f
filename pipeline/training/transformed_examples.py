"""Reads what Transform wrote, as the records of `models.training.input_pipeline`."""

import contextlib
import dataclasses
import logging
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline import features
from pipeline.errors import UserError

# Decoded canvases that fit into this share of the memory are kept there, so that each is read once;
# the rest is for the network, its optimizer, the batches on their way and other programs.
_MEMORY_SHARE = 0.3
# A container's limit, in control groups of version 2 and 1.
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_log = logging.getLogger("detector")

_BOXES = features.BOXES_FLAT + features.RAGGED_VALUES
_CLASS_IDS = features.CLASS_IDS + features.RAGGED_VALUES
_FLAGS = {
    name: feature + features.RAGGED_VALUES
    for name, feature in (("difficult", features.IS_DIFFICULT), ("crowd", features.IS_CROWD))
}
_SPEC = {
    _BOXES: tf.io.VarLenFeature(tf.float32),
    _CLASS_IDS: tf.io.VarLenFeature(tf.int64),
    features.TRANSFORMED_ID: tf.io.FixedLenFeature([], tf.string),
    **{key: tf.io.VarLenFeature(tf.int64) for key in _FLAGS.values()},
}


@dataclasses.dataclass(frozen=True)
class TransformedExamples:
    """One split of the transformed examples.

    Attributes:
      records: see `models.training.input_pipeline`; every record once, in the order of `image_ids`.
        They have flags if any object of the split has one.
      image_ids: by `image_index`.
      class_ids: int64, of all objects; crowds are none.
      max_boxes: most boxes in one image of the training split.
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
      limit: read at most this many images, None reads all.

    Raises:
      UserError: when there is no image.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    raw = tf.data.TFRecordDataset(files, compression_type="GZIP")
    image_ids, class_ids, flagged = [], [], False
    facts = {name: _SPEC[name] for name in _SPEC if name != _BOXES}
    for example in raw.map(lambda record: tf.io.parse_single_example(record, facts)):
        image_ids.append(example[features.TRANSFORMED_ID].numpy().decode())
        difficult, crowd = (example[key].values.numpy() for key in _FLAGS.values())
        class_ids.append(example[_CLASS_IDS].values.numpy()[crowd == 0])
        flagged = flagged or bool(difficult.any() or crowd.any())
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

    # Without flags, training does not spend a step on them.
    flags = _FLAGS if flagged else {}

    def parse(index: tf.Tensor, record: tf.Tensor) -> dict:
        pixels = {view: tf.io.FixedLenFeature([], tf.string)}
        example = tf.io.parse_single_example(record, _SPEC | pixels)
        canvas = tf.io.parse_tensor(example[view], tf.uint8)
        return {
            "canvas": tf.ensure_shape(canvas, [size, size, 3]),
            "boxes": tf.reshape(example[_BOXES].values, [-1, 4]),
            "class_ids": tf.cast(example[_CLASS_IDS].values, tf.int32),
            "image_index": tf.cast(index, tf.int32),
            **{name: tf.cast(example[key].values, tf.bool) for name, key in flags.items()},
        }

    if limit is not None and limit < len(image_ids):
        # Files hold the images in no meaningful order: the first ones are as good as any.
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
    needed, memory = num_images * size**2 * 3, _memory_bytes()
    fits = needed <= _MEMORY_SHARE * memory
    _log.info(
        "Trainer: %d decoded pictures, %.2f GB, are %s (%.1f GB of memory)",
        num_images,
        needed / 1e9,
        "kept in memory" if fits else "too many to keep: each pass reads them from disk",
        memory / 1e9,
    )
    return fits


def _memory_bytes() -> int:
    """The memory of the machine, or what a container may use of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(file.read_text()))
    return min(limits)
