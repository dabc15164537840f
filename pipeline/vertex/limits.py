"""How long each part of a run may take: what bounds its cost, whatever hangs.

The limits travel as labels of the run. As a part of the job they would be a part of its cache keys,
and a run with other limits would train again.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UserError

TRAINER = "Trainer"
BEAM_TASKS = ("ExampleGen", "StatisticsGen", "Transform", "Evaluator")
# Vertex AI's own limit of a custom job.
_LONGEST_SECONDS = 7 * 24 * 3600
_PREFIX = "limit-"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Whole seconds after which something is ended.

    Attributes:
      task: a task's container, besides the job that it waits for.
      training: the custom job, restarts included.
      dataflow: each Dataflow job; 0 if there are none.
    """

    task: int
    training: int
    dataflow: int

    @classmethod
    def of_hours(cls, task: float, training: float, dataflow: float) -> "Limits":
        """Rounded down, so that a bound computed from the hours holds."""
        hours = (task, training, dataflow)
        return cls(*(min(int(3600 * each), _LONGEST_SECONDS) for each in hours))

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> "Limits":
        """The inverse of `labels`.

        Raises:
          UserError: there are none.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            return cls(**{name: int(labels[_PREFIX + name]) for name in names})
        except (KeyError, ValueError) as error:
            raise UserError(
                f"Expected a run with the labels {', '.join(_PREFIX + name for name in names)}, "
                f"which bound its cost. Received: {dict(labels)}. Submit it with vertex_runner.py, "
                "or the job that `vertex_runner.py compile` has written with its labels."
            ) from error

    def labels(self) -> dict[str, str]:
        """Labels of a run."""
        return {_PREFIX + name: str(value) for name, value in dataclasses.asdict(self).items()}

    def of_task(self, name: str) -> int:
        """Seconds after which the container of a task is ended."""
        if name == TRAINER:
            return self.task + self.training
        return self.task + (self.dataflow if name in BEAM_TASKS else 0)


def limited(job: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """A compiled job that runs within limits."""
    return {**job, "labels": {**job.get("labels", {}), **limits.labels()}}
