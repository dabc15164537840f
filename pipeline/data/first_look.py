"""A first look at a data set, before a run is configured: how many objects, and how large."""

import collections
import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.types.standard_component_specs import INPUT_BASE_KEY

from pipeline.data.census import Checked, take_census
from pipeline.data.example_gen_executor import (
    find_all_inputs,
    names_spans,
    read_settings,
    split_rule,
)
from pipeline.data.input_patterns import is_remote
from pipeline.data.labelled_image import Box, LabelledImage
from pipeline.data.readers import Inputs
from pipeline.data.readers.detection import in_one_line
from pipeline.data.split import TRAIN

# So many images tell the sizes of their objects; reading them takes a second or two. Those of a
# bucket come one by one through the network, which keeps more readers waiting than there are cores.
MOST_IMAGES, _MOST_REMOTE_IMAGES = 1000, 200
_REMOTE_READERS = 16


class FirstLook(NamedTuple):
    """What a data set looks like.

    Attributes:
      num_images: usable images seen, at most `MOST_IMAGES`; 0 when they can't be looked at yet.
      num_training: images to train on; an estimate when not all were seen.
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
    if names_spans(example_gen):
        return FirstLook(0, 0, {}, ("the newest {SPAN} is known when ExampleGen runs, not before",))
    inputs = find_all_inputs(example_gen)
    rule = split_rule(read_settings(example_gen.exec_properties))
    remote = is_remote(example_gen.exec_properties[INPUT_BASE_KEY])
    most = _MOST_REMOTE_IMAGES if remote else MOST_IMAGES
    step = -(-len(inputs.items) // most) or 1
    items = inputs.items[::step]
    # An item is an image, or a file of many.
    see = functools.partial(_see, inputs, -(-most // max(len(items), 1)))
    with ThreadPoolExecutor(_REMOTE_READERS if remote else os.cpu_count()) as pool:
        seen = itertools.chain.from_iterable(pool.map(see, items))
        objects = {line.file: (line, found) for line, found in itertools.islice(seen, most)}
    census = take_census([line for line, _ in objects.values()], rule)
    sizes = collections.defaultdict(list)
    for line, _ in census.kept:
        for name, (ymin, xmin, ymax, xmax) in objects[line.file][1]:
            sizes[name].append(((ymax - ymin) * (xmax - xmin)) ** 0.5)
    return FirstLook(
        len(census.kept),
        census.count(TRAIN) * step,
        {name: np.array(sizes[name], np.float32) for name in sorted(sizes)},
        (in_one_line(inputs, *_classes(inputs, len(sizes), step)), *inputs.notes),
    )


def _see(inputs: Inputs, most: int, item: Any) -> list[tuple[Checked, list[tuple[str, Box]]]]:
    """The usable images of an item, and their objects, without the pictures' bytes."""
    usable = ((line, image) for line, image in inputs.read(item) if image is not None)
    return [(line, _objects(image)) for line, image in itertools.islice(usable, most)]


def _objects(image: LabelledImage) -> list[tuple[str, Box]]:
    crowd = image.crowd or (False,) * len(image.boxes)
    objects = zip(image.names, image.boxes, crowd, strict=True)
    return [(name, box) for name, box, many in objects if not many]


def _classes(inputs: Inputs, seen: int, step: int) -> tuple[int, bool]:
    """How many classes there are, and whether there may be more."""
    if inputs.classes is not None:
        return len(inputs.classes), False
    return seen, step > 1
