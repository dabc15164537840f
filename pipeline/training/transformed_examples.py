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

# Files that fit into this share of the memory are kept there, so that each is read once, which
# counts where they come over a network; the rest is for the network and its optimizer, the batches
# on their way and other programs.
_MEMORY_SHARE = 0.3
# A container's limit, in control groups of version 2 and 1.
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_log = logging.getLogger("detector")

# Files that are read at a time, record by record in turns. The order of the records depends on it.
_PARALLEL_READS = 4
_FACTS_BATCH = 256
_FLAGS = {"difficult": features.IS_DIFFICULT, "crowd": features.IS_CROWD}
_OBJECTS = {name: tf.io.RaggedFeature(tf.int64) for name in (features.CLASS_IDS, *_FLAGS.values())}


@dataclasses.dataclass(frozen=True)
class TransformedExamples:
    """One split of the transformed examples.

    Attributes:
      records: see `models.training.input_pipeline`; every record once, in the order of `image_ids`.
        They have flags if any object of the split has one.
      image_ids: by `image_index`.
      class_ids: int64, of all objects; crowds are none.
      most_boxes: in one of these images.
      max_boxes: in one image of the training split.
      box_sizes: float32 [21], quantiles of the training boxes' sqrt(area).
      box_ratios: float32 [21], quantiles of the training boxes' height / width.
    """

    records: tf.data.Dataset
    image_ids: list[str]
    class_ids: np.ndarray
    most_boxes: int
    max_boxes: int
    box_sizes: np.ndarray
    box_ratios: np.ndarray


def read_transformed_examples(
    patterns: list[str], picture: str, *, limit: int | None = None, keep: bool = False
) -> TransformedExamples:
    """Reads one split.

    Args:
      patterns: of its TFRecord files.
      picture: the feature that becomes the records' `encoded`: `features.CANVAS` for training,
        `features.IMAGE_ENCODED` for evaluation.
      limit: read at most this many images, None reads all.
      keep: hold the records in memory, if the files are small enough.

    Raises:
      UserError: when there is no image.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    # The first images are a fair sample: ExampleGen orders them by a hash.
    raw = tf.data.TFRecordDataset(files, num_parallel_reads=_PARALLEL_READS)
    raw = raw if limit is None else raw.take(limit)
    image_ids: list[str] = []
    class_ids = [np.zeros(0, np.int64)]
    most_boxes, flagged = 0, False
    facts = _OBJECTS | {features.TRANSFORMED_ID: tf.io.FixedLenFeature([], tf.string)}
    for batch in raw.batch(_FACTS_BATCH).map(lambda part: tf.io.parse_example(part, facts)):
        image_ids += [name.decode() for name in batch[features.TRANSFORMED_ID].numpy()]
        difficult, crowd = (batch[name].flat_values.numpy() for name in _FLAGS.values())
        class_ids.append(batch[features.CLASS_IDS].flat_values.numpy()[crowd == 0])
        flagged = flagged or bool(difficult.any() or crowd.any())
        most_boxes = max(most_boxes, int(tf.reduce_max(batch[features.CLASS_IDS].row_lengths())))
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
    spec = _OBJECTS | {
        features.BOXES_FLAT: tf.io.RaggedFeature(tf.float32),
        picture: tf.io.FixedLenFeature([], tf.string),
    }

    # Without flags, training does not spend a step on them.
    flags = _FLAGS if flagged else {}

    def parse(index: tf.Tensor, record: tf.Tensor) -> dict:
        example = tf.io.parse_single_example(record, spec)
        return {
            "encoded": example[picture],
            "boxes": tf.reshape(example[features.BOXES_FLAT], [-1, 4]),
            "class_ids": tf.cast(example[features.CLASS_IDS], tf.int32),
            "image_index": tf.cast(index, tf.int32),
            **{name: tf.cast(example[key], tf.bool) for name, key in flags.items()},
        }

    records = raw.enumerate().map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    if keep and _fit_into_memory(files, len(image_ids)):
        records = records.cache()
    return TransformedExamples(
        records=records,
        image_ids=image_ids,
        class_ids=np.concatenate(class_ids),
        most_boxes=most_boxes,
        max_boxes=int(head[features.MAX_BOXES][0]),
        box_sizes=head[features.BOX_SIZES].values.numpy(),
        box_ratios=head[features.BOX_RATIOS].values.numpy(),
    )


def _fit_into_memory(files: list[str], num_images: int) -> bool:
    needed, memory = sum(tf.io.gfile.stat(file).length for file in files), _memory_bytes()
    fit = needed <= _MEMORY_SHARE * memory
    _log.info(
        "Trainer: the files of %d pictures, %.2f GB, are %s (%.1f GB of memory)",
        num_images,
        needed / 1e9,
        "kept in memory" if fit else "too many to keep: each pass reads them from disk",
        memory / 1e9,
    )
    return fit


def _memory_bytes() -> int:
    """The memory of the machine, or what a container may use of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(file.read_text()))
    return min(limits)
