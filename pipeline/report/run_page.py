"""The page in the folder of a run: the facts of its Report, and what only the runner knows.

    summary       summary.json
    command       that started the run; None if it is not recorded
    cost          in USD, estimated; None where there was none
    components    {component: {status, seconds}}
    artifacts     [{component, channel, uri}], what the run wrote or reused
    fingerprints  of code, configuration and environment
    lineage       the graph as HTML; None without a store

Imports neither TensorFlow nor TFX.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.errors import UserError
from pipeline.files import REPORT_FACTS_FILE, REPORT_FILE, SUMMARY_FILE, write_whole
from pipeline.lineage import open_backend, trace
from pipeline.lineage.backend import Backend
from pipeline.lineage.graph import to_json
from pipeline.lineage.graph_html import picture
from pipeline.metadata.records import Execution, Run
from pipeline.report.page import VERSION, render

_FINGERPRINTS = ("code", "configuration", "environment")
_REPORT, _CHANNEL = "Report", "report"


def write_run_page(folder: Path, metadata: str | None = None, *, in_store: bool = True) -> Path:
    """Makes the page of a run of the local runner from what is recorded.

    Args:
      folder: of the run.
      metadata: the store, if it is no longer where summary.json says.
      in_store: whether the run got as far as being recorded in a store.

    Returns:
      The page.

    Raises:
      UserError: the folder is of no run, or its store is gone.
    """
    facts, run = read_run_facts(folder, metadata, in_store=in_store)
    page = folder / REPORT_FILE
    write_whole(page, render(facts, run))
    return page


def read_run_facts(
    folder: Path, metadata: str | None = None, *, in_store: bool = True
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What `render` takes, for a run of the local runner.

    Returns:
      The facts of its Report, None if the run did not get that far; and what the runner knows.

    Raises:
      UserError: see `write_run_page`.
    """
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"Expected the folder of a run, with its {SUMMARY_FILE}, such as workdir/latest_run. "
            f"Received: {folder}."
        ) from error
    location = metadata or summary.get("metadata")
    backend, run = None, None
    if location and in_store:
        backend = open_backend(location)
        run = backend.run(summary["run_id"])
    known = {
        "summary": summary,
        "command": None,
        "cost": None,
        "components": summary.get("components", {}),
        "artifacts": [],
        "fingerprints": {},
        "lineage": None,
    }
    if run is None:  # it failed before it began in the store
        return None, known
    outputs = _outputs(backend, backend.executions_in(run))
    known |= {
        "command": run.facts.get("command"),
        "artifacts": [
            {"component": node, "channel": channel, "uri": artifact.uri}
            for (node, channel), artifact in outputs.items()
        ],
        "fingerprints": {name: run.facts.get(name) for name in _FINGERPRINTS},
        "lineage": _lineage(backend, run),
    }
    report = outputs.get((_REPORT, _CHANNEL))
    return (_facts(Path(report.uri)) if report else None), known


def _outputs(backend: Backend, executions: list[Execution]) -> dict[tuple[str, str], Any]:
    """Artifacts by component and channel."""
    nodes = {execution.id: execution.node for execution in executions}
    events = [event for event in backend.events_of(nodes) if event.is_output]
    artifacts = backend.artifacts([event.artifact for event in events])
    return {(nodes[e.execution], e.channel): artifacts[e.artifact] for e in events}


def _lineage(backend: Backend, run: Run) -> Markup:
    graph = to_json(trace(backend, f"run:{run.name}"))
    return Markup("\n".join(picture(graph, unfolded_rows=1)))  # which escapes


def _facts(uri: Path) -> dict[str, Any]:
    path = uri / REPORT_FACTS_FILE
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"Expected the facts of the report in {path}. Received: none that can be read "
            f"({error}). Run the pipeline again: what is missing is made again."
        ) from error
    if facts["version"] != VERSION:
        raise UserError(
            f"Expected facts of version {VERSION} in {path}. Received: {facts['version']}, which "
            "another version of this program made. Run the pipeline again: they are made anew."
        )
    return facts


def find_run(given: str, workdir: str) -> Path:
    """The folder of a run, given that or the run's id.

    Raises:
      UserError: there is none.
    """
    for folder in (Path(given), Path(workdir, "runs", given)):
        if (folder / SUMMARY_FILE).is_file():
            return folder.resolve()
    raise UserError(
        f"Expected a run: its folder, such as {workdir}/latest_run, or its id. Received: {given}."
    )


def facts_of(facts: Mapping[str, Any] | None, folder: Path) -> Mapping[str, Any]:
    """The facts, which a comparison needs.

    Raises:
      UserError: there are none.
    """
    if facts is None:
        raise UserError(
            f"Expected a run that got as far as its report. Received: {folder}, which did not."
        )
    return facts
