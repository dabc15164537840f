"""`trace`: where does X come from?"""

import dataclasses
from collections.abc import Collection
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.subject import Subject, find_subject
from pipeline.lineage.training import Training, data_json, is_raw_examples, trainings
from pipeline.lineage.walk import BASELINE, Subgraph, ancestors


@dataclasses.dataclass(frozen=True)
class Trace:
    """The complete ancestry of something.

    Attributes:
      subject: what was asked about.
      subgraph: every artifact and execution that it came from.
      trainings: the trainings among them, the last one first; several after a warm start.
    """

    subject: Subject
    subgraph: Subgraph
    trainings: list[Training]
    backend: Backend = dataclasses.field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """{subject, trainings, data, executions, artifacts}; see `Training.to_json`."""
        raw = [a for a in self.subgraph.artifacts.values() if is_raw_examples(a)]
        return {
            "subject": self.subject.to_json(),
            "trainings": [training.to_json(self.backend) for training in self.trainings],
            "data": [data_json(examples) for examples in raw],
            "executions": [e.to_json() for _, e in sorted(self.subgraph.executions.items())],
            "artifacts": [a.to_json() for _, a in sorted(self.subgraph.artifacts.items())],
        }


def ancestry(
    backend: Backend, subject: Subject, *, stop_at: Collection[str] = (BASELINE,)
) -> Subgraph:
    """Everything that an artifact, or a run's executions, came from; see `ancestors`."""
    if subject.run:
        executions = [execution.id for execution in backend.executions_in(subject.run)]
        return ancestors(backend, executions=executions, stop_at=stop_at)
    return ancestors(backend, [subject.artifact.id], stop_at=stop_at)


def trace(backend: Backend, given: str, *, through_baselines: bool = False) -> Trace:
    """Where X comes from.

    Args:
      backend: the store.
      given: X, see `find_subject`.
      through_baselines: also the ancestry of the baselines.

    Raises:
      UserError: see `find_subject`.
    """
    subject = find_subject(backend, given)
    subgraph = ancestry(backend, subject, stop_at=() if through_baselines else (BASELINE,))
    return Trace(subject, subgraph, trainings(backend, subgraph)[::-1], backend)
