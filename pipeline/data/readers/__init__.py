"""One module per input format. Each one brings

- what the component says to TFX's driver: glob patterns, whose files decide the cache key;
- `find...`: patterns to `Inputs`, when the component runs;
- `read...`: one item to checked, labelled images, on a Beam worker.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import LabelledImage


@dataclass(frozen=True)
class Inputs:
    """What an ExampleGen found to read.

    Attributes:
      items: units of work, in any order.
      read: yields, for every input in an item, what is known about it, and the image if it is
        usable.
      pictures: picture files that become examples only if an annotation refers to them.
      ignored: files that are not examples.
    """

    items: list
    read: Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]]
    pictures: frozenset[str]
    ignored: list[Ignored]
