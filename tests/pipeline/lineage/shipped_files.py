"""Writes runs from Trainer to Pusher into a store; a run may reuse what an earlier one made."""

import json
from pathlib import Path

from benchmarks.lineage_store import sha256, write_list
from benchmarks.lineage_writer import Writer
from pipeline.lineage import open_backend
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE
from pipeline.metadata.image_lists import data_fingerprint


def picture(name: str, split: str = "train") -> dict:
    """The line of a picture in images.jsonl."""
    return {"id": name, "file": f"images/{name}.jpg", "split": split, "sha256": sha256(name),
            "annotation_sha256": sha256(f"annotation of {name}")}  # fmt: skip


class ShippedFiles:
    """Runs in the order in which they are added; `write` ends it.

    Args:
      folder: of the store, the artifacts and the pushed versions.
    """

    def __init__(self, folder: Path):
        self.location, self.folder = str(folder / "metadata.sqlite"), folder
        self.writer = Writer(store.open_store(store.connection_config(self.location)), folder / "r")
        self.made: dict[str, dict[str, int]] = {}  # ids by run and channel
        self._contents: dict[str, list[int]] = {}
        self._millis = 0

    def run(
        self,
        name: str,
        *,
        model: str | None = None,
        file: str | None = None,
        judged: str | None = None,
        content: str = "file",
        score: float = 0.9,
        blessed: bool = True,
        reasons: tuple[str, ...] = (),
        version: str | None = None,
        to: str = "pushed",
        pipeline: str = "pets",
        command: str = "local_runner.py",
        inputs: dict[str, int] | None = None,
        **settings,
    ) -> dict[str, int]:
        """Adds a run; returns the ids of its artifacts by channel.

        Args:
          name: the run's.
          model, file, judged: earlier runs whose trained model, file or evaluation come from the
            cache.
          content: the bytes of a new file.
          score: mAP50 of a new evaluation.
          blessed: by the Evaluator.
          reasons: of DeviceCheck, which refuses the file if there are any.
          version: that it pushes, if both bless it; None for none.
          to: the folder that it pushes to.
          pipeline: its name.
          command: that started it.
          inputs: of the Trainer; `base_model` is brought by a WarmStart.
          settings: of the run.
        """
        self._millis += 1000
        facts = {}
        for kind, told in (("configuration", settings), ("code", {"rewriter.py": sha256(name)})):
            facts[kind] = sha256(f"{kind} of {name}")
            self.writer.context(RECORD_TYPE, f"{kind}/{facts[kind]}", json=json.dumps(told))
        inputs = inputs or {}
        context = self.writer.run(
            name, 5 + ("base_model" in inputs), pipeline=pipeline, command=command, **facts
        )
        made = self.made[name] = {}

        def execute(node, inputs, outputs, earlier=None, **properties):
            for channel, (type_name, facts) in outputs.items():
                made[channel] = (
                    self.made[earlier][channel]
                    if earlier
                    else self.writer.artifact(type_name, node, channel, **facts)
                )
            self.writer.execute(
                node, context, inputs,
                {channel.removeprefix("infra_"): made[channel] for channel in outputs},
                cached=bool(earlier), millis=self._millis, **properties,
            )  # fmt: skip

        digest = sha256(content)
        if "base_model" in inputs:
            brought = {"result": inputs["base_model"]}
            self.writer.execute(
                "WarmStart", context, {}, brought, cached=False, millis=self._millis
            )
        execute("Trainer", inputs, {"model": ("Model", {})}, model)
        facts = {"sha256": digest, "size_bytes": len(content)}
        execute(
            "TFLiteRewriter", {"model": made["model"]}, {"shipping_model": ("Model", facts)}, file,
            quantization=name, code_fingerprint=sha256(name),
        )  # fmt: skip
        shipped = {"model": made["shipping_model"]}
        if not file:
            self._contents.setdefault(digest, []).append(made["shipping_model"])
        execute(
            "Evaluator", shipped,
            {"evaluation": ("ModelEvaluation", {}),
             "blessing": ("ModelBlessing", {"blessed": int(blessed)})},
            judged,
        )  # fmt: skip
        if not judged:
            figures = {"metrics": {"mAP50": score}, "thresholds": [], "baseline_metrics": None}
            self.writer.context(
                RECORD_TYPE, f"evaluation/{made['evaluation']}", json=json.dumps(figures)
            )
        facts = {"blessed": int(not reasons), "reasons": json.dumps(reasons), "latency_ms": 1.5}
        execute("DeviceCheck", shipped, {"infra_blessing": ("InfraBlessing", facts)})
        pushed = {"pushed": 0}
        if version and blessed and not reasons:
            destination = self.folder / to / version
            destination.mkdir(parents=True, exist_ok=True)
            (destination / "detect.tflite").write_text(content)
            pushed = {"pushed": 1, "pushed_version": version, "sha256": digest,
                      "pushed_destination": str(destination)}  # fmt: skip
            latest = self.folder / to / "latest"
            latest.unlink(missing_ok=True)
            latest.symlink_to(version)
        execute("Pusher", shipped, {"pushed_model": ("PushedModel", pushed)})
        if pushed["pushed"]:
            self._contents[digest].append(made["pushed_model"])
        return made

    def data_set(self, *images: dict) -> int:
        """Adds a run of ExampleGen and Transform; returns the id of what a Trainer reads."""
        run = self.writer.run(f"data {self._millis}", 2)
        self._millis += 1
        write_list(self.writer.folder("ExampleGen", "examples"), list(images))
        examples = self.writer.artifact(
            "Examples", "ExampleGen", "examples", data_fingerprint=data_fingerprint(images)
        )
        made = {"examples": examples}
        self.writer.execute("ExampleGen", run, {}, made, cached=False, millis=self._millis)
        transformed = self.writer.artifact("Examples", "Transform", "transformed_examples")
        self.writer.execute(
            "Transform", run, made, {"transformed_examples": transformed},
            cached=False, millis=self._millis,
        )  # fmt: skip
        return transformed

    def write(self):
        """Writes everything; returns the store, opened for questions."""
        for digest, artifacts in self._contents.items():
            known = json.dumps({"artifacts": artifacts})
            self.writer.context(RECORD_TYPE, f"sha256/{digest}", json=known)
        self.writer.write()
        return open_backend(self.location)
