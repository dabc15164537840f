"""Writes a whole ML Metadata store at once; nodes get the ids that an empty store gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata.records import RUN_CONTEXT

PIPELINE = "generated"
_TYPES = {
    "ExampleGen": "pipeline.data.example_gen.DetectionExampleGen",
    "StatisticsGen": "tfx.components.statistics_gen.component.StatisticsGen",
    "SchemaGen": "pipeline.data.schema_gen.CuratedSchemaGen",
    "ExampleValidator": "pipeline.data.example_validator.StrictExampleValidator",
    "Transform": "pipeline.data.transform.DetectionTransform",
    "WarmStart": "tfx.dsl.components.common.importer.Importer",
    "Trainer": "tfx.components.trainer.component.Trainer",
    "TFLiteRewriter": "pipeline.shipping.rewriter.TFLiteRewriter",
    "LatestBlessedModel": "tfx.dsl.components.common.resolver.Resolver",
    "Evaluator": "tfx.components.evaluator.component.Evaluator",
    "DeviceCheck": "pipeline.shipping.device_check.DeviceCheck",
    "Pusher": "pipeline.shipping.pusher.Pusher",
}
_EXAMPLES_PROPERTIES = {"span": mlmd.INT, "version": mlmd.INT, "split_names": mlmd.STRING}
_BATCH = 5000


class Writer:
    """Collects nodes, and writes them all in the end.

    Args:
      store: empty: the ids of its nodes must count from 1.
      root: of the artifacts' uris.
    """

    def __init__(self, store: metadata_store.MetadataStore, root: Path):
        self._store, self._root = store, root
        self._executions: list[mlmd.Execution] = []
        self._artifacts: list[mlmd.Artifact] = []
        self._contexts: list[mlmd.Context] = []
        self._edges: list[tuple[int, int, mlmd.Event]] = []
        self._associations: list[mlmd.Association] = []
        self._execution_types = {
            node: store.put_execution_type(mlmd.ExecutionType(name=name))
            for node, name in _TYPES.items()
        }
        self._artifact_types: dict[str, int] = {}
        self._context_types: dict[str, int] = {}
        self._pipeline = self.context("pipeline", PIPELINE)
        self._nodes = {node: self.context("node", f"{PIPELINE}.{node}") for node in _TYPES}

    @property
    def num_executions(self) -> int:
        """How many executions there are: the last one's id."""
        return len(self._executions)

    def context(self, type_name: str, name: str, **properties: Any) -> int:
        """Adds a context; returns its id."""
        if type_name not in self._context_types:
            self._context_types[type_name] = self._store.put_context_type(
                mlmd.ContextType(name=type_name)
            )
        context = mlmd.Context(type_id=self._context_types[type_name], name=name)
        _set(context, properties)
        self._contexts.append(context)
        return len(self._contexts)

    def run(self, name: str, num_executions: int, **properties: Any) -> int:
        """Adds the context of a run whose executions are the next ones; returns its id."""
        begin = self.num_executions + 1
        executions = str(list(range(begin, begin + num_executions)))
        return self.context(RUN_CONTEXT, name, executions=executions, **properties)

    def artifact(self, type_name: str, node: str, channel: str, **properties: Any) -> int:
        """Adds an artifact that the next execution, one of a node, makes; returns its id."""
        if type_name not in self._artifact_types:
            declared = _EXAMPLES_PROPERTIES if type_name == "Examples" else {}
            self._artifact_types[type_name] = self._store.put_artifact_type(
                mlmd.ArtifactType(name=type_name, properties=declared)
            )
        artifact = mlmd.Artifact(
            type_id=self._artifact_types[type_name],
            uri=str(self.folder(node, channel)),
            state=mlmd.Artifact.LIVE,
        )
        if type_name == "Examples":
            artifact.properties["span"].int_value = properties.pop("span", 0)
            artifact.properties["split_names"].string_value = '["train", "eval"]'
        _set(artifact, properties)
        self._artifacts.append(artifact)
        return len(self._artifacts)

    def folder(self, node: str, channel: str) -> Path:
        """Where the next execution, one of a node, leaves the artifact of a channel."""
        return self._root / node / channel / str(self.num_executions + 1)

    def execute(
        self,
        node: str,
        run: int,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        *,
        cached: bool,
        millis: int,
        **properties: Any,
    ) -> None:
        """Adds an execution; `run` is a context's id, `inputs` and `outputs` artifacts' ids."""
        state = mlmd.Execution.CACHED if cached else mlmd.Execution.COMPLETE
        execution = mlmd.Execution(type_id=self._execution_types[node], last_known_state=state)
        _set(execution, properties)
        self._executions.append(execution)
        for kind, channels in ((mlmd.Event.INPUT, inputs), (mlmd.Event.OUTPUT, outputs)):
            for channel, artifact in channels.items():
                event = mlmd.Event(type=kind, milliseconds_since_epoch=millis)
                event.path.steps.add(key=channel)
                event.path.steps.add(index=0)
                self._edges.append((self.num_executions - 1, artifact - 1, event))
        for context in (self._pipeline, run, self._nodes[node]):
            self._associations.append(
                mlmd.Association(execution_id=self.num_executions, context_id=context)
            )

    def write(self) -> None:
        """Writes everything."""
        for start in range(0, len(self._contexts), _BATCH):
            self._store.put_contexts(self._contexts[start : start + _BATCH])
        self._store.put_lineage_subgraph(self._executions, self._artifacts, [], self._edges)
        self._store.put_attributions_and_associations([], self._associations)


def _set(node: Any, properties: Mapping[str, Any]) -> None:
    for name, value in properties.items():
        field = {int: "int_value", float: "double_value"}.get(type(value), "string_value")
        setattr(node.custom_properties[name], field, value)
