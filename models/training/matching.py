"""Target assignment: which anchor is responsible for which ground-truth box.

Written in `keras.ops` with static shapes, so that it compiles into the training step.
"""

from typing import Any, NamedTuple

from keras import ops

from models.networks import boxes as box_ops

# Of each map, the anchors of 3 x 3 cells around a box's center may learn it: ATSS's nine, found
# without sorting.
_REACH = 1.5
# More than any overlap: of each box and the anchor that overlaps it most.
_FORCED = 2.0
# An anchor lies in a crowd that covers this much of it: MMDetection's `ignore_iof_thr`.
_IN_CROWD = 0.5


class Targets(NamedTuple):
    """What the detector should predict, for each of N anchors of B images."""

    class_targets: Any  # float32 [B, N, C], one-hot, all 0 for background
    boxes: Any  # float32 [B, N, 4] corners, normalised; arbitrary where not matched
    matched: Any  # float32 [B, N], 1 where the anchor is responsible for a box


def assign_targets(
    boxes,
    class_ids,
    anchors,
    num_classes: int,
    *,
    iou_threshold: float,
    cell_sizes=None,
) -> Targets:
    """Matches anchors to padded ground truth.

    Every box gets the anchor that overlaps it most. Beyond that, an anchor takes the box that it
    overlaps most among those that it may take. SSD (section 2.2), as the Object Detection API's
    `argmax_matcher`: boxes that it overlaps by a fixed threshold. ATSS (Zhang et al., "Bridging the
    Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample Selection",
    algorithm 1): boxes around its center that it overlaps by more than mean plus standard deviation
    of the overlaps of the anchors near the box's center; small boxes then get as many anchors as
    large ones.

    Args:
      boxes: float32 [B, M, 4] corners, normalised; rows of padding are arbitrary.
      class_ids: int32 [B, M], 0-based; -1 marks a row of padding.
      anchors: float32 [N, 4] centers.
      num_classes: C.
      iou_threshold: SSD's smallest overlap.
      cell_sizes: float32 [N], sides of the anchors' cells, for ATSS; None for SSD's rule.

    Returns:
      `Targets`.
    """
    num_anchors, max_boxes = anchors.shape[0], boxes.shape[1]
    anchors = ops.convert_to_tensor(anchors)
    valid = class_ids >= 0  # [B, M]
    safe_boxes = ops.where(valid[:, :, None], boxes, 0.0)
    # Pairs are [B, M, N]: reductions over the anchors then run along memory.
    iou = box_ops.pairwise_iou(safe_boxes, box_ops.centers_to_corners(anchors)[None])
    iou = ops.where(valid[:, :, None], iou, -1.0)
    taken = iou
    if cell_sizes is not None:
        taken = ops.where(_atss_candidates(safe_boxes, iou, anchors, cell_sizes), iou, -1.0)
        iou_threshold = 0.0
    best_anchor = ops.argmax(iou, axis=2)[:, :, None]  # [B, M, 1]
    is_best = ops.arange(num_anchors, dtype=best_anchor.dtype) == best_anchor
    # When two boxes want the same anchor, the first box has it, as `argmax` takes the first.
    taken = ops.where(is_best & valid[:, :, None], _FORCED, taken)
    matched = ops.cast(ops.max(taken, axis=1) >= iou_threshold, "float32")  # [B, N]

    # A gather, written as a product with a one-hot matrix: it compiles well for accelerators.
    selector = ops.one_hot(ops.argmax(taken, axis=1), max_boxes, dtype="float32")  # [B, N, M]
    matched_boxes = ops.matmul(selector, safe_boxes)  # [B, N, 4]
    classes = ops.one_hot(ops.maximum(class_ids, 0), num_classes, dtype="float32")  # [B, M, C]
    class_targets = ops.matmul(selector, classes) * matched[:, :, None]
    return Targets(class_targets, matched_boxes, matched)


def anchors_in_crowds(boxes, crowd, anchors):
    """Finds the anchors that lie in a region of many objects.

    Which objects such a region shows, and where, nobody has labelled: its anchors are neither
    examples of objects nor of background. Those that are responsible for a labelled object are.

    Args:
      boxes: float32 [B, M, 4] corners, normalised; rows of padding are arbitrary.
      crowd: bool [B, M], which of them are such regions.
      anchors: float32 [N, 4] centers.

    Returns:
      bool [B, N].
    """
    regions = ops.where(crowd[:, :, None], boxes, 0.0)
    anchor_corners = box_ops.centers_to_corners(ops.convert_to_tensor(anchors))
    covered = box_ops.pairwise_covered(anchor_corners[None], regions)  # [B, N, M]
    return ops.max(covered, axis=2) >= _IN_CROWD


def _atss_candidates(boxes, iou, anchors, cell_sizes):
    """bool [B, M, N], which anchors may learn which box."""
    reach = _REACH * ops.convert_to_tensor(cell_sizes)  # [N]
    near = inside = True
    # One axis at a time: reductions over two coordinates cost more than all the rest.
    for axis in (0, 1):
        centers = anchors[:, axis]  # [N]
        low, high = boxes[:, :, None, axis], boxes[:, :, None, axis + 2]  # [B, M, 1]
        near = near & (ops.abs((low + high) / 2 - centers) < reach)
        inside = inside & (centers > low) & (centers < high)
    weight = ops.cast(near, iou.dtype)
    total = ops.maximum(ops.sum(weight, axis=2, keepdims=True), 1.0)  # [B, M, 1]
    mean = ops.sum(weight * iou, axis=2, keepdims=True) / total
    variance = ops.sum(weight * (iou - mean) ** 2, axis=2, keepdims=True) / total
    return near & inside & (iou >= mean + ops.sqrt(variance))
