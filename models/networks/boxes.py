"""Boxes: formats, overlaps, and the Faster R-CNN box coder that SSD uses.

Every function takes and gives normalised coordinates. Corners are (ymin, xmin, ymax, xmax);
centers are (ycenter, xcenter, height, width). Written in `keras.ops` for any backend.
"""

from keras import ops

# Factors of (ty, tx, th, tw), as in the TensorFlow Object Detection API's SSD configurations.
BOX_SCALES = (10.0, 10.0, 5.0, 5.0)
_EPSILON = 1e-8


def corners_to_centers(boxes):
    """[..., 4] (ymin, xmin, ymax, xmax) -> [..., 4] (ycenter, xcenter, height, width)."""
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    return ops.stack([(ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin], axis=-1)


def centers_to_corners(boxes):
    """[..., 4] (ycenter, xcenter, height, width) -> [..., 4] (ymin, xmin, ymax, xmax)."""
    ycenter, xcenter, height, width = (boxes[..., i] for i in range(4))
    return ops.stack(
        [
            ycenter - height / 2,
            xcenter - width / 2,
            ycenter + height / 2,
            xcenter + width / 2,
        ],
        axis=-1,
    )


def pairwise_iou(boxes_a, boxes_b):
    """Intersection over union of every pair.

    Args:
      boxes_a: [..., N, 4] corners.
      boxes_b: [..., M, 4] corners, with leading dimensions that broadcast.

    Returns:
      [..., N, M] in 0..1; 0 where both boxes are empty.
    """
    a = boxes_a[..., :, None, :]  # [..., N, 1, 4]
    b = boxes_b[..., None, :, :]  # [..., 1, M, 4]
    intersection = _intersection(a, b)  # [..., N, M]
    union = _area(a) + _area(b) - intersection
    return intersection / ops.maximum(union, _EPSILON)


def pairwise_covered(boxes_a, boxes_b):
    """How much of each box of the first set every box of the second one covers.

    Args:
      boxes_a: [..., N, 4] corners.
      boxes_b: [..., M, 4] corners, with leading dimensions that broadcast.

    Returns:
      [..., N, M] in 0..1, fractions of the areas of `boxes_a`.
    """
    a, b = boxes_a[..., :, None, :], boxes_b[..., None, :, :]
    return _intersection(a, b) / ops.maximum(_area(a), _EPSILON)


def _intersection(a, b):
    height = ops.maximum(ops.minimum(a[..., 2], b[..., 2]) - ops.maximum(a[..., 0], b[..., 0]), 0)
    width = ops.maximum(ops.minimum(a[..., 3], b[..., 3]) - ops.maximum(a[..., 1], b[..., 1]), 0)
    return height * width


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def encode(boxes, anchors):
    """Boxes relative to their anchors: the regression target.

    Args:
      boxes: [..., N, 4] corners; height and width may be 0 (padding) and then encode finitely.
      anchors: [N, 4] centers.

    Returns:
      [..., N, 4] (ty, tx, th, tw), scaled by `BOX_SCALES`.
    """
    centers = corners_to_centers(boxes)
    anchors = ops.cast(anchors, centers.dtype)
    offset = (centers[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    size = ops.log(ops.maximum(centers[..., 2:], _EPSILON) / anchors[..., 2:])
    return ops.concatenate([offset, size], axis=-1) * ops.convert_to_tensor(
        BOX_SCALES, centers.dtype
    )


def decode(encodings, anchors):
    """The inverse of `encode`.

    Args:
      encodings: [..., N, 4] (ty, tx, th, tw), scaled by `BOX_SCALES`.
      anchors: [N, 4] centers.

    Returns:
      [..., N, 4] corners, not clipped to the image.
    """
    anchors = ops.cast(anchors, encodings.dtype)
    unscaled = encodings / ops.convert_to_tensor(BOX_SCALES, encodings.dtype)
    center = unscaled[..., :2] * anchors[..., 2:] + anchors[..., :2]
    size = ops.exp(unscaled[..., 2:]) * anchors[..., 2:]
    return centers_to_corners(ops.concatenate([center, size], axis=-1))
