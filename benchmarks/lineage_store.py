"""Makes a large ML Metadata store as the pipeline would leave it, to measure the lineage on.

    python -m benchmarks.lineage_store STORE.sqlite --runs 1800

Runs share data, schema and transforms through caching; the first ones form one chain of warm
starts; every blessed model is the baseline of the next. Every data set has its images.jsonl.
"""

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.run_facts import RECORD_TYPE
from pipeline.store import connection_config, open_store

PIPELINE = "generated"
IMAGES = 40
RUNS_PER_DATA = 6
RUNS_PER_SCHEMA = 100
_START_MS = 1_700_000_000_000
_RUN_MS = 3_600_000
_TYPES = {
    "ExampleGen": "pipeline.example_gen.VocExampleGen",
    "StatisticsGen": "tfx.components.statistics_gen.component.StatisticsGen",
    "SchemaGen": "pipeline.schema_gen.CuratedSchemaGen",
    "ExampleValidator": "pipeline.example_validator.StrictExampleValidator",
    "Transform": "pipeline.transform.DetectionTransform",
    "WarmStart": "tfx.dsl.components.common.importer.Importer",
    "Trainer": "tfx.components.trainer.component.Trainer",
    "TFLiteRewriter": "pipeline.rewriter.TFLiteRewriter",
    "LatestBlessedModel": "tfx.dsl.components.common.resolver.Resolver",
    "Evaluator": "tfx.components.evaluator.component.Evaluator",
    "DeviceCheck": "pipeline.device_check.DeviceCheck",
    "Pusher": "pipeline.pusher.Pusher",
}
_EXAMPLES_PROPERTIES = {"span": mlmd.INT, "version": mlmd.INT, "split_names": mlmd.STRING}


@dataclasses.dataclass
class GeneratedStore:
    """What was made: ids by run number, from 0.

    Attributes:
      executions: how many there are.
      examples, models, shipping_models, pushed: artifact ids by run.
      warm_start: the run whose model a run started from, by run.
    """

    executions: int = 0
    examples: list[int] = dataclasses.field(default_factory=list)
    models: list[int] = dataclasses.field(default_factory=list)
    shipping_models: list[int] = dataclasses.field(default_factory=list)
    pushed: list[int] = dataclasses.field(default_factory=list)
    warm_start: dict[int, int] = dataclasses.field(default_factory=dict)

    @staticmethod
    def run_id(run: int) -> str:
        """Name of a run."""
        return f"run-{run:05}"


