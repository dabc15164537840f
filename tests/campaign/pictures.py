"""The campaign's data: a VOC folder whose pictures come, go and change."""

import random
from pathlib import Path

from tests.campaign.notes import sha256_of
from tests.pipeline.lineage.small_runs import add_image

_FIRST_IMAGES = 24


class Pictures:
    """A VOC folder with a list of training images and one of evaluation images.

    Args:
      folder: is created.
      chance: decides what changes.
    """

    def __init__(self, folder: Path, chance: random.Random):
        self.folder, self.chance = folder, chance
        self.lists = {split: folder / f"{split}.txt" for split in ("train", "eval")}
        self._count = 0
        self._splits: dict[str, str] = {}
        for inner in ("images", "annotations/xmls"):
            (folder / inner).mkdir(parents=True)
        for number in range(_FIRST_IMAGES):
            self._add("train" if number % 4 else "eval")
        self._write_lists()

    def change(self) -> str:
        """Adds, removes or redraws a picture; says which."""
        name = self.chance.choice(sorted(self._splits))
        what = self.chance.choice(["added", "removed", "redrawn"])
        if what == "added":
            name = self._add(self.chance.choice(["train", "eval"]))
        elif what == "redrawn":
            add_image(self.folder, name, self.chance.randrange(10**6))
        else:
            del self._splits[name]
            (self.folder / "images" / f"{name}.png").unlink()
            (self.folder / "annotations" / "xmls" / f"{name}.xml").unlink()
        self._write_lists()
        return f"{name} {what}"

    def listed(self, split: str) -> frozenset[tuple[str, str]]:
        """(image id, sha256) of a split."""
        return frozenset(
            (name, sha256_of(self.folder / "images" / f"{name}.png"))
            for name, of in self._splits.items()
            if of == split
        )

    def _add(self, split: str) -> str:
        name = f"image_{self._count:03}"
        self._count += 1
        add_image(self.folder, name, self.chance.randrange(10**6))
        self._splits[name] = split
        return name

    def _write_lists(self) -> None:
        for split, file in self.lists.items():
            names = [name for name, of in sorted(self._splits.items()) if of == split]
            file.write_text("".join(f"{name}\n" for name in names))
