"""Batches for training and evaluation, from records. TensorFlow only.

A record is a dict of `encoded`, the bytes of a JPEG or PNG file, `boxes` float32 [n, 4] (ymin,
xmin, ymax, xmax, normalised), `class_ids` int32 [n] and `image_index` int32, the image's place in
the data set. Training takes canvases, pictures of one size [C, C, 3]; evaluation the originals.
Where objects have flags, records also have `difficult` and `crowd`, bool [n]: difficult objects are
trained on like others, and crowds are regions that are not trained on.
"""

import math

import tensorflow as tf

from models.image import decode_and_resize, decode_canvas
from models.settings import Augmentation
from models.training.augment import CROWD, random_views
from models.training.mosaic import with_mosaics, with_room

# Records held for shuffling.
_SHUFFLE_SIZE = 2048
_FLAGS = ("difficult", "crowd")


def training_batches(
    records: tf.data.Dataset,
    *,
    input_size: int,
    batch_size: int,
    max_boxes: int,
    augmentation: Augmentation,
    seed: int,
    num_records: int,
    start_step: int = 0,
    mosaic_steps: int = 0,
) -> tf.data.Dataset:
    """Endless augmented batches with static shapes.

    The order and the augmentation depend on the seed and the position alone: starting at a later
    step continues the same sequence, which lets an interrupted run resume exactly.

    Args:
      records: see the module.
      input_size: S, side of the network's input.
      batch_size: B.
      max_boxes: M; an image's boxes beyond it are dropped. With mosaics, batches hold 4 M.
      augmentation: what to vary.
      seed: of everything random here.
      num_records: how many records there are.
      start_step: how many batches to skip.
      mosaic_steps: the number of the first batch without mosaics.

    Returns:
      Pairs of uint8 [B, S, S, 3] and the targets that `models.training.detector.Detector` takes.
    """

    num_mosaics = math.ceil(augmentation.mosaic * batch_size)
    batch_boxes = 4 * max_boxes if num_mosaics else max_boxes

    def prepare(position: tf.Tensor, record: dict) -> tuple[tf.Tensor, dict]:
        canvas = decode_canvas(record["encoded"])
        return position, {"canvas": canvas, **_to_train_on(_targets(record, max_boxes))}

    def augment(position: tf.Tensor, batch: dict) -> tuple[tf.Tensor, dict]:
        batch_seed = tf.stack([tf.constant(seed, tf.int64), position[0]])

        def plain() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return random_views(batch, input_size, augmentation, batch_seed)

        if num_mosaics:
            images, boxes, class_ids = tf.cond(
                position[0] < mosaic_steps * batch_size,
                lambda: with_mosaics(batch, input_size, augmentation, batch_seed, num_mosaics),
                lambda: with_room(*plain(), batch_boxes),
            )
        else:
            images, boxes, class_ids = plain()
        class_ids = tf.ensure_shape(class_ids, [batch_size, batch_boxes])
        targets = {
            "boxes": tf.ensure_shape(boxes, [batch_size, batch_boxes, 4]),
            "class_ids": class_ids,
            "image_index": batch["image_index"],
        }
        if "crowd" in records.element_spec:
            targets |= {"class_ids": tf.maximum(class_ids, -1), "crowd": class_ids == CROWD}
        return tf.ensure_shape(images, [batch_size, input_size, input_size, 3]), targets

    skipped = start_step * batch_size
    # Encoded pictures, a sixth of their pixels' size, are shuffled and skipped. The seeds of the
    # passes follow from the first, so skipping reads on but repeats nothing.
    order = records.shuffle(min(_SHUFFLE_SIZE, num_records), seed=seed).repeat().skip(skipped)
    return (
        tf.data.Dataset.zip(tf.data.Dataset.range(skipped, tf.int64.max), order)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(2)
    )


def evaluation_batches(
    records: tf.data.Dataset, *, input_size: int, batch_size: int, max_boxes: int
) -> tf.data.Dataset:
    """Every record once, as an app sees it, in order; the last batch may be smaller.

    Args:
      records: see the module.
      input_size: S.
      batch_size: B.
      max_boxes: M.

    Returns:
      Pairs as `training_batches` gives them, with all class ids and, if records have them, flags.
    """

    def prepare(record: dict) -> tuple[tf.Tensor, dict]:
        image = decode_and_resize(record["encoded"], input_size)
        return image, _targets(record, max_boxes)

    return records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _targets(record: dict, max_boxes: int) -> dict:
    """Cuts or pads a record's boxes (with zeros) and class ids (with -1) to `max_boxes` rows."""
    boxes, class_ids = record["boxes"][:max_boxes], record["class_ids"][:max_boxes]
    missing = max_boxes - tf.shape(class_ids)[0]
    flags = {name: record[name][:max_boxes] for name in _FLAGS if name in record}
    return {
        "boxes": tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]]), [max_boxes, 4]),
        "class_ids": tf.ensure_shape(
            tf.pad(class_ids, [[0, missing]], constant_values=-1), [max_boxes]
        ),
        "image_index": tf.cast(record["image_index"], tf.int32),
        **{
            name: tf.ensure_shape(tf.pad(values, [[0, missing]]), [max_boxes])
            for name, values in flags.items()
        },
    }


def _to_train_on(targets: dict) -> dict:
    """Without flags, and with the class id `CROWD` for crowds."""
    flags = {name: targets.pop(name) for name in _FLAGS if name in targets}
    if "crowd" in flags:
        targets["class_ids"] = tf.where(flags["crowd"], CROWD, targets["class_ids"])
    return targets
