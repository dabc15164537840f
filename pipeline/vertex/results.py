"""The results of a job: what each task did, and the summary of the run.

The tasks come from the service or from a rehearsal; the summary has the form of the local runner's.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.files import REPORT_FACTS_FILE, REPORT_FILE, SUMMARY_FILE, write_whole
from pipeline.metadata.records import from_struct
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord

Artifacts = dict[str, list[dict[str, Any]]]
"""By input or output: artifacts with `name`, `uri`, `schema_title` and `metadata`."""
# Outputs that the summary reads: figures and reports, a few kilobytes each.
_REPORTS = {"Evaluator": "evaluation", "DeviceCheck": "blessing", "SchemaGen": "schema"}


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a task of a job did.

    Attributes:
      name: of the task.
      state: "complete", "cached", "failed" or "running".
      started: seconds since the epoch.
      finished: likewise.
      outputs: artifacts by output.
    """

    name: str
    state: str
    started: float
    finished: float
    outputs: Artifacts


def component_records(results: Iterable[TaskResult]) -> dict[str, ComponentRecord]:
    """The records that summaries are made from, by task name, in the order of their start."""
    records = {}
    for number, task in enumerate(sorted(results, key=lambda task: task.started), start=1):
        records[task.name] = ComponentRecord(
            id=task.name,
            execution_id=number,
            state=task.state,
            seconds=0.0 if task.state == "cached" else task.finished - task.started,
            outputs={key: [_record(one) for one in group] for key, group in task.outputs.items()},
            properties={},
        )
    return records


def _record(artifact: Mapping[str, Any]) -> ArtifactRecord:
    return ArtifactRecord(
        id=artifact["name"],
        type=artifact["schema_title"],
        uri=artifact["uri"],
        properties=from_struct(artifact["metadata"]),
    )


def summarize_run(
    config: PipelineConfig,
    run_id: str,
    results: list[TaskResult],
    seconds: float,
    folder: str,
    cost: float | None = None,
) -> dict[str, Any]:
    """Summarizes a finished run on Vertex AI and writes summary.json, with the report beside it.

    Args:
      config: the run's.
      run_id: its id on Vertex AI.
      results: of all its tasks.
      seconds: from submission to the end.
      folder: local; gets RUN_ID/summary.json, RUN_ID/report.html, and an inferred schema to
        review.
      cost: of the run in USD, estimated; None where there is none.

    Returns:
      See `pipeline.summary.summarize`.
    """
    from pipeline.summary import summarize

    run_folder = Path(folder).absolute() / run_id
    run_folder.mkdir(parents=True, exist_ok=True)
    originals = component_records(results)
    with tempfile.TemporaryDirectory() as scratch:
        records = {name: _with_local_report(record, scratch) for name, record in originals.items()}
        summary = summarize(
            records,
            config=config,
            run_id=run_id,
            run_folder=run_folder,
            workdir=run_folder,
            metadata=f"vertex://{config.vertex.project}/{config.vertex.region}",
            seconds=seconds,
            error=None,
        )
    (run_folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n")
    write_page(run_folder, summary, originals, cost)
    return summary


def write_page(
    run_folder: Path,
    summary: dict[str, Any],
    records: Mapping[str, ComponentRecord],
    cost: float | None,
) -> None:
    """Writes the page of the Report, with what only the runner knows: the time and the cost.

    Args:
      run_folder: local; gets report.html.
      summary: of the run.
      records: of its tasks, with the places where their outputs are.
      cost: see `summarize_run`.
    """
    from tensorflow.io import gfile

    from pipeline.report.page import render

    report = records["Report"].output("report")
    with gfile.GFile(os.path.join(report.uri, REPORT_FACTS_FILE)) as file:
        facts = json.load(file)
    run = {
        "summary": summary,
        "command": None,
        "cost": cost,
        "components": summary["components"],
        "artifacts": [
            {"component": record.id, "channel": channel, "uri": artifact.uri}
            for record in records.values()
            for channel, artifacts in record.outputs.items()
            for artifact in artifacts
        ],
        "fingerprints": {},
        "lineage": None,
    }
    write_whole(run_folder / REPORT_FILE, render(facts, run))


def _with_local_report(record: ComponentRecord, scratch: str) -> ComponentRecord:
    """The record with its report copied from the bucket, if it has one that the summary reads."""
    channel = _REPORTS.get(record.id)
    artifact = record.output(channel) if channel else None
    if artifact is None:
        return record
    copy = os.path.join(scratch, record.id)
    _copy(artifact.uri, copy)
    local = dataclasses.replace(artifact, uri=copy)
    return dataclasses.replace(record, outputs={**record.outputs, channel: [local]})


def _copy(source: str, target: str) -> None:
    from tensorflow.io import gfile  # takes seconds to load, and `status` does not need it

    for folder, _, names in gfile.walk(source):
        inner = folder[len(source) :].strip("/")
        place = os.path.join(target, inner)
        os.makedirs(place, exist_ok=True)
        for name in names:
            gfile.copy(os.path.join(folder, name), os.path.join(place, name), overwrite=True)
