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

from benchmarks.lineage_writer import PIPELINE, Writer
from pipeline.files import IMAGES_FILE
from pipeline.metadata.facts import RECORD_TYPE
from pipeline.metadata.image_lists import CHUNKS, LISTS, chunks_of, data_fingerprint
from pipeline.metadata.store import connection_config, open_store

IMAGES = 40
ORIGIN = {"commit": "c0ffee" * 6 + "c0ff", "dirty": True, "host": "farm", "user": "ann"}
RUNS_PER_DATA = 6
RUNS_PER_SCHEMA = 100
# The last of so many runs is not blessed.
_RUNS_PER_REFUSAL = 7
_EXECUTIONS = 11
_START_MS = 1_700_000_000_000
_RUN_MS = 3_600_000
_FIGURES = {"metrics": {"mAP50": 0.9, "mAP": 0.7}, "baseline_metrics": None, "thresholds": []}


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


def generate(
    store: metadata_store.MetadataStore,
    root: Path,
    runs: int,
    *,
    chain: int = 300,
    images: int = IMAGES,
) -> GeneratedStore:
    """Fills a store.

    Args:
      store: empty: the ids of its nodes must count from 1.
      root: of the artifacts' uris; the data sets' images.jsonl are written there.
      runs: how many; each has 11 executions, a warm-started one 12.
      chain: the first so many runs each start from the model of the one before.
      images: in each data set.

    Returns:
      What is in it.
    """
    generator = _Generator(Writer(store, root), chain, images)
    for number in range(runs):
        generator.add_run(number)
    generator.writer.write()
    generator.made.executions = generator.writer.num_executions
    return generator.made


