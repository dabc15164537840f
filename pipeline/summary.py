"""The summary of a run: printed for people, and as summary.json for programs."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.labels import parse_labels
from pipeline import presets
from pipeline.config import PipelineConfig
from pipeline.files import (
    DEVICE_REPORT_FILE,
    LABELS_FILE,
    LATEST,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    REPORT_FILE,
    SCHEMA_FILE,
    SHIPPING_MODEL_FILE,
    SKIPPED_FILE,
    SUMMARY_FILE,
    serving_path,
    write_whole,
)
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord
from pipeline.recipe import NO_WARM_START

_WIDTH = 100
_DOWNLOADED = "detector"


def summarize(
    components: Mapping[str, ComponentRecord],
    *,
    config: PipelineConfig,
    run_id: str,
    run_folder: Path,
    workdir: Path,
    metadata: str | None,
    seconds: float,
    error: str | None,
) -> dict[str, Any]:
    """Sums up a run.

    Args:
      components: see `pipeline.metadata.run_record.read_run`; those that a failed run got to.
      config: the run's.
      run_id: names the run in ML Metadata.
      run_folder: the folder for summary.json.
      workdir: the local runner's.
      metadata: the metadata store, as `pipeline.lineage` takes it; None if it takes none.
      seconds: how long the whole run took.
      error: what stopped the run; None if nothing did.

    Returns:
      JSON. `status` ("pushed", "not_blessed" or "failed"; "running" in the summary.json of a run
      that is under way), `components`, `images`, `metrics`
      (of the .tflite that ships: `mAP50`, `mAP`, `per_class`), `test` (`images`, `mAP50` and `mAP`
      of a pushed file on the test images; null without), `classes_not_evaluated`, `plan`
      (see `pipeline.training.time_budget.make_plan`; null without `training.minutes`),
      `size_bytes`, `latency_ms`, `blessed`, `reasons`, `gate`, `pushed_path`, `report` (the page),
      `random_start` (own data without a warm start), `run_id` and paths.
      Values that the run did not get to are null.
    """

    def output(component: str, channel: str) -> ArtifactRecord | None:
        record = components.get(component)
        return record.output(channel) if record and record.state != "failed" else None

    examples = output("ExampleGen", "examples")
    evaluation = _evaluation(output("Evaluator", "evaluation"))
    device = _device_report(output("DeviceCheck", "blessing"))
    shipping = output("TFLiteRewriter", "shipping_model")
    pushed = output("Pusher", "pushed_model")
    is_pushed = bool(pushed and pushed.properties.get("pushed"))
    reasons = [] if is_pushed else _reasons(evaluation, device, error)
    schema = output("SchemaGen", "schema")
    return {
        "run_id": run_id,
        "status": "failed" if error else "pushed" if is_pushed else "not_blessed",
        "error": error,
        "preset": config.preset,
        "pipeline": config.name,
        "seconds": round(seconds, 1),
        "components": statuses(components),
        "images": _images(examples),
        "metrics": _metrics(evaluation),
        "test": _test(pushed),
        "classes_not_evaluated": _not_evaluated(evaluation, shipping),
        "plan": _plan(output("Trainer", "model")) if config.training.minutes else None,
        "size_bytes": shipping.properties["size_bytes"] if shipping else None,
        "sha256": shipping.properties["sha256"] if shipping else None,
        "latency_ms": (device.get("latency") or {}).get("median_ms") if device else None,
        "blessed": is_pushed,
        "reasons": reasons,
        "random_start": not config.warm_start.weights and config.preset != presets.DEFAULT,
        "gate": evaluation,
        "device_check": device,
        "pushed_path": pushed.properties.get("pushed_destination") if is_pushed else None,
        "pushed_version": pushed.properties.get("pushed_version") if is_pushed else None,
        "inferred_schema": _publish_schema(schema, config, workdir),
        "model": shipping.uri if shipping else None,
        "report": _report(output("Report", "report"), pushed if is_pushed else None, run_folder),
        "tensorboard": _uri(output("Trainer", "model_run")),
        "run_folder": str(run_folder),
        "workdir": str(workdir),
        "metadata": metadata,
    }


def statuses(components: Mapping[str, ComponentRecord]) -> dict[str, dict[str, Any]]:
    """The summary's `components`."""
    return {
        name: {
            "status": record.state,
            "seconds": round(record.seconds, 2),
            "execution_id": record.execution_id,
        }
        for name, record in components.items()
    }


