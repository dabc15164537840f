"""What the questions need of a store: ids, types, contexts and events, always in batches."""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from pipeline.lineage.records import Artifact, Event, Execution, NodeId, Run


class Backend(Protocol):
    """A store, opened for reading. Unknown ids are left out of the answers.

    What was read is kept: open the store again to see what was written since.
    """

    location: str
    """Where the store is, for messages."""

    gaps: str | None
    """One line on what this kind of store does not record; None when it records everything."""

    def node_id(self, text: str) -> NodeId | None:
        """The id that a text is; None when it can't be one in this kind of store."""

    def artifacts(self, ids: Collection[NodeId]) -> dict[NodeId, Artifact]:
        """Artifacts by id."""

    def executions(self, ids: Collection[NodeId]) -> dict[NodeId, Execution]:
        """Executions by id."""

    def events_of(self, executions: Collection[NodeId]) -> list[Event]:
        """All events of executions."""

    def events_at(self, artifacts: Collection[NodeId]) -> list[Event]:
        """All events at artifacts: who made and who read them."""

    def artifacts_of_type(self, type_name: str) -> list[Artifact]:
        """All artifacts of a type; the time grows with their number."""

    def artifacts_with_uri(self, uri: str) -> list[Artifact]:
        """Artifacts by exact uri."""

    def runs(self, last: int | None = None) -> list[Run]:
        """Runs in the order in which they began; the last ones only, if asked."""

    def run(self, name: str) -> Run | None:
        """A run by name."""

    def executions_in(self, run: Run) -> list[Execution]:
        """Executions of a run, cached ones included, in the order in which they began."""

    def runs_of(self, executions: Iterable[NodeId]) -> dict[NodeId, Run]:
        """The run of each execution."""

    def earlier(self, execution: Execution) -> Execution | None:
        """The last execution of the same component before this one that did not fail."""

    def maker_hint(self, artifact: Artifact) -> NodeId | None:
        """The execution that made an artifact by its uri alone; still to be confirmed."""

    def record(self, kind: str, name: str) -> Any:
        """What `pipeline.metadata.run_facts` recorded under a kind and a name; None if nothing."""
