"""The two losses of the detector, per image and not yet normalised. `keras.ops` only."""

from keras import ops

# A certain example has an error of 0, where powers below 1 have no finite gradient.
_MIN_WRONGNESS = 1e-7


def sigmoid_focal_loss(logits, class_targets, alpha: float, gamma: float):
    """Focal loss over all anchors and classes.

    Source: Lin et al., "Focal Loss for Dense Object Detection", equation 5. The cross-entropy is
    computed from the logits, so that confident logits neither overflow nor lose their gradient.

    Args:
      logits: float32 [B, N, C].
      class_targets: float32 [B, N, C], 0 or 1.
      alpha: weight of the targets that are 1; those that are 0 weigh 1 - alpha.
      gamma: how much well classified examples are discounted.

    Returns:
      float32 [B], summed over anchors and classes.
    """
    cross_entropy = ops.relu(logits) - logits * class_targets + ops.softplus(-ops.abs(logits))
    probability = ops.sigmoid(logits)
    wrongness = class_targets * (1 - probability) + (1 - class_targets) * probability
    wrongness = ops.maximum(wrongness, _MIN_WRONGNESS)
    weight = class_targets * alpha + (1 - class_targets) * (1 - alpha)
    return ops.sum(weight * wrongness**gamma * cross_entropy, axis=(1, 2))


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