def sha256(text: str) -> str:
    """Hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


class _Writer:
    """Collects nodes with the ids that an empty store will give them."""

    def __init__(self, store, root: Path):
        self.root = root
        self.executions, self.artifacts, self.contexts, self.edges = [], [], [], []
        self.associations, self.attributions = [], []
        self._store = store
        self._execution_types = {
            node: store.put_execution_type(mlmd.ExecutionType(name=name))
            for node, name in _TYPES.items()
        }
        self._artifact_types: dict[str, int] = {}
        self._context_types: dict[str, int] = {}
        self.pipeline = self.context("pipeline", PIPELINE)
        self.nodes = {node: self.context("node", f"{PIPELINE}.{node}") for node in _TYPES}

    def context(self, type_name: str, name: str, **properties) -> int:
        if type_name not in self._context_types:
            self._context_types[type_name] = self._store.put_context_type(
                mlmd.ContextType(name=type_name)
            )
        context = mlmd.Context(type_id=self._context_types[type_name], name=name)
        _set(context, properties)
        self.contexts.append(context)
        return len(self.contexts)

    def artifact(self, type_name: str, uri: str, millis: int, **properties) -> int:
        if type_name not in self._artifact_types:
            declared = _EXAMPLES_PROPERTIES if type_name == "Examples" else {}
            self._artifact_types[type_name] = self._store.put_artifact_type(
                mlmd.ArtifactType(name=type_name, properties=declared)
            )
        artifact = mlmd.Artifact(
            type_id=self._artifact_types[type_name], uri=uri, state=mlmd.Artifact.LIVE
        )
        if type_name == "Examples":
            artifact.properties["span"].int_value = properties.pop("span", 0)
            artifact.properties["split_names"].string_value = '["train", "eval"]'
        _set(artifact, properties)
        self.artifacts.append(artifact)
        return len(self.artifacts)

    def execute(self, node, run, inputs, outputs, *, cached=False, millis=0, **properties) -> int:
        """Adds an execution; `inputs` and `outputs` are artifact ids by channel."""
        state = mlmd.Execution.CACHED if cached else mlmd.Execution.COMPLETE
        execution = mlmd.Execution(type_id=self._execution_types[node], last_known_state=state)
        _set(execution, properties)
        self.executions.append(execution)
        execution_id = len(self.executions)
        for kind, channels in ((mlmd.Event.INPUT, inputs), (mlmd.Event.OUTPUT, outputs)):
            for channel, artifact in channels.items():
                event = mlmd.Event(type=kind, milliseconds_since_epoch=millis)
                event.path.steps.add(key=channel)
                event.path.steps.add(index=0)
                self.edges.append((execution_id - 1, artifact - 1, event))
        for context in (self.pipeline, run, self.nodes[node]):
            self.associations.append(
                mlmd.Association(execution_id=execution_id, context_id=context)
            )
        return execution_id

    def next_uri(self, node: str, channel: str) -> str:
        """The uri of an output of the execution that is added next."""
        return str(self.root / node / channel / str(len(self.executions) + 1))

    def write(self) -> None:
        for start in range(0, len(self.contexts), 5000):
            self._store.put_contexts(self.contexts[start : start + 5000])
        self._store.put_lineage_subgraph(self.executions, self.artifacts, [], self.edges)
        self._store.put_attributions_and_associations(self.attributions, self.associations)


def _set(node, properties) -> None:
    for name, value in properties.items():
        field = {int: "int_value", float: "double_value"}.get(type(value), "string_value")
        setattr(node.custom_properties[name], field, value)


def generate(
    store: metadata_store.MetadataStore, root: Path, runs: int, *, chain: int = 300
) -> GeneratedStore:
    """Fills a store.

    Args:
      store: empty: the ids of its nodes have to count from 1.
      root: of the artifacts' uris; the data sets' images.jsonl are written there.
      runs: how many; each has 11 executions, a warm-started one 12.
      chain: the first so many runs each start from the model of the one before.

    Returns:
      What is in it.
    """
    writer = _Writer(store, root)
    made = GeneratedStore()
    shared: dict[str, int] = {}
    baseline = None
    for run in range(runs):
        baseline = _run(writer, made, run, chain, shared, baseline)
    writer.write()
    made.executions = len(writer.executions)
    return made


def _run(writer, made, run, chain, shared, baseline) -> int | None:
    """Adds a run; returns the shipping model that is the next one's baseline."""
    run_id, millis = made.run_id(run), _START_MS + run * _RUN_MS
    data, settings = run // RUNS_PER_DATA, {"training": {"steps": 100 + run}}
    data_fingerprint = sha256(f"data {data}")
    context = writer.context(
        "pipeline_run", run_id, preset="demo", configuration=sha256(f"configuration {run}")
    )

    def execute(node, inputs, outputs, cached=False, **properties):
        writer.execute(node, context, inputs, outputs, cached=cached, millis=millis, **properties)

    fresh = run % RUNS_PER_DATA == 0
    if fresh:
        uri = writer.next_uri("ExampleGen", "examples")
        shared["examples"] = writer.artifact(
            "Examples", uri, millis, span=data, data_fingerprint=data_fingerprint,
            num_train=IMAGES * 4 // 5, num_eval=IMAGES // 5, num_negatives=2, num_set_aside=1,
            set_aside_reasons='{"unreadable": 1}',
        )  # fmt: skip
        _write_images(Path(uri), data)
    examples = shared["examples"]
    execute("ExampleGen", {}, {"examples": examples}, not fresh,
            input_base=f"/data/{data}", custom_config='{"code_fingerprint": "1"}')  # fmt: skip
    if fresh:
        uri = writer.next_uri("StatisticsGen", "statistics")
        shared["statistics"] = writer.artifact("ExampleStatistics", uri, millis)
    statistics = shared["statistics"]
    execute("StatisticsGen", {"examples": examples}, {"statistics": statistics}, not fresh)
    new_schema = run % RUNS_PER_SCHEMA == 0
    if new_schema:
        uri = writer.next_uri("SchemaGen", "schema")
        shared["schema"] = writer.artifact("Schema", uri, millis)
    schema = shared["schema"]
    execute("SchemaGen", {}, {"schema": schema}, not new_schema,
            schema_text=f"classes {run // RUNS_PER_SCHEMA}")  # fmt: skip
    if fresh or new_schema:
        uri = writer.next_uri("ExampleValidator", "anomalies")
        shared["anomalies"] = writer.artifact("ExampleAnomalies", uri, millis)
    execute("ExampleValidator", {"statistics": statistics, "schema": schema},
            {"anomalies": shared["anomalies"]}, not (fresh or new_schema))  # fmt: skip
    if fresh or new_schema:
        for name, type_name in (
            ("transformed_examples", "Examples"), ("transform_graph", "TransformGraph")
        ):  # fmt: skip
            uri = writer.next_uri("Transform", name)
            shared[name] = writer.artifact(type_name, uri, millis)
    transformed = {name: shared[name] for name in ("transformed_examples", "transform_graph")}
    execute("Transform", {"examples": examples, "schema": schema}, transformed,
            not (fresh or new_schema), custom_config='{"canvas_size": 160}')  # fmt: skip

    inputs = {
        "examples": shared["transformed_examples"],
        "transform_graph": shared["transform_graph"],
        "schema": schema,
    }
    if 0 < run < chain:
        made.warm_start[run] = run - 1
        base = made.models[run - 1]
        execute("WarmStart", {}, {"result": base}, source_uri=f"model of {run - 1}")
        inputs["base_model"] = base
    model = writer.artifact("Model", writer.next_uri("Trainer", "model"), millis)
    config = {"settings": settings, "code_fingerprint": "1", "canvas_size": 160}
    execute("Trainer", inputs, {"model": model}, custom_config=json.dumps(config))
    digest = sha256(f"file {run}")
    shipping = writer.artifact(
        "Model", writer.next_uri("TFLiteRewriter", "shipping_model"), millis,
        sha256=digest, size_bytes=500_000, quantization="aware",
    )  # fmt: skip
    execute("TFLiteRewriter", {"model": model, "examples": examples},
            {"shipping_model": shipping}, quantization="aware")  # fmt: skip
    execute("LatestBlessedModel", {}, {})
    blessed = run % 7 != 6
    judged = {"model": shipping, "examples": examples}
    if baseline:
        judged["baseline_model"] = baseline
    evaluation = writer.artifact(
        "ModelEvaluation", writer.next_uri("Evaluator", "evaluation"), millis
    )
    blessing = writer.artifact(
        "ModelBlessing", writer.next_uri("Evaluator", "blessing"), millis,
        blessed=int(blessed), current_model_id=shipping,
    )  # fmt: skip
    execute("Evaluator", judged, {"evaluation": evaluation, "blessing": blessing})
    infra = writer.artifact(
        "InfraBlessing", writer.next_uri("DeviceCheck", "blessing"), millis,
        blessed=1, reasons="[]", sha256=digest, latency_ms=1.5,
    )  # fmt: skip
    execute("DeviceCheck", {"model": shipping, "examples": examples}, {"blessing": infra})
    published = {"pushed_destination": f"/pushed/{run + 1}", "pushed_version": str(run + 1),
                 "sha256": digest, "mAP50": 0.9, "mAP": 0.7}  # fmt: skip
    pushed = writer.artifact(
        "PushedModel", writer.next_uri("Pusher", "pushed_model"), millis,
        pushed=int(blessed), **(published if blessed else {}),
    )  # fmt: skip
    execute(
        "Pusher",
        {"model": shipping, "model_blessing": blessing, "infra_blessing": infra,
         "evaluation": evaluation, "examples": examples, "schema": schema},
        {"pushed_model": pushed},
        push_destination="/pushed",
    )  # fmt: skip
    figures = {"metrics": {"mAP50": 0.9, "mAP": 0.7}, "baseline_metrics": None, "thresholds": []}
    for name, content in (
        (f"sha256/{digest}", {"artifacts": [shipping, *([pushed] if blessed else [])]}),
        (f"evaluation/{evaluation}", figures),
    ):
        writer.context(RECORD_TYPE, name, json=json.dumps(content))
    made.examples.append(examples)
    made.models.append(model)
    made.shipping_models.append(shipping)
    made.pushed.append(pushed)
    return shipping if blessed else baseline


def _write_images(folder: Path, data: int) -> None:
    """Data set n has the pictures n to n + IMAGES - 1, each fifth of them for evaluation."""
    folder.mkdir(parents=True)
    lines = (
        {
            "id": f"picture_{number:06}",
            "file": f"images/picture_{number:06}.jpg",
            "split": "train" if number % 5 else "eval",
            "sha256": sha256(f"picture {number}"),
            "annotation_sha256": sha256(f"annotation {number}"),
            "classes": {"cat": 1},
        }
        for number in range(data, data + IMAGES)
    )
    (folder / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="SQLite file to make")
    parser.add_argument("--runs", type=int, default=1800)
    parser.add_argument("--chain", type=int, default=300, help="length of the warm-start chain")
    options = parser.parse_args()
    opened = open_store(connection_config(options.store))
    root = Path(options.store).absolute().parent / "pipeline_root"
    made = generate(opened, root, options.runs, chain=options.chain)
    print(f"{made.executions} executions of {options.runs} runs in {options.store}")


if __name__ == "__main__":
    main()