def _uri(artifact: ArtifactRecord | None) -> str | None:
    return artifact.uri if artifact else None


def _report(
    report: ArtifactRecord | None, pushed: ArtifactRecord | None, run_folder: Path
) -> str | None:
    """The page: in the run's folder, or on Vertex AI beside the pushed model, if there is one."""
    beside = [pushed.properties["pushed_destination"]] if pushed else []
    places = beside + ([report.uri] if report else [])
    folder = next((place for place in places if "://" in place), str(run_folder))
    return f"{folder}/{REPORT_FILE}"


def _plan(model: ArtifactRecord | None) -> dict | None:
    """The plan of a training within `training.minutes`."""
    if model is None or "://" in model.uri:  # a bucket is not read
        return None
    from models.training.checkpoint import NETWORK_FILE  # loads TensorFlow

    description = json.loads(Path(serving_path(model.uri, NETWORK_FILE)).read_text())
    return description["facts"]["plan"]


def _images(examples: ArtifactRecord | None) -> dict | None:
    if examples is None:
        return None
    facts = examples.properties
    return {
        "train": facts["num_train"],
        "eval": facts["num_eval"],
        "test": facts.get("num_test", 0),
        "negatives": facts["num_negatives"],
        "set_aside": facts["num_set_aside"],
        "set_aside_reasons": facts["set_aside_reasons"],
        "ignored": facts["num_ignored"],
        "turned": facts.get("num_turned", 0),
        "converted": facts.get("num_converted", 0),
        "clipped": facts.get("num_clipped", 0),
        "leaked": facts["leaked_images"],
        "data_fingerprint": facts["data_fingerprint"],
        "reports": examples.uri,
    }


def _evaluation(artifact: ArtifactRecord | None) -> dict | None:
    if artifact is None:
        return None
    from pipeline.shipping.gate import read_evaluation  # loads TFMA

    evaluation = read_evaluation(artifact.uri)
    return {**evaluation.to_json(), "text": [str(line) for line in evaluation.thresholds]}


def _metrics(evaluation: dict | None) -> dict | None:
    if evaluation is None:
        return None
    metrics = evaluation["metrics"]
    per_class: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        kind, slash, class_name = name.partition("/")
        if slash:
            per_class.setdefault(class_name, {})[kind] = value
    # Metrics without a value, for lack of labelled objects, are absent.
    return {"mAP50": metrics.get("mAP50"), "mAP": metrics.get("mAP"), "per_class": per_class}


def _test(pushed: ArtifactRecord | None) -> dict | None:
    """The figures on the images that chose nothing."""
    if pushed is None or "test_images" not in pushed.properties:
        return None
    return {name: pushed.properties.get(f"test_{name}") for name in ("images", "mAP50", "mAP")}


def _not_evaluated(evaluation: dict | None, shipping: ArtifactRecord | None) -> list[str] | None:
    """Classes that no evaluation image shows, which the mean average precision leaves out."""
    if evaluation is None or shipping is None or "://" in shipping.uri:  # a bucket is not read
        return None
    path = serving_path(shipping.uri, LABELS_FILE)
    classes = parse_labels(Path(path).read_text(), path)
    return [name for name in classes if f"AP50/{name}" not in evaluation["metrics"]]


def _device_report(artifact: ArtifactRecord | None) -> dict | None:
    if artifact is None:
        return None
    return json.loads(Path(artifact.uri, DEVICE_REPORT_FILE).read_text())


