"""Anchors: the boxes that the detector's outputs are relative to.

A family describes its anchors map by map, and `make_anchors` lays them out. Sources: for SSD, Liu
et al., "SSD: Single Shot MultiBox Detector", section 2.2, in the variant of the TensorFlow Object
Detection API's `ssd_anchor_generator` (scales 0.2 to 0.95, aspect ratios 1, 2, 1/2, 3, 1/3, a
reduced lowest layer, one extra square anchor per cell between two scales); for feature pyramids,
that API's `multiscale_grid_anchor_generator`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

SSD_RATIOS = (1.0, 2.0, 1.0 / 2.0, 3.0, 1.0 / 3.0)
# Where `best_scale` tries a box: Roberts' R2 sequence ("The unreasonable effectiveness of
# quasirandom sequences", 2018), which is even without being a grid. A grid would lie in the same
# place of every cell of some maps.
_PLACES = np.outer(np.arange(1, 65), (0.7548776662466927, 0.5698402909980532)) % 1.0
_PLACES = _PLACES.astype(np.float32)  # [64, 2]


class AnchorMap(NamedTuple):
    """The anchors of one square feature map, in fractions of the image.

    Attributes:
      centers: float64 [cells], of the cells along a side.
      shapes: (height, width) of the anchors of each cell.
    """

    centers: np.ndarray
    shapes: list[tuple[float, float]]


def make_anchors(maps: Sequence[AnchorMap]) -> np.ndarray:
    """Lays out all anchors of a detector.

    Args:
      maps: finest first.

    Returns:
      float32 [N, 4], (ycenter, xcenter, height, width) as fractions of the image, not clipped to
      it. Ordered by map, then row, then column, then shape: the order in which the detector
      flattens its outputs.
    """
    anchors = []
    for centers, shapes in maps:
        ycenter, xcenter = np.meshgrid(centers, centers, indexing="ij")
        cells = np.stack([ycenter, xcenter], axis=-1).reshape(len(centers) ** 2, 1, 2)
        hw = np.array(shapes).reshape(1, len(shapes), 2)
        grid = np.concatenate(np.broadcast_arrays(cells, hw), axis=-1)  # [size^2, shapes, 4]
        anchors.append(grid.reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)


def ssd_anchor_maps(
    map_sizes: Sequence[int], min_scale: float, max_scale: float
) -> list[AnchorMap]:
    """The anchors of SSD.

    Args:
      map_sizes: cells along one side of each feature map, finest first (19, 10, 5, 3, 2, 1 for
        a 300 pixel input), at least two.
      min_scale: side of the finest map's anchors, as a fraction of the image; its one square
        anchor has half of it, 0.1 for the usual 0.2.
      max_scale: the same for the coarsest map; the scales between are evenly spaced.

    Returns:
      A description of each map: 3 shapes for the finest one, 6 for each other one.
    """
    step = (max_scale - min_scale) / (len(map_sizes) - 1)
    scales = [min_scale + step * index for index in range(len(map_sizes))] + [1.0]
    maps = []
    for index, size in enumerate(map_sizes):
        scale, next_scale = scales[index], scales[index + 1]
        if index == 0:
            # A cheaper set for the finest map, which has most of the cells.
            specs = [(min_scale / 2, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            specs = [(scale, ratio) for ratio in SSD_RATIOS]
            specs.append((math.sqrt(scale * next_scale), 1.0))
        shapes = [(s / math.sqrt(ratio), s * math.sqrt(ratio)) for s, ratio in specs]
        maps.append(AnchorMap((np.arange(size) + 0.5) / size, shapes))
    return maps


def pyramid_anchor_maps(
    input_size: int,
    levels: Sequence[int],
    anchor_scale: float,
    scales_per_octave: int,
    ratios: Sequence[float],
) -> list[AnchorMap]:
    """The anchors of a feature pyramid (RetinaNet, section 4).

    Args:
      input_size: side of the input in pixels.
      levels: of the maps, finest first; level l has a stride of 2**l pixels.
      anchor_scale: side of a level's smallest square anchor, in strides.
      scales_per_octave: sizes of the anchors of a cell.
      ratios: width / height of the anchors of each size.

    Returns:
      A description of each map: its shapes ratio by ratio, the smaller scale first. The first
      center is half a stride from the edge where the stride divides the input, else at the edge.
    """
    maps = []
    for level in levels:
        stride = 2**level
        offset = stride / 2 if input_size % stride == 0 else 0.0
        centers = (np.arange(math.ceil(input_size / stride)) * stride + offset) / input_size
        shapes = [
            (side / math.sqrt(ratio), side * math.sqrt(ratio))
            for ratio in ratios
            for octave in range(scales_per_octave)
            for side in [anchor_scale * stride * 2 ** (octave / scales_per_octave) / input_size]
        ]
        maps.append(AnchorMap(centers, shapes))
    return maps


def best_scale(
    box_sizes: np.ndarray,
    box_ratios: np.ndarray,
    scales: Sequence[float],
    anchors_at: Callable[[float], np.ndarray],
) -> float:
    """The scale whose anchors fit a data set's boxes best.

    Boxes of every given size and ratio are laid all over the image; the best scale is the one at
    which nine in ten of them overlap their best anchor most. The scale matters: on the embedded
    demo data at 160x160 the int8 file of SSD had mAP@.5 0.86 with 0.2 (1,300 steps) and 0.99 with
    0.35 (700 steps); this rule says 0.4 there.
    The mean overlap is no guide: on photographs of three breeds it prefers 0.4, with which 92% of
    the boxes overlap some anchor by half; with 0.2 it is 99%.

    Args:
      box_sizes: float32 [n], sqrt(area) of typical boxes, such as quantiles, 0..1.
      box_ratios: float32 [m], height / width of typical boxes, in normalised coordinates.
      scales: to choose from; the first of equals wins.
      anchors_at: float32 [N, 4] centers, the anchors at a scale.

    Returns:
      One of the scales.
    """
    size, ratio = np.meshgrid(box_sizes, np.sqrt(box_ratios))
    hw = np.clip(np.stack([size * ratio, size / ratio], axis=-1).reshape(-1, 1, 2), 1e-3, 1.0)
    hw = hw.astype(np.float32)
    top_left = _PLACES * (1 - hw)  # [shapes, places, 2]

    def fit(scale: float) -> float:
        anchors = anchors_at(scale)
        # Shape by shape: a large pyramid has 51,150 anchors.
        overlaps = [
            _best_overlaps(begin, begin + shape, anchors)
            for begin, shape in zip(top_left, hw, strict=True)
        ]
        return float(np.quantile(np.concatenate(overlaps), 0.1))

    return max(scales, key=fit)


def _best_overlaps(top_left: np.ndarray, bottom_right: np.ndarray, anchors: np.ndarray):
    """IoU of each box, [n, 2] and [n, 2], with its best anchor: [n]."""
    begin, end = anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2
    shared = np.minimum(bottom_right[:, None], end) - np.maximum(top_left[:, None], begin)
    intersection = np.prod(np.maximum(shared, 0), axis=-1)  # [n, N]
    areas = np.prod(bottom_right - top_left, axis=-1)[:, None] + np.prod(anchors[:, 2:], axis=1)
    return (intersection / (areas - intersection)).max(axis=1)
