"""Target assignment: which anchor is responsible for which ground-truth box.

Source: SSD, section 2.2, as the Object Detection API's `argmax_matcher` does it: an anchor takes
the box that it overlaps most if that is at least 0.5, and every box gets its best anchor anyway.
Written in `keras.ops` with static shapes, so that it compiles into the training step.
"""

from typing import Any, NamedTuple

from keras import ops

from models.networks import boxes as box_ops


class Targets(NamedTuple):
    """What the detector should predict, for each of N anchors of B images."""

    class_targets: Any  # float32 [B, N, C], one-hot, all 0 for background
    box_targets: Any  # float32 [B, N, 4], encoded; arbitrary where not matched
    matched: Any  # float32 [B, N], 1 where the anchor is responsible for a box


def assign_targets(boxes, class_ids, anchors, num_classes: int, iou_threshold: float) -> Targets:
    """Matches anchors to padded ground truth.

    Args:
      boxes: float32 [B, M, 4] corners, normalised; rows of padding are arbitrary.
      class_ids: int32 [B, M], 0-based; -1 marks a row of padding.
      anchors: float32 [N, 4] centers.
      num_classes: C.
      iou_threshold: the smallest overlap of a match that is not forced.

    Returns:
      `Targets`.
    """
    num_anchors, max_boxes = anchors.shape[0], boxes.shape[1]
    valid = class_ids >= 0  # [B, M]
    anchor_corners = box_ops.centers_to_corners(ops.convert_to_tensor(anchors))
    iou = box_ops.pairwise_iou(anchor_corners[None], boxes)  # [B, N, M]
    iou = ops.where(valid[:, None, :], iou, -1.0)

    best_box = ops.argmax(iou, axis=2)  # [B, N]
    matched = ops.max(iou, axis=2) >= iou_threshold

    # Every box gets its best anchor. When two boxes want the same one, the first box has it.
    best_anchor = ops.argmax(iou, axis=1)  # [B, M]
    forced = ops.one_hot(best_anchor, num_anchors, axis=1, dtype="float32")  # [B, N, M]
    forced = forced * ops.cast(valid[:, None, :], "float32")
    is_forced = ops.max(forced, axis=2) > 0
    box_index = ops.where(is_forced, ops.argmax(forced, axis=2), best_box)
    matched = ops.cast(ops.logical_or(matched, is_forced), "float32")

    # A gather, written as a product with a one-hot matrix: it compiles well for accelerators.
    selector = ops.one_hot(box_index, max_boxes, dtype="float32")  # [B, N, M]
    safe_boxes = ops.where(valid[:, :, None], boxes, 0.0)
    matched_boxes = ops.matmul(selector, safe_boxes)  # [B, N, 4]
    classes = ops.one_hot(ops.maximum(class_ids, 0), num_classes, dtype="float32")  # [B, M, C]
    class_targets = ops.matmul(selector, classes) * matched[:, :, None]
    return Targets(class_targets, box_ops.encode(matched_boxes, anchors), matched)
