"""A first look at a data set, before a run is configured: how many objects, and how large."""

import collections
import itertools
from typing import NamedTuple

import numpy as np
from tfx.components.example_gen.component import FileBasedExampleGen

from pipeline.data.example_gen_executor import find_all_inputs

# So many images tell the sizes of their objects; reading them takes a second or two.
MOST_IMAGES = 1000


class FirstLook(NamedTuple):
    """What a data set looks like.

    Attributes:
      num_images: usable images seen, at most `MOST_IMAGES`.
      box_sizes: by class, float32 [n], sqrt(area) of its objects as a fraction of the image.
    """

    num_images: int
    box_sizes: dict[str, np.ndarray]


def look_at(example_gen: FileBasedExampleGen) -> FirstLook:
    """Reads some images of a data set, evenly spaced if there are many.

    Unusable images are skipped here; the ExampleGen itself lists them with their reasons.

    Args:
      example_gen: a `VocExampleGen` or `TfRecordExampleGen`; is not run.

    Raises:
      UserError: when a folder or file that should exist does not.
    """
    inputs = find_all_inputs(example_gen)
    step = -(-len(inputs.items) // MOST_IMAGES) or 1
    checked = itertools.chain.from_iterable(map(inputs.read, inputs.items[::step]))
    images = itertools.islice((image for _, image in checked if image is not None), MOST_IMAGES)
    count, sizes = 0, collections.defaultdict(list)
    for image in images:
        count += 1
        for name, (ymin, xmin, ymax, xmax) in zip(image.names, image.boxes, strict=True):
            sizes[name].append(((ymax - ymin) * (xmax - xmin)) ** 0.5)
    return FirstLook(count, {name: np.array(sizes[name], np.float32) for name in sorted(sizes)})
