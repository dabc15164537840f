"""What the campaign knows without asking the pipeline."""

import dataclasses
import hashlib
from pathlib import Path

TRAINED, INHERITED, EVALUATED = "trained", "inherited", "evaluated"


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training was told.

    Attributes:
      seed: of the training.
      train: (image id, sha256) of the pictures to train on.
      eval: the same of those to evaluate on.
      base: the training of the model whose weights it began from.
    """

    seed: int
    train: frozenset[tuple[str, str]]
    eval: frozenset[tuple[str, str]]
    base: "Training | None" = None

    def chain(self) -> "list[Training]":
        """This training, its base, the base's base, and so on."""
        return [self, *(self.base.chain() if self.base else [])]

    def touched_by(self, sha256: str) -> str | None:
        """How a picture touched it."""
        if sha256 in dict(map(reversed, self.train)):
            return TRAINED
        bases = self.chain()[1:]
        if any(sha256 in dict(map(reversed, base.train)) for base in bases):
            return INHERITED
        return EVALUATED if sha256 in dict(map(reversed, self.eval)) else None

    def images(self) -> dict[str, tuple[str, str]]:
        """(sha256, split) by image id."""
        splits = {"train": self.train, "eval": self.eval}
        return {name: (digest, split) for split, found in splits.items() for name, digest in found}


@dataclasses.dataclass
class Notes:
    """Everything that happened so far.

    Attributes:
      told: each run's training by the run's id, also of those that were killed.
      exit_codes: of the runs that ended by themselves.
      accepted: the training of each file that may be served, by its sha256.
      damaged: what the campaign spoiled and left, relative to the workdir.
    """

    told: dict[str, Training] = dataclasses.field(default_factory=dict)
    exit_codes: dict[str, int] = dataclasses.field(default_factory=dict)
    accepted: dict[str, Training] = dataclasses.field(default_factory=dict)
    damaged: set[Path] = dataclasses.field(default_factory=set)

    def finished(self) -> list[str]:
        """Runs that came to their end, blessed or not."""
        return [run for run, code in self.exit_codes.items() if code in (0, 3)]

    def pictures(self) -> list[str]:
        """Hashes of all pictures that any run was given."""
        return sorted({digest for t in self.told.values() for digest, _ in t.images().values()})


def sha256_of(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
