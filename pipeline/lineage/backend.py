"""What the questions need from a store: ids, types, contexts and events, always in batches."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from pipeline.metadata.records import Artifact, Event, Execution, NodeId, Run


class Backend(Protocol):
    """A store, opened for reading. Unknown ids are left out of the answers.

    It keeps what it has read: open the store again to see what was written since.
    """

    location: str
    """Where the store is, for messages."""

    gaps: str | None
    """One line on what this kind of store does not record; None if it records everything."""

    def node_id(self, text: str) -> NodeId | None:
        """The id that a text stands for; None if it cannot be an id in this kind of store."""

    def artifacts(self, ids: Collection[NodeId]) -> dict[NodeId, Artifact]:
        """Artifacts by id."""

    def executions(self, ids: Collection[NodeId]) -> dict[NodeId, Execution]:
        """Executions by id."""

    def events_of(self, executions: Collection[NodeId]) -> list[Event]:
        """All events of executions."""

    def events_at(self, artifacts: Collection[NodeId]) -> list[Event]:
        """All events of artifacts, in the order in which the executions began."""

    def artifacts_of_type(self, type_name: str) -> list[Artifact]:
        """All artifacts of a type; takes time in proportion to their number."""

    def executions_of(self, node: str) -> list[Execution]:
        """All executions of a component; takes time in proportion to their number."""

    def artifacts_with_uri(self, uri: str) -> list[Artifact]:
        """Artifacts by exact uri."""

    def runs(self) -> list[Run]:
        """All runs, in the order in which they began."""

    def runs_backwards(self) -> Iterator[Run]:
        """All runs, the last one first; reads as many as are taken."""

    def run(self, name: str) -> Run | None:
        """A run by name."""

    def executions_in(self, run: Run) -> list[Execution]:
        """Executions of a run, cached ones included, in the order in which they began."""

    def runs_of(self, executions: Collection[NodeId]) -> dict[NodeId, Run]:
        """The run of each execution."""

    def record(self, kind: str, name: NodeId) -> Any:
        """What `pipeline.metadata.facts` recorded under a kind and a name; None if nothing."""


def look_up(
    known: dict[NodeId, Any],
    ids: Collection[NodeId],
    load: Callable[[list], Iterable[tuple[NodeId, Any]]],
) -> dict[NodeId, Any]:
    """Values by id, in the order of the ids; loads those that are not known yet, and keeps them."""
    wanted = sorted(set(ids))
    known.update(load([key for key in wanted if key not in known]))
    return {key: known[key] for key in wanted if key in known}
