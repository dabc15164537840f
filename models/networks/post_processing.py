"""From the network's outputs to detections, as TFLite_Detection_PostProcess computes them.

The device runs the TFLite kernel. This is the same computation in NumPy, for scoring during
training and for comparisons with an exported file.
"""

from typing import NamedTuple

import numpy as np

from models.networks.boxes import BOX_SCALES
from models.settings import PostProcessing


class Detections(NamedTuple):
    """The detections of one image, best first.

    Attributes:
      boxes: float32 [n, 4] (ymin, xmin, ymax, xmax), normalised, clipped to 0..1.
      class_ids: int32 [n], 0-based.
      scores: float32 [n], 0..1, descending.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray


def decode_boxes(encodings: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """`models.networks.boxes.decode` in NumPy: [..., N, 4] encodings to [..., N, 4] corners."""
    unscaled = encodings / np.array(BOX_SCALES, np.float32)
    center = unscaled[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(unscaled[..., 2:]) * anchors[:, 2:] / 2
    return np.concatenate([center - half, center + half], axis=-1)


def post_process(
    encodings: np.ndarray, logits: np.ndarray, anchors: np.ndarray, settings: PostProcessing
) -> Detections:
    """The detections of one image.

    Args:
      encodings: float32 [N, 4], see `models.networks.boxes.encode`.
      logits: float32 [N, C].
      anchors: float32 [N, 4] centers.
      settings: see `models.settings.PostProcessing`.

    Returns:
      `Detections`, at most `settings.max_detections` of them.
    """
    scores = np.exp(-np.logaddexp(0, -logits))  # the sigmoid, without overflow
    return post_process_scores(encodings, scores, anchors, settings)


def post_process_scores(
    encodings: np.ndarray, scores: np.ndarray, anchors: np.ndarray, settings: PostProcessing
) -> Detections:
    """`post_process` of class scores, float32 [N, C] in 0..1, instead of logits."""
    boxes = decode_boxes(encodings, anchors)
    if settings.regular_nms:
        per_class = [
            (keep, np.full(len(keep), class_id))
            for class_id in range(scores.shape[1])
            for keep in [suppress(boxes, scores[:, class_id], settings)]
        ]
        rows = np.concatenate([keep for keep, _ in per_class])
        class_ids = np.concatenate([ids for _, ids in per_class])
    else:
        rows = suppress(boxes, scores.max(axis=1), settings)
        class_ids = scores[rows].argmax(axis=1)
    kept = scores[rows, class_ids]
    best = np.argsort(-kept, kind="stable")[: settings.max_detections]
    return Detections(
        np.clip(boxes[rows[best]], 0, 1).astype(np.float32),
        class_ids[best].astype(np.int32),
        kept[best].astype(np.float32),
    )


def suppress(boxes: np.ndarray, scores: np.ndarray, settings: PostProcessing) -> np.ndarray:
    """Greedy non-maximum suppression for one class.

    Args:
      boxes: float32 [N, 4] corners.
      scores: float32 [N].
      settings: the thresholds and the count to keep.

    Returns:
      int64 [k], rows of the boxes kept, best first.
    """
    order = np.flatnonzero(scores >= settings.score_threshold)
    order = order[np.argsort(-scores[order], kind="stable")]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    keep = []
    while len(order) and len(keep) < settings.max_detections:
        best, order = order[0], order[1:]
        keep.append(best)
        top_left = np.maximum(boxes[best, :2], boxes[order, :2])
        bottom_right = np.minimum(boxes[best, 2:], boxes[order, 2:])
        intersection = np.prod(np.maximum(bottom_right - top_left, 0), axis=1)
        union = areas[best] + areas[order] - intersection
        order = order[intersection <= settings.iou_threshold * union]
    return np.array(keep, np.int64)