def _reasons(evaluation: dict | None, device: dict | None, error: str | None) -> list[str]:
    reasons = [error] if error else []
    if evaluation and not evaluation["blessed"]:
        failed = [
            text
            for text, threshold in zip(evaluation["text"], evaluation["thresholds"], strict=True)
            if not threshold["passed"]
        ]
        reasons += failed or ["the Evaluator found no value for a gated metric"]
    if device:
        reasons += device["reasons"]
    return reasons


def _publish_schema(
    schema: ArtifactRecord | None, config: PipelineConfig, workdir: Path
) -> str | None:
    """Copies an inferred schema to the workdir for review; gives its folder."""
    if schema is None or config.schema_dir:
        return None
    folder = workdir / "schema" / config.name
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SCHEMA_FILE, Path(schema.uri, SCHEMA_FILE).read_text())
    return str(folder)


def print_summary(summary: dict[str, Any], file=None) -> None:
    """Prints the summary of a finished run.

    Args:
      summary: see `summarize`.
      file: text file to print to; None is standard output.
    """
    console = Console(file=file, width=_WIDTH, highlight=False, soft_wrap=True)
    console.print()
    table = Table(box=None, pad_edge=False)
    for heading in ("component", "status", "time"):
        table.add_column(heading, justify="right" if heading == "time" else "left")
    for name, component in summary["components"].items():
        seconds = "" if component["status"] == "cached" else f"{component['seconds']:.1f} s"
        table.add_row(name, component["status"], seconds)
    console.print(table)
    for title, lines in _sections(summary):
        console.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            console.print(f"  {line}", markup=False)


def _sections(summary: dict[str, Any]):
    images, metrics, gate = summary["images"], summary["metrics"], summary["gate"]
    yield "images", _image_lines(images)
    baseline = gate["baseline_metrics"]
    missing = summary["classes_not_evaluated"]
    per_class = ", ".join(
        f"{name} {_figure(values.get('AP50'))}" for name, values in metrics["per_class"].items()
    )
    yield (
        "the .tflite that ships",
        [
            f"mAP@.5 {_figure(metrics['mAP50'])}, mAP@[.5:.95] {_figure(metrics['mAP'])} on the "
            f"{images['eval']} evaluation images",
            f"AP@.5 by class: {per_class}",
            *_test_lines(summary),
            *(
                [f"WARNING: not evaluated, in no evaluation image: {', '.join(missing)}"]
                if missing
                else []
            ),
            f"{summary['size_bytes'] / 1e6:.2f} MB, {_latency(summary['latency_ms'])}",
        ],
    )
    decision = "blessed" if summary["blessed"] else "not blessed: nothing was pushed"
    against = (
        f"last blessed model: mAP@.5 {_figure(baseline.get('mAP50'))} on the same images"
        if baseline
        else "compared with no earlier blessed model"
    )
    device = summary["device_check"]
    checks = "passed" if device["blessed"] else "failed: " + "; ".join(device["reasons"])
    yield (
        f"gate: {decision}",
        [
            *(text for text in gate["text"] if baseline or not text.startswith("change")),
            against,
            *([NO_WARM_START] if summary["random_start"] and not gate["blessed"] else []),
            f"device check {checks}",
        ],
    )
    if summary["inferred_schema"]:
        yield (
            "schema",
            [
                f"inferred from the data: {summary['inferred_schema']}/{SCHEMA_FILE}",
                "review it, commit it, and pass its folder with --schema to fix the class ids",
            ],
        )
    yield "files", _file_lines(summary)
    yield "next", _next_lines(summary)
    yield f"{summary['status'].replace('_', ' ')} in {summary['seconds']:.0f} s", []


def _test_lines(summary: dict) -> list[str]:
    test, count = summary["test"], summary["images"]["test"]
    if test:
        return [
            f"test: mAP@.5 {_figure(test['mAP50'])}, mAP@[.5:.95] {_figure(test['mAP'])} on the "
            f"{test['images']} test images, which chose nothing"
        ]
    return [f"test: the {count} test images are scored when a file is pushed"] if count else []


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.3f}"


