"""SSD anchors: the boxes that the detector's outputs are relative to.

Source: Liu et al., "SSD: Single Shot MultiBox Detector", section 2.2, in the variant of the
TensorFlow Object Detection API's `ssd_anchor_generator` (scales 0.2 to 0.95, aspect ratios 1, 2,
1/2, 3, 1/3, a reduced lowest layer, one extra square anchor a cell between two scales).
"""

import math
from collections.abc import Sequence

import numpy as np

ASPECT_RATIOS = (1.0, 2.0, 1.0 / 2.0, 3.0, 1.0 / 3.0)
# What `best_min_scale` chooses from, and the places at which it tries a box: Roberts' R2 sequence
# ("The unreasonable effectiveness of quasirandom sequences", 2018), even without being a grid,
# which would lie alike in the cells of some maps.
_MIN_SCALES = tuple(round(0.05 * step, 2) for step in range(1, 13))
_PLACES = np.outer(np.arange(1, 65), (0.7548776662466927, 0.5698402909980532)) % 1.0
_PLACES = _PLACES.astype(np.float32)  # [64, 2]


def anchor_shapes(
    num_maps: int, min_scale: float = 0.2, max_scale: float = 0.95
) -> list[list[tuple[float, float]]]:
    """Heights and widths of the anchors of one cell, for each feature map.

    Args:
      num_maps: number of feature maps, finest first, at least 2.
      min_scale: side of the finest map's anchors, as a fraction of the image; its one square
        anchor has half of it, 0.1 for the usual 0.2.
      max_scale: the same for the coarsest map; the scales between are evenly spaced.

    Returns:
      For each map a list of (height, width), as fractions of the image: 3 shapes for the finest
      map, 6 for each other one.
    """
    step = (max_scale - min_scale) / (num_maps - 1)
    scales = [min_scale + step * index for index in range(num_maps)] + [1.0]
    shapes = []
    for index in range(num_maps):
        scale, next_scale = scales[index], scales[index + 1]
        if index == 0:
            # A cheaper set for the finest map, which holds most of the cells.
            specs = [(min_scale / 2, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            specs = [(scale, ratio) for ratio in ASPECT_RATIOS]
            specs.append((math.sqrt(scale * next_scale), 1.0))
        shapes.append([(s / math.sqrt(ratio), s * math.sqrt(ratio)) for s, ratio in specs])
    return shapes


def make_anchors(
    map_sizes: Sequence[int], min_scale: float = 0.2, max_scale: float = 0.95
) -> np.ndarray:
    """All anchors of a detector with square feature maps.

    Args:
      map_sizes: cells along one side of each feature map, finest first (19, 10, 5, 3, 2, 1 for
        a 300 pixel input).
      min_scale: see `anchor_shapes`.
      max_scale: see `anchor_shapes`.

    Returns:
      float32 [N, 4], (ycenter, xcenter, height, width) as fractions of the image, not clipped to
      it. Ordered by map, then row, then column, then shape: the order in which the detector
      flattens its outputs.
    """
    anchors = []
    all_shapes = anchor_shapes(len(map_sizes), min_scale, max_scale)
    for size, shapes in zip(map_sizes, all_shapes, strict=True):
        centers = (np.arange(size) + 0.5) / size
        ycenter, xcenter = np.meshgrid(centers, centers, indexing="ij")
        cells = np.stack([ycenter, xcenter], axis=-1).reshape(size * size, 1, 2)
        hw = np.array(shapes).reshape(1, len(shapes), 2)
        grid = np.concatenate(np.broadcast_arrays(cells, hw), axis=-1)  # [size^2, shapes, 4]
        anchors.append(grid.reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)


def best_min_scale(
    box_sizes: np.ndarray,
    box_ratios: np.ndarray,
    map_sizes: Sequence[int],
    max_scale: float = 0.95,
) -> float:
    """The smallest scale whose anchors fit a data set's boxes best.

    Boxes of every given size and ratio are laid all over the image; the scale wins with which
    nine in ten of them overlap their best anchor most. The scale matters: on the embedded demo data
    at 160x160 the int8 file had mAP@.5 0.86 with 0.2 (1,300 steps) and 0.99 with 0.35 (700 steps);
    this rule says 0.4 there.
    The mean overlap is no guide: on photographs of three breeds it prefers 0.4, with which 92% of
    the boxes overlap some anchor by half; with 0.2 it is 99%.

    Args:
      box_sizes: float32 [n], sqrt(area) of typical boxes, such as quantiles, 0..1.
      box_ratios: float32 [m], height / width of typical boxes, in normalised coordinates.
      map_sizes: see `make_anchors`.
      max_scale: see `anchor_shapes`.

    Returns:
      A multiple of 0.05, below `max_scale` and at most 0.6.
    """
    size, ratio = np.meshgrid(box_sizes, np.sqrt(box_ratios))
    hw = np.clip(np.stack([size * ratio, size / ratio], axis=-1).reshape(-1, 1, 2), 1e-3, 1.0)
    hw = hw.astype(np.float32)
    top_left = _PLACES * (1 - hw)  # [shapes, places, 2]
    bottom_right = (top_left + hw).reshape(-1, 2)  # [boxes, 2]
    top_left = top_left.reshape(-1, 2)

    def fit(min_scale: float) -> float:
        anchors = make_anchors(map_sizes, min_scale, max_scale)
        begin, end = anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2
        shared = np.minimum(bottom_right[:, None], end) - np.maximum(top_left[:, None], begin)
        intersection = np.prod(np.maximum(shared, 0), axis=-1)  # [boxes, N]
        areas = np.prod(bottom_right - top_left, axis=-1)[:, None] + np.prod(anchors[:, 2:], axis=1)
        return float(np.quantile((intersection / (areas - intersection)).max(axis=1), 0.1))

    return max((scale for scale in _MIN_SCALES if scale < max_scale), key=fit)
