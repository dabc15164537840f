"""Training augmentation: which part of the canvas an example shows, and in which colours.

Geometry is one window an image, in normalised coordinates of the canvas: inside it (SSD's random
crop), larger than it (zoom-out), or mirrored. Boxes are moved into the window; the pixels are
sampled once, straight to the network's input size. TensorFlow only: it is an input pipeline.
All randomness is stateless: the same seed gives the same example, in any order.
"""

import tensorflow as tf

from models.settings import Augmentation

# SSD's crops each ask that some object stays visible by at least one of these fractions.
# Source: Liu et al., section 2.2, and `ssd_random_crop` in the Object Detection API.
CROP_MIN_OBJECT_COVERED = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_GRAY = 127.5
# Luma weights of ITU-R BT.601, to tell colour from brightness.
_LUMA = (0.299, 0.587, 0.114)


def random_window(boxes: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Chooses the part of the canvas to show.

    Args:
      boxes: float32 [n, 4] (ymin, xmin, ymax, xmax), normalised to the canvas.
      settings: see `models.settings.Augmentation`.
      seed: int32 or int64 [2].

    Returns:
      float32 [4] (ymin, xmin, ymax, xmax) in the canvas's normalised coordinates; outside of
      0..1 when zooming out. xmax < xmin means mirrored.
    """
    seeds = tf.random.split(seed, 5)
    choice = tf.random.stateless_uniform([], seeds[0])
    cropping = choice < settings.crop_probability
    zooming = choice > 1.0 - settings.zoom_out_probability
    window = tf.cond(
        cropping,
        lambda: _crop_window(boxes, settings, seeds[1]),
        lambda: tf.constant([0.0, 0.0, 1.0, 1.0]),
    )
    window = tf.cond(zooming, lambda: _zoom_out_window(settings, seeds[2]), lambda: window)
    mirrored = tf.gather(window, [0, 3, 2, 1])
    flipping = tf.random.stateless_uniform([], seeds[3]) < 0.5
    return tf.where(tf.logical_and(settings.flip, flipping), mirrored, window)


def _crop_window(boxes: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.random.split(seed, 2)
    index = tf.random.stateless_uniform(
        [], seeds[0], maxval=len(CROP_MIN_OBJECT_COVERED), dtype=tf.int32
    )
    # Coordinates of the op are integers in a nominal image: only the ratio matters.
    side = 10_000
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        image_size=[side, side, 3],
        bounding_boxes=boxes[None],
        seed=seeds[1],
        min_object_covered=tf.gather(CROP_MIN_OBJECT_COVERED, index),
        aspect_ratio_range=(0.5, 2.0),
        area_range=(settings.crop_min_area, 1.0),
        max_attempts=50,
        use_image_if_no_bounding_boxes=True,
    )
    begin = tf.cast(begin[:2], tf.float32) / side
    size = tf.cast(size[:2], tf.float32) / side
    return tf.concat([begin, begin + size], axis=0)


def _zoom_out_window(settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.random.split(seed, 2)
    side = tf.random.stateless_uniform([], seeds[0], 1.0, settings.zoom_out_max)
    begin = -tf.random.stateless_uniform([2], seeds[1]) * (side - 1.0)
    return tf.concat([begin, begin + side], axis=0)


def boxes_in_window(
    boxes: tf.Tensor, window: tf.Tensor, min_visible: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves boxes from the canvas into a window.

    Args:
      boxes: float32 [n, 4] (ymin, xmin, ymax, xmax), normalised to the canvas.
      window: float32 [4], see `random_window`.
      min_visible: least visible fraction of a box that is kept.

    Returns:
      float32 [n, 4], normalised to the window and clipped to it, and bool [n], which boxes to
      keep: those whose center and enough of whose area lie inside.
    """
    origin = tf.stack([window[0], window[1], window[0], window[1]])
    size = window[2:] - window[:2]  # negative width when mirrored
    moved = (boxes - origin) / tf.concat([size, size], axis=0)
    ymin, ymax = moved[:, 0], moved[:, 2]
    xmin = tf.minimum(moved[:, 1], moved[:, 3])
    xmax = tf.maximum(moved[:, 1], moved[:, 3])
    moved = tf.stack([ymin, xmin, ymax, xmax], axis=1)
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    center = (moved[:, :2] + moved[:, 2:]) / 2
    inside = tf.reduce_all((center >= 0.0) & (center <= 1.0), axis=1)
    area = tf.reduce_prod(moved[:, 2:] - moved[:, :2], axis=1)
    visible = tf.reduce_prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    return clipped, inside & (visible > 0.0) & (visible >= min_visible * area)


def sample_windows(canvases: tf.Tensor, windows: tf.Tensor, size: int) -> tf.Tensor:
    """Cuts each image's window out of its canvas, bilinearly, gray beyond the canvas.

    Args:
      canvases: uint8 [B, C, C, 3].
      windows: float32 [B, 4], see `random_window`.
      size: side of the result in pixels.

    Returns:
      float32 [B, size, size, 3] in 0..255.
    """
    side = tf.cast(tf.shape(canvases)[1], tf.float32)
    # The op puts the corners of its boxes on the centers of the corner pixels. Ours are edges,
    # as in tf.image.resize: half a pixel of input and of output has to be taken off.
    begin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
    first = (begin * side + 0.5 * extent * side / size - 0.5) / (side - 1.0)
    last = first + extent * side * (size - 1) / size / (side - 1.0)
    return tf.image.crop_and_resize(
        canvases,
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
