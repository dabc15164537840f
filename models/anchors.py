"""SSD anchors: the boxes that the detector's outputs are relative to.

Source: Liu et al., "SSD: Single Shot MultiBox Detector", section 2.2, in the variant of the
TensorFlow Object Detection API's `ssd_anchor_generator` (scales 0.2 to 0.95, aspect ratios 1, 2,
1/2, 3, 1/3, a reduced lowest layer, one extra square anchor a cell between two scales).
"""

import math
from collections.abc import Sequence

import numpy as np

ASPECT_RATIOS = (1.0, 2.0, 1.0 / 2.0, 3.0, 1.0 / 3.0)


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
