"""One module per input format; `detection` finds out which of them reads a data set. Each has

- `TITLE`, the format's name;
- `recognise`: the files of a `tree.Tree` that are labels in this format, by looking into few;
- `find`: these files to `Inputs`;
- `read...`: one item to checked, labelled images, on a Beam worker.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.census import Checked, Ignored
from pipeline.data.labelled_image import LabelledImage


@dataclass(frozen=True)
class Inputs:
    """What an ExampleGen found to read.

    Attributes:
      items: units of work, in any order; each has a `side`: "train", "eval", "test", or "" for the
        hash to decide.
      read: yields, for every input in an item, what is known about it, and the image if it is
        usable.
      pictures: picture files that become examples only if an annotation refers to them.
      ignored: files that are not examples.
      title: of the format.
      classes: as far as the format lists them; None when only the items know.
      split: what decides the sides, in words.
      notes: what else a person should know before training.
    """

    items: list
    read: Callable[[Any], Iterator[tuple[Checked, LabelledImage | None]]]
    pictures: frozenset[str]
    ignored: list[Ignored]
    title: str = ""
    classes: Sequence[str] | None = None
    split: str = ""
    notes: tuple[str, ...] = ()
