"""`trace`: where does X come from?"""

import dataclasses
from collections.abc import Collection
from typing import Any

from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import fates, origins
from pipeline.lineage.subject import Subject, find_subject
from pipeline.lineage.training import Training, data_json, is_raw_examples, trainings
from pipeline.lineage.walk import BASELINE, Subgraph, ancestors
from pipeline.metadata.records import NodeId


@dataclasses.dataclass(frozen=True)
class Trace:
    """The complete ancestry of something.

    Attributes:
      subject: what was asked about.
      subgraph: every artifact and execution that it came from.
      trainings: the trainings among them, the last one first; several after a warm start. The
        training of the file that was asked about has no other files; if a run was asked about,
        with the judgement and the push of this run.
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
    found = about(backend, subject, trainings(backend, subgraph))
    return Trace(subject, subgraph, found[::-1], backend)


def asked_files(backend: Backend, subject: Subject) -> set[NodeId]:
    """The shipping model that X is or was pushed from, or that the run X made or reused.

    X itself if it is something else.
    """
    if subject.artifact:
        return {origins(backend, [subject.artifact])[subject.artifact.id][0]}
    members = backend.executions_in(subject.run)
    rewriters = [member.id for member in members if member.node == "TFLiteRewriter"]
    return {event.artifact for event in backend.events_of(rewriters) if event.is_output}


def about(backend: Backend, subject: Subject, found: list[Training]) -> list[Training]:
    """Trainings, of which that of the file that was asked about has no other files.

    Of the verdicts and pushes, a run has its own.
    """
    asked = asked_files(backend, subject)
    return [_about(backend, subject, training, asked) for training in found]


def _about(
    backend: Backend, subject: Subject, training: Training, asked: Collection[NodeId]
) -> Training:
    own = [fate for fate in training.fates if fate.shipping_model.id in asked]
    if not own:
        return training
    if subject.run:
        within = {member.id for member in backend.executions_in(subject.run)}
        became = fates(backend, [training.model.id], within)[training.model.id]
        own = [fate for fate in became if fate.shipping_model.id in asked]
    else:  # the same bytes may have been made several times
        own = [fate for fate in training.fates if fate.sha256 == own[0].sha256]
    return dataclasses.replace(training, fates=own)
