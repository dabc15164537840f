"""A first look at a data set, before a run is configured: how many objects, and how large."""

import collections
import itertools
from typing import NamedTuple

import numpy as np
from tfx.components.example_gen.component import FileBasedExampleGen

from pipeline.data.census import take_census
from pipeline.data.example_gen_executor import find_all_inputs, read_settings, split_rule
from pipeline.data.readers import Inputs
from pipeline.data.readers.detection import in_one_line
from pipeline.data.split import TRAIN

# So many images tell the sizes of their objects; reading them takes a second or two.
MOST_IMAGES = 1000


class FirstLook(NamedTuple):
    """What a data set looks like.

    Attributes:
      num_images: usable images seen, at most `MOST_IMAGES`.
      num_training: those of them to train on.
      box_sizes: by class, float32 [n], sqrt(area) of its objects as a fraction of the image.
      found: what the data set is, in one line, and what else a person should know of it.
    """

    num_images: int
    num_training: int
    box_sizes: dict[str, np.ndarray]
    found: tuple[str, ...]


def look_at(example_gen: FileBasedExampleGen) -> FirstLook:
    """Reads some images of a data set, evenly spaced if there are many.

    Unusable images are skipped here; the ExampleGen itself lists them with their reasons.

    Args:
      example_gen: is not run.

    Raises:
      UserError: when a folder or file that should exist does not, or a split list is unusable.
    """
    inputs = find_all_inputs(example_gen)
    rule = split_rule(read_settings(example_gen.exec_properties))
    step = -(-len(inputs.items) // MOST_IMAGES) or 1
    checked = itertools.chain.from_iterable(map(inputs.read, inputs.items[::step]))
    usable = ((line, image) for line, image in checked if image is not None)
    lines, objects = [], {}
    for line, image in itertools.islice(usable, MOST_IMAGES):
        lines.append(line)
        crowd = image.crowd or (False,) * len(image.boxes)
        objects[line.file] = [
            (name, box)
            for name, box, many in zip(image.names, image.boxes, crowd, strict=True)
            if not many
        ]
    census = take_census(lines, rule)
    sizes = collections.defaultdict(list)
    for line, _ in census.kept:
        for name, (ymin, xmin, ymax, xmax) in objects[line.file]:
            sizes[name].append(((ymax - ymin) * (xmax - xmin)) ** 0.5)
    return FirstLook(
        len(census.kept),
        census.count(TRAIN),
        {name: np.array(sizes[name], np.float32) for name in sorted(sizes)},
        (in_one_line(inputs, *_classes(inputs, len(sizes), step)), *inputs.notes),
    )


def _classes(inputs: Inputs, seen: int, step: int) -> tuple[int, bool]:
    """How many classes there are, and whether there may be more."""
    if inputs.classes is not None:
        return len(inputs.classes), False
    return seen, step > 1