class _Generator:
    """Adds runs one by one, each with what those before it have left to it."""

    def __init__(self, writer: Writer, chain: int, images: int):
        self.writer, self.made = writer, GeneratedStore()
        self._chain, self._num_images = chain, images
        self._chunks: set[str] = set()
        self._shared: dict[str, int] = {}  # ids of the artifacts in the cache, by channel
        self._baseline: int | None = None
        self._number = self._context = self._millis = 0

    def add_run(self, number: int) -> None:
        """Adds a run."""
        self._number, self._millis = number, _START_MS + number * _RUN_MS
        is_warm = 0 < number < self._chain
        self._context = self.writer.run(
            self.made.run_id(number),
            _EXECUTIONS + is_warm,
            preset="demo",
            pipeline=PIPELINE,
            origin=json.dumps(ORIGIN),
            configuration=sha256(f"configuration {number}"),
        )
        self._add_data()
        self._add_model(number - 1 if is_warm else None)
        self._add_judgement_and_push()

    def _execute(self, node, inputs, outputs, cached=False, **properties) -> None:
        self.writer.execute(
            node, self._context, inputs, outputs, cached=cached, millis=self._millis, **properties
        )

    def _take(self, *channels: str) -> dict[str, int]:
        return {channel: self._shared[channel] for channel in channels}

    def _add_data(self) -> None:
        """ExampleGen to Transform; what did not change comes out of the cache."""
        shared, data = self._shared, self._number // RUNS_PER_DATA
        is_fresh = self._number % RUNS_PER_DATA == 0
        is_new_schema = self._number % RUNS_PER_SCHEMA == 0
        is_either = is_fresh or is_new_schema
        if is_fresh:
            images = _images(data, self._num_images)
            write_list(self.writer.folder("ExampleGen", "examples"), images)
            shared["examples"] = self.writer.artifact(
                "Examples", "ExampleGen", "examples", span=data,
                data_fingerprint=data_fingerprint(images), num_train=self._num_images * 4 // 5,
                num_eval=self._num_images // 5, num_negatives=2, num_set_aside=1,
                set_aside_reasons='{"unreadable": 1}',
            )  # fmt: skip
            self._record_images(shared["examples"], images)
        self._execute(
            "ExampleGen", {}, self._take("examples"), not is_fresh,
            input_base=f"/data/{data}", custom_config='{"code_fingerprint": "1"}',
        )  # fmt: skip
        if is_fresh:
            shared["statistics"] = self.writer.artifact(
                "ExampleStatistics", "StatisticsGen", "statistics"
            )
        self._execute(
            "StatisticsGen", self._take("examples"), self._take("statistics"), not is_fresh
        )
        if is_new_schema:
            shared["schema"] = self.writer.artifact("Schema", "SchemaGen", "schema")
        text = f"classes {self._number // RUNS_PER_SCHEMA}"
        self._execute("SchemaGen", {}, self._take("schema"), not is_new_schema, schema_text=text)
        if is_either:
            shared["anomalies"] = self.writer.artifact(
                "ExampleAnomalies", "ExampleValidator", "anomalies"
            )
        self._execute(
            "ExampleValidator", self._take("statistics", "schema"), self._take("anomalies"),
            not is_either,
        )  # fmt: skip
        transformed = {"transformed_examples": "Examples", "transform_graph": "TransformGraph"}
        if is_either:
            for channel, type_name in transformed.items():
                shared[channel] = self.writer.artifact(type_name, "Transform", channel)
        self._execute(
            "Transform", self._take("examples", "schema"), self._take(*transformed), not is_either,
            custom_config='{"canvas_size": 160}',
        )  # fmt: skip
        self.made.examples.append(shared["examples"])

    def _record_images(self, examples: int, images: list[dict]) -> None:
        """As at the end of a run."""
        index, chunks = chunks_of(images)
        new = {f"{CHUNKS}/{name}": chunks[name] for name in chunks.keys() - self._chunks}
        self._chunks |= chunks.keys()
        for name, content in {**new, f"{LISTS}/{examples}": index}.items():
            self.writer.context(RECORD_TYPE, name, json=json.dumps(content))

    def _add_model(self, start: int | None) -> None:
        """Trainer, which may start from the model of another run, and TFLiteRewriter."""
        inputs = {
            "examples": self._shared["transformed_examples"],
            **self._take("transform_graph", "schema"),
        }
        if start is not None:
            base = self.made.models[start]
            self.made.warm_start[self._number] = start
            self._execute("WarmStart", {}, {"result": base}, source_uri=f"model of {start}")
            inputs["base_model"] = base
        settings = {"training": {"steps": 100 + self._number}}
        config = {"settings": settings, "code_fingerprint": "1", "canvas_size": 160}
        model = self.writer.artifact("Model", "Trainer", "model")
        self._execute("Trainer", inputs, {"model": model}, custom_config=json.dumps(config))
        shipping_model = self.writer.artifact(
            "Model", "TFLiteRewriter", "shipping_model", sha256=self._digest, size_bytes=500_000,
            quantization="aware",
        )  # fmt: skip
        self._execute(
            "TFLiteRewriter", {"model": model, **self._take("examples")},
            {"shipping_model": shipping_model}, quantization="aware",
        )  # fmt: skip
        self.made.models.append(model)
        self.made.shipping_models.append(shipping_model)

    @property
    def _digest(self) -> str:
        return sha256(f"file {self._number}")

    def _add_judgement_and_push(self) -> None:
        """LatestBlessedModel to Pusher; a blessed model is the next one's baseline."""
        model = {"model": self.made.shipping_models[-1]}
        judged = model | self._take("examples")
        is_blessed = self._number % _RUNS_PER_REFUSAL != _RUNS_PER_REFUSAL - 1
        self._execute("LatestBlessedModel", {}, {})
        evaluation = self.writer.artifact("ModelEvaluation", "Evaluator", "evaluation")
        blessing = self.writer.artifact(
            "ModelBlessing", "Evaluator", "blessing",
            blessed=int(is_blessed), current_model_id=model["model"],
        )  # fmt: skip
        baseline = {"baseline_model": self._baseline} if self._baseline else {}
        made = {"evaluation": evaluation, "blessing": blessing}
        self._execute("Evaluator", judged | baseline, made)
        infra = self.writer.artifact(
            "InfraBlessing", "DeviceCheck", "blessing",
            blessed=1, reasons="[]", sha256=self._digest, latency_ms=1.5,
        )  # fmt: skip
        self._execute("DeviceCheck", judged, {"blessing": infra})
        version = str(self._number + 1)
        published = {"pushed_destination": f"/pushed/{version}", "pushed_version": version,
                     "sha256": self._digest, **_FIGURES["metrics"]}  # fmt: skip
        pushed = self.writer.artifact(
            "PushedModel", "Pusher", "pushed_model",
            pushed=int(is_blessed), **(published if is_blessed else {}),
        )  # fmt: skip
        self._execute(
            "Pusher",
            {**judged, **self._take("schema"), "evaluation": evaluation,
             "model_blessing": blessing, "infra_blessing": infra},
            {"pushed_model": pushed},
            push_destination="/pushed",
        )  # fmt: skip
        files = [model["model"], *([pushed] if is_blessed else [])]
        for name, content in (
            (f"sha256/{self._digest}", {"artifacts": files}),
            (f"evaluation/{evaluation}", _FIGURES),
        ):
            self.writer.context(RECORD_TYPE, name, json=json.dumps(content))
        self.made.pushed.append(pushed)
        if is_blessed:
            self._baseline = model["model"]


def _images(data: int, num_images: int) -> list[dict]:
    """Data set n has the pictures n to n + num_images - 1, each fifth of them for evaluation."""
    return [
        {
            "id": f"picture_{number:06}",
            "file": f"images/picture_{number:06}.jpg",
            "split": "train" if number % 5 else "eval",
            "sha256": sha256(f"picture {number}"),
            "annotation_sha256": sha256(f"annotation {number}"),
            "classes": {"cat": 1},
        }
        for number in range(data, data + num_images)
    ]


def write_list(folder: Path, images: list[dict]) -> None:
    """Writes images.jsonl into a new folder."""
    folder.mkdir(parents=True)
    (folder / IMAGES_FILE).write_text("".join(json.dumps(image) + "\n" for image in images))


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
