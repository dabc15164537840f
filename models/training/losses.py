"""The losses of the detector, per image and not yet normalised. `keras.ops` only."""

from keras import ops

# A certain example has an error of 0, where powers below 1 have no finite gradient.
_MIN_WRONGNESS = 1e-7
_EPSILON = 1e-8


def sigmoid_focal_loss(logits, class_targets, alpha: float, gamma: float, ignored=None):
    """Focal loss over all anchors and classes.

    Source: Lin et al., "Focal Loss for Dense Object Detection", equation 5. The cross-entropy is
    computed from the logits, so that confident logits neither overflow nor lose their gradient.

    Args:
      logits: float32 [B, N, C].
      class_targets: float32 [B, N, C], 0 or 1.
      alpha: weight of the targets that are 1; those that are 0 weigh 1 - alpha.
      gamma: how much well classified examples are discounted.
      ignored: bool [B, N], anchors that do not count; None counts all.

    Returns:
      float32 [B], summed over anchors and classes.
    """
    probability = ops.sigmoid(logits)
    wrongness = class_targets * (1 - probability) + (1 - class_targets) * probability
    wrongness = ops.maximum(wrongness, _MIN_WRONGNESS)
    weight = class_targets * alpha + (1 - class_targets) * (1 - alpha)
    return _total(weight * wrongness**gamma * _cross_entropy(logits, class_targets), ignored)


def quality_focal_loss(logits, class_targets, overlaps, gamma: float, ignored=None):
    """Focal loss whose targets say how well the predicted boxes fit.

    Source: Li et al., "Generalized Focal Loss", equation 2.

    Args:
      logits: float32 [B, N, C].
      class_targets: float32 [B, N, C], 0 or 1.
      overlaps: float32 [B, N] in 0..1, IoU of the predicted boxes with their objects.
      gamma: how much well classified examples are discounted.
      ignored: bool [B, N], anchors that do not count; None counts all.

    Returns:
      float32 [B], summed over anchors and classes.
    """
    targets = class_targets * ops.stop_gradient(overlaps)[:, :, None]
    wrongness = ops.maximum(ops.abs(targets - ops.sigmoid(logits)), _MIN_WRONGNESS)
    return _total(wrongness**gamma * _cross_entropy(logits, targets), ignored)


def _total(loss, ignored):
    """float32 [B, N, C] to [B]."""
    if ignored is not None:
        loss = ops.where(ignored[:, :, None], 0.0, loss)
    return ops.sum(loss, axis=(1, 2))


def _cross_entropy(logits, targets):
    return ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits))


def smooth_l1_loss(encodings, box_targets, matched):
    """Huber loss of the encoded boxes of matched anchors, quadratic up to an error of 1.

    Args:
      encodings: float32 [B, N, 4], as `models.networks.boxes.encode` scales them.
      box_targets: float32 [B, N, 4].
      matched: float32 [B, N], 1 for anchors that count.

    Returns:
      float32 [B], summed over anchors and coordinates.
    """
    error = ops.abs(encodings - box_targets)
    quadratic = ops.minimum(error, 1.0)
    loss = 0.5 * quadratic**2 + (error - quadratic)  # [B, N, 4]
    # `where`, not a product: the targets of unmatched anchors may be huge.
    loss = ops.where(matched[:, :, None] > 0, loss, 0.0)
    return ops.sum(loss, axis=(1, 2))


def overlaps_of_pairs(boxes_a, boxes_b):
    """IoU and generalized IoU of boxes, pair by pair.

    Source: Rezatofighi et al., "Generalized Intersection over Union", algorithm 1.

    Args:
      boxes_a: float32 [..., 4] corners, ymin <= ymax and xmin <= xmax.
      boxes_b: the same.

    Returns:
      float32 [...] in 0..1, and float32 [...] in -1..1, which has a gradient for boxes apart, too.
    """
    size_a, size_b = boxes_a[..., 2:] - boxes_a[..., :2], boxes_b[..., 2:] - boxes_b[..., :2]
    first, last = ops.maximum(boxes_a, boxes_b), ops.minimum(boxes_a, boxes_b)
    shared = ops.maximum(last[..., 2:] - first[..., :2], 0.0)
    hull = first[..., 2:] - last[..., :2]
    intersection = shared[..., 0] * shared[..., 1]
    union = size_a[..., 0] * size_a[..., 1] + size_b[..., 0] * size_b[..., 1] - intersection
    area = hull[..., 0] * hull[..., 1]
    iou = intersection / (union + _EPSILON)
    return iou, iou - (area - union) / (area + _EPSILON)


def giou_loss(giou, matched):
    """1 - GIoU of the boxes of matched anchors.

    Args:
      giou: float32 [B, N] in -1..1.
      matched: float32 [B, N], 1 for anchors that count.

    Returns:
      float32 [B], summed over anchors.
    """
    return ops.sum(ops.where(matched > 0, 1.0 - giou, 0.0), axis=1)
