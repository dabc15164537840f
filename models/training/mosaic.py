"""Mosaics: images that show four views in their quarters. TensorFlow only.

Source: Bochkovskiy et al., "YOLOv4", section 3.3. Objects get smaller and more varied neighbours.
"""

import tensorflow as tf

from models.settings import Augmentation
from models.training.augment import random_views


def with_mosaics(
    batch: dict, size: int, settings: Augmentation, seed: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Augmented views of a batch, the first ones as mosaics.

    A mosaic shows its image and the next three of the batch, each augmented by itself and half as
    large.

    Args:
      batch: see `models.training.augment.random_views`, with M boxes an image.
      size: S.
      settings: of the views.
      seed: int64 [2].
      count: how many images of the batch are mosaics.

    Returns:
      uint8 [B, S, S, 3], float32 [B, 4 M, 4] and int32 [B, 4 M], as `random_views`.
    """
    side = -(-size // 2)
    scale = side / size
    quarters = []
    for number, corner in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        quarter_seed = tf.random.experimental.stateless_fold_in(seed, number)
        rolled = {name: tf.roll(values, -number, axis=0)[:count] for name, values in batch.items()}
        images, boxes, class_ids = random_views(rolled, side, settings, quarter_seed)
        moved = tf.minimum((boxes + tf.constant(2 * corner, tf.float32)) * scale, 1.0)
        quarters.append((images, tf.where(class_ids[..., None] != -1, moved, 0.0), class_ids))
    images, boxes, class_ids = zip(*quarters, strict=True)
    rows = [tf.concat(images[:2], axis=2), tf.concat(images[2:], axis=2)]
    mosaics = tf.concat(rows, axis=1)[:, :size, :size]
    boxes, class_ids = tf.concat(boxes, axis=1), tf.concat(class_ids, axis=1)
    rest = {name: values[count:] for name, values in batch.items()}
    singles = with_room(*random_views(rest, size, settings, seed), boxes.shape[1])
    joined = zip((mosaics, boxes, class_ids), singles, strict=True)
    return tuple(tf.concat(pair, axis=0) for pair in joined)


def with_room(
    images: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor, max_boxes: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pads the boxes of each image with zeros, and its class ids with -1, to `max_boxes` rows."""
    missing = max_boxes - boxes.shape[1]
    boxes = tf.pad(boxes, [[0, 0], [0, missing], [0, 0]])
    return images, boxes, tf.pad(class_ids, [[0, 0], [0, missing]], constant_values=-1)
