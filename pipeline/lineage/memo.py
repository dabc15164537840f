"""What was read from a store, so that a question asks for nothing twice."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

# Databases take so many values in one statement without slowing down.
BATCH = 5000


class Memo(dict):
    """Values by id; an id that the store does not know is not in it."""

    def look_up(
        self, ids: Collection[Any], load: Callable[[list], Iterable[tuple[Any, Any]]]
    ) -> dict:
        """Values of ids, in the order of the ids.

        Args:
          ids: any number of them, repetitions included.
          load: reads (id, value) pairs of at most `BATCH` ids that are not known yet.
        """
        wanted = sorted(set(ids))
        missing = [key for key in wanted if key not in self]
        for batch in batches(missing):
            self.update(load(batch))
        return {key: self[key] for key in wanted if key in self}


def batches(items: list) -> Iterator[list]:
    """Parts of at most `BATCH` items."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