def _latency(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "latency unknown: the device check could not run the file"
    return f"{milliseconds:.1f} ms an image here (one thread, median)"


def _image_lines(images: dict) -> list[str]:
    to_test = f", {images['test']} to test on" if images["test"] else ""
    lines = [
        f"{images['train']} to train on, {images['eval']} to evaluate on{to_test} "
        f"({images['negatives']} of them without objects)"
    ]
    reasons = ", ".join(f"{count} {kind}" for kind, count in images["set_aside_reasons"].items())
    lines.append(f"{images['set_aside']} skipped" + (f": {reasons}" if reasons else ""))
    if images["set_aside"]:
        lines.append(f"skipped images with their reasons: {images['reports']}/{SKIPPED_FILE}")
    if images["ignored"]:
        lines.append(f"{images['ignored']} files ignored: {images['reports']}/ignored.jsonl")
    if images["turned"]:
        lines.append(f"{images['turned']} turned upright, as their EXIF data say")
    if images["converted"]:
        lines.append(f"{images['converted']} converted from BMP, GIF, TIFF or WebP to PNG")
    if images["clipped"]:
        lines.append(
            f"{images['clipped']} with boxes that left the picture by up to 1% or a pixel, and "
            "were clipped"
        )
    if images["leaked"]:
        lines.append(
            f"WARNING: {images['leaked']} images are on more than one side, such as in training "
            "and in evaluation"
        )
    return lines


def _file_lines(summary: dict) -> list[str]:
    lines = []
    if summary["pushed_path"]:
        lines.append(f"pushed  {_short(summary['pushed_path'])}/{PUSHED_MODEL_FILE}")
        lines.append(f"        {_short(summary['pushed_path'])}/{LABELS_FILE}, {MANIFEST_FILE}")
        latest = os.path.join(os.path.dirname(summary["pushed_path"]), LATEST)
        served = os.path.basename(os.path.realpath(latest))
        if os.path.islink(latest) and served != summary["pushed_version"]:
            lines.append(
                f"        NOTE: {_short(latest)} is version {served}, which was pushed later"
            )
    lines.append(f"summary {_short(summary['run_folder'])}/{SUMMARY_FILE}")
    lines.append(f"report  {_linked(summary['report'])}")
    return lines


def _next_lines(summary: dict) -> list[str]:
    model = summary["pushed_path"] or serving_path(summary["model"], SHIPPING_MODEL_FILE)
    lines, local, subject = [], model, model
    if "://" in model:
        # Only the bucket has it, and the store knows its hash.
        folder, local, subject = model, _DOWNLOADED, summary["sha256"]
        if not summary["pushed_path"]:
            folder, name = os.path.split(model)
            local = os.path.join(_DOWNLOADED, name)
        lines.append(
            f"mkdir -p {_DOWNLOADED} && gcloud storage rsync -r {_quoted(folder)} {_DOWNLOADED}"
        )
    lines += [
        f".venv/bin/python -m pipeline.detect {_quoted(local)} PICTURE_OR_FOLDER --out detections",
        f".venv/bin/tensorboard --logdir {_quoted(summary['tensorboard'])}",
    ]
    if summary["metadata"]:
        lines.append(
            f".venv/bin/python -m pipeline.lineage trace {_quoted(subject)} "
            f"--metadata {_quoted(summary['metadata'])}"
        )
    lines.append(f"make page && .venv/bin/python -m pipeline.app serve {_quoted(local)}")
    return lines


def _linked(path: str) -> str:
    """A page as a browser takes it: of a bucket, the console's address."""
    if path.startswith("gs://"):
        return f"https://storage.cloud.google.com/{path[len('gs://') :]}"
    return _short(path)


def _quoted(path: str) -> str:
    """Quoted for a shell."""
    return shlex.quote(_short(path))


def _short(path: str) -> str:
    """Relative if inside the current folder; URLs stay as they are."""
    if "://" in path:
        return path
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else path
