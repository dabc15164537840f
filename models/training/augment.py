"""Training augmentation: which part of the canvas an example shows, and its colours.

Geometry is one window an image, in normalised coordinates of the canvas: inside it (SSD's random
crop), larger than it (zoom-out), or mirrored. Boxes are moved into the window; the pixels are
sampled once, straight to the network's input size. TensorFlow only: it is an input pipeline.
Everything works on whole batches: image by image it would cost more than the training step. All
randomness is stateless: the same seed gives the same batch, in any order.
"""

import math

import tensorflow as tf

from models.settings import Augmentation

# SSD's crops each ask that some object stays visible by at least one of these fractions.
# Source: Liu et al., section 2.2, and `ssd_random_crop` in the Object Detection API.
CROP_MIN_OBJECT_COVERED = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_CROP_ATTEMPTS = 20
_LOG_ASPECT = math.log(2.0)
_GRAY = 127.5
# In place of the class of a box that is a crowd.
CROWD = -2
# Luma weights of ITU-R BT.601, to tell colour from brightness.
_LUMA = (0.299, 0.587, 0.114)


def random_views(
    batch: dict, size: int, settings: Augmentation, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """An augmented view of each image.

    Args:
      batch: `canvas` uint8 [B, C, C, 3], `boxes` float32 [B, M, 4], `class_ids` int32 [B, M], see
        `models.training.input_pipeline`; the class id of a crowd is `CROWD`.
      size: S, side of the views.
      settings: see `models.settings.Augmentation`.
      seed: int64 [2].

    Returns:
      uint8 [B, S, S, 3], and boxes and class ids as in the batch: 0 and -1 where none is visible.
    """
    seeds = tf.unstack(tf.random.split(seed, 2), num=2)
    boxes, class_ids = batch["boxes"], batch["class_ids"]
    windows = random_windows(boxes, class_ids >= 0, settings, seeds[0])
    boxes, keep = boxes_in_windows(boxes, windows, settings.min_visible)
    # Any part of a crowd that is visible is one.
    keep |= (class_ids == CROWD) & tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
    images = sample_windows(batch["canvas"], windows, size)
    images = tf.cast(tf.round(jitter_colors(images, settings, seeds[1])), tf.uint8)
    return images, tf.where(keep[..., None], boxes, 0.0), tf.where(keep, class_ids, -1)


def random_windows(
    boxes: tf.Tensor, valid: tf.Tensor, settings: Augmentation, seed: tf.Tensor
) -> tf.Tensor:
    """Chooses the part of its canvas that each image shows.

    Args:
      boxes: float32 [B, M, 4] (ymin, xmin, ymax, xmax), normalised to the canvas.
      valid: bool [B, M], False for rows of padding.
      settings: see `models.settings.Augmentation`.
      seed: int32 or int64 [2].

    Returns:
      float32 [B, 4] (ymin, xmin, ymax, xmax) in the canvas's normalised coordinates; outside of
      0..1 when zooming out. xmax < xmin means mirrored.
    """
    seeds = tf.unstack(tf.random.split(seed, 4), num=4)
    batch = tf.shape(boxes)[0]
    windows = tf.tile(tf.constant([[0.0, 0.0, 1.0, 1.0]]), [batch, 1])
    choice = tf.random.stateless_uniform([batch, 1], seeds[0])
    if settings.crop_probability:
        crops = _crop_windows(boxes, valid, settings, seeds[1])
        windows = tf.where(choice < settings.crop_probability, crops, windows)
    if settings.zoom_out_probability:
        zoomed = _zoom_out_windows(batch, settings, seeds[2])
        windows = tf.where(choice > 1.0 - settings.zoom_out_probability, zoomed, windows)
    if settings.flip:
        flipping = tf.random.stateless_uniform([batch, 1], seeds[3]) < 0.5
        windows = tf.where(flipping, tf.gather(windows, [0, 3, 2, 1], axis=1), windows)
    return windows


def _crop_windows(
    boxes: tf.Tensor, valid: tf.Tensor, settings: Augmentation, seed: tf.Tensor
) -> tf.Tensor:
    """The first of some random windows that leaves enough of some object visible: [B, 4]."""
    seeds = tf.unstack(tf.random.split(seed, 4), num=4)
    shape = [tf.shape(boxes)[0], _CROP_ATTEMPTS]
    area = tf.random.stateless_uniform(shape, seeds[0], settings.crop_min_area, 1.0)
    # A large crop can't be long: no side is longer than the image's.
    log_ratio = tf.minimum(_LOG_ASPECT, -tf.math.log(area))
    ratio = tf.exp(log_ratio * tf.random.stateless_uniform(shape, seeds[1], -1.0, 1.0))
    size = tf.sqrt(tf.stack([area / ratio, area * ratio], axis=-1))
    begin = tf.random.stateless_uniform(tf.shape(size), seeds[2]) * (1.0 - size)
    windows = tf.concat([begin, begin + size], axis=-1)  # [B, attempts, 4]

    corners, others = boxes[:, None], windows[:, :, None]  # [B, 1, M, 4], [B, attempts, 1, 4]
    top_left = tf.maximum(corners[..., :2], others[..., :2])
    bottom_right = tf.minimum(corners[..., 2:], others[..., 2:])
    visible = tf.reduce_prod(tf.maximum(bottom_right - top_left, 0.0), axis=-1)
    whole = tf.reduce_prod(corners[..., 2:] - corners[..., :2], axis=-1)
    covered = tf.where(valid[:, None], visible / tf.maximum(whole, 1e-9), 0.0)
    index = tf.random.stateless_uniform(
        shape[:1], seeds[3], maxval=len(CROP_MIN_OBJECT_COVERED), dtype=tf.int32
    )
    wanted = tf.gather(CROP_MIN_OBJECT_COVERED, index)[:, None] - 1e-6
    # In an image without objects any window will do.
    good = (tf.reduce_max(covered, axis=-1) >= wanted) | ~tf.reduce_any(valid, axis=1)[:, None]
    first = tf.argmax(tf.cast(good, tf.int32), axis=1)
    chosen = tf.gather(windows, first, axis=1, batch_dims=1)
    return tf.where(tf.reduce_any(good, axis=1)[:, None], chosen, [[0.0, 0.0, 1.0, 1.0]])


def _zoom_out_windows(batch: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.unstack(tf.random.split(seed, 2), num=2)
    side = tf.random.stateless_uniform([batch, 1], seeds[0], 1.0, settings.zoom_out_max)
    begin = -tf.random.stateless_uniform([batch, 2], seeds[1]) * (side - 1.0)
    return tf.concat([begin, begin + side], axis=1)


def boxes_in_windows(
    boxes: tf.Tensor, windows: tf.Tensor, min_visible: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves boxes from their canvases into the windows.

    Args:
      boxes: float32 [B, M, 4] (ymin, xmin, ymax, xmax), normalised to the canvas.
      windows: float32 [B, 4], see `random_windows`.
      min_visible: least visible fraction of a box that is kept.

    Returns:
      float32 [B, M, 4], normalised to the window and clipped to it, and bool [B, M], which boxes
      to keep: those whose center and enough of whose area lie inside.
    """
    windows = windows[:, None]  # [B, 1, 4]
    size = windows[..., 2:] - windows[..., :2]  # negative width when mirrored
    begin = (boxes[..., :2] - windows[..., :2]) / size
    end = (boxes[..., 2:] - windows[..., :2]) / size
    moved = tf.concat([tf.minimum(begin, end), tf.maximum(begin, end)], axis=-1)
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    center = (moved[..., :2] + moved[..., 2:]) / 2
    inside = tf.reduce_all((center >= 0.0) & (center <= 1.0), axis=-1)
    area = tf.reduce_prod(moved[..., 2:] - moved[..., :2], axis=-1)
    visible = tf.reduce_prod(clipped[..., 2:] - clipped[..., :2], axis=-1)
    return clipped, inside & (visible > 0.0) & (visible >= min_visible * area)


def sample_windows(canvases: tf.Tensor, windows: tf.Tensor, size: int) -> tf.Tensor:
    """Cuts each image's window out of its canvas, bilinearly, gray beyond the canvas.

    Args:
      canvases: uint8 [B, C, C, 3].
      windows: float32 [B, 4], see `random_windows`.
      size: side of the result in pixels.

    Returns:
      float32 [B, size, size, 3] in 0..255.
    """
    side = tf.cast(tf.shape(canvases)[1], tf.float32)
    # A crop at the canvas's edge asks for points up to half a pixel beyond its outer pixels'
    # centers, where the op would give gray: a frame that repeats those pixels answers.
    framed = tf.pad(canvases, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    # The op puts the corners of its boxes on the centers of the corner pixels. Ours are edges,
    # as in tf.image.resize: take off half a pixel of input and of output.
    begin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
    first = (begin * side + 0.5 * extent * side / size + 0.5) / (side + 1.0)
    last = first + extent * side * (size - 1) / size / (side + 1.0)
    return tf.image.crop_and_resize(
        framed,
        tf.concat([first, last], axis=1),
        tf.range(tf.shape(canvases)[0]),
        [size, size],
        extrapolation_value=_GRAY,
    )


def jitter_colors(images: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Varies brightness, contrast, saturation and white balance, each image by itself.

    Args:
      images: float32 [B, S, S, 3] in 0..255.
      settings: see `models.settings.Augmentation`.
      seed: int32 or int64 [2].

    Returns:
      The same, clipped to 0..255.
    """
    if not any(
        (settings.brightness, settings.contrast, settings.saturation, settings.white_balance)
    ):
        return images
    seeds = tf.random.split(seed, 4)
    batch = tf.shape(images)[0]

    def factors(channels: int, spread: float, index: int) -> tf.Tensor:
        shape = [batch, 1, 1, channels]
        return tf.random.stateless_uniform(shape, seeds[index], -spread, spread)

    # Linear in the pixel: saturation, white balance and contrast are one matrix an image, so
    # the image is read and written once.
    luma = tf.constant(_LUMA)
    saturation = 1.0 + factors(1, settings.saturation, 0)[:, 0]  # [B, 1, 1]
    gains = (1.0 + factors(3, settings.white_balance, 1)[:, 0]) * (
        1.0 + factors(1, settings.contrast, 2)[:, 0]
    )  # [B, 1, 3]
    shift = 255.0 * factors(1, settings.brightness, 3)
    to_gray = tf.tile(luma[:, None], [1, 3])
    matrix = saturation * tf.eye(3) + (1.0 - saturation) * to_gray  # [B, 3, 3]
    flat = tf.reshape(images - _GRAY, [batch, -1, 3])
    mixed = tf.reshape(tf.matmul(flat, matrix * gains), tf.shape(images))
    return tf.clip_by_value(mixed + _GRAY + shift, 0.0, 255.0)
