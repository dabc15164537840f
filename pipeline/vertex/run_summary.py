"""The summary of a run on Vertex AI: the local run's, with the reports fetched from the bucket."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tensorflow.io import gfile

from pipeline.config import PipelineConfig
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord
from pipeline.summary import summarize
from pipeline.vertex.rehearsal.tasks import TaskResult
from pipeline.vertex.task_records import component_records

# Outputs that a summary reads: figures and reports, a few kilobytes each.
_READ = {"Evaluator": "evaluation", "DeviceCheck": "blessing", "SchemaGen": "schema"}


def summarize_run(
    config: PipelineConfig, run_id: str, results: list[TaskResult], seconds: float, folder: str
) -> dict[str, Any]:
    """Sums up a finished run, and writes summary.json.

    Args:
      config: the run's.
      run_id: its id on Vertex AI.
      results: of all its tasks.
      seconds: from submission to the end.
      folder: local; gets RUN_ID/summary.json, and an inferred schema to review.

    Returns:
      See `pipeline.summary.summarize`.
    """
    run_folder = Path(folder).absolute() / run_id
    run_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        records = {
            name: _fetched(record, scratch) for name, record in component_records(results).items()
        }
        summary = summarize(
            records,
            config=config,
            run_id=run_id,
            run_folder=run_folder,
            workdir=run_folder,
            metadata=f"Vertex ML Metadata of {config.vertex.project}, {config.vertex.region}",
            seconds=seconds,
            error=None,
        )
    (run_folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _fetched(record: ComponentRecord, scratch: str) -> ComponentRecord:
    """The record, with the output that a summary reads in a local folder."""
    channel = _READ.get(record.id)
    artifact = record.output(channel) if channel else None
    if artifact is None:
        return record
    copy = os.path.join(scratch, record.id)
    _copy(artifact.uri, copy)
    local: ArtifactRecord = dataclasses.replace(artifact, uri=copy)
    return dataclasses.replace(record, outputs={**record.outputs, channel: [local]})


def _copy(source: str, target: str) -> None:
    for folder, _, names in gfile.walk(source):
        inner = folder[len(source) :].strip("/")
        place = os.path.join(target, inner)
        os.makedirs(place, exist_ok=True)
        for name in names:
            gfile.copy(os.path.join(folder, name), os.path.join(place, name), overwrite=True)
