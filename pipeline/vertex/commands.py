"""What each command of vertex_runner.py does.

Every function takes the configuration and the parsed command line. Those that end with a judged
model return whether it was blessed; the others None.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.errors import UserError

# For a Cloud Storage that is busy.
_BUCKET_SECONDS = 60.0


def compile(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Writes the pipeline spec."""
    from pipeline.vertex.compilation import compile_job, for_vertex

    job = compile_job(for_vertex(config))
    output = Path(options.output)
    try:
        output.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(
            f"Expected a file to write. Received: --output {output} ({error.strerror})."
        ) from error
    print(f"wrote {output}: {len(job['pipelineSpec']['root']['dag']['tasks'])} tasks")


def submit(config: PipelineConfig, options: argparse.Namespace) -> bool | None:
    """Submits a run, or says what it would be."""
    from pipeline.vertex.compilation import compile_job, for_vertex

    config = for_vertex(config)
    credentials = None if options.dry_run else _ready(config)
    job = compile_job(config)
    _budget(config, job, options, show=options.dry_run)
    if options.dry_run:
        return None
    from pipeline.vertex.client import VertexClient

    client = VertexClient(config.vertex, credentials=credentials)
    started = time.monotonic()
    run = client.submit(config, job)
    if not options.wait:
        print(f"follow it: vertex_runner.py status {run.job_id} {_where(config)}")
        return None
    results = client.wait(run.resource_name)

    from pipeline.summary import print_summary
    from pipeline.vertex.run_summary import summarize_run

    seconds = time.monotonic() - started
    summary = summarize_run(config, run.job_id, results, seconds, "vertex_runs")
    print_summary(summary)
    for result in results:
        for artifact in result.outputs.get("registered_model", []):
            print(f"registered as {artifact['metadata'].get('pushed_destination', 'nothing')}")
    return summary["blessed"]


def status(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Prints the state of a run and of its tasks."""
    credentials = _connected(config)
    from pipeline.vertex.client import VertexClient, describe_task, tasks_of

    run = VertexClient(config.vertex, credentials=credentials).get(options.run)
    print(f"{run.name}: {run.gca_resource.state.name}\n{run._dashboard_uri()}")
    for detail in tasks_of(run):
        print(f"  {describe_task(detail, config.vertex.project)}")


def cancel(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Cancels a run."""
    credentials = _connected(config)
    from pipeline.vertex.client import VertexClient

    VertexClient(config.vertex, credentials=credentials).cancel(options.run)
    print(f"asked Vertex AI to cancel {options.run}")


def schedule(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Puts the pipeline on a schedule."""
    from pipeline.vertex.compilation import compile_job, for_vertex
    from pipeline.vertex.cron import check_cron

    check_cron(options.cron)
    config = for_vertex(config)
    credentials = _ready(config)
    job = compile_job(config)
    _budget(config, job, options, show=False)
    from pipeline.vertex.client import VertexClient
    from pipeline.vertex.schedules import create_schedule

    client = VertexClient(config.vertex, credentials=credentials)
    schedule_id = create_schedule(client, config, job, options.cron, options.max_runs)
    print(f"created schedule {schedule_id}")
    print(f"delete it: vertex_runner.py unschedule {schedule_id} {_where(config)}")


def schedules(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Lists the schedules."""
    credentials = _connected(config)
    from pipeline.vertex.client import VertexClient
    from pipeline.vertex.schedules import list_schedules

    VertexClient(config.vertex, credentials=credentials)
    lines = list_schedules(config.vertex)
    if not lines:
        print(f"no schedules in {config.vertex.project}, {config.vertex.region}")
    for line in lines:
        print(f"{line.id}  {line.name}  {line.cron!r}  {line.state}  {line.started_runs} runs")


def unschedule(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Deletes a schedule."""
    credentials = _connected(config)
    from pipeline.vertex.client import VertexClient
    from pipeline.vertex.schedules import delete_schedule

    VertexClient(config.vertex, credentials=credentials)
    delete_schedule(config.vertex, options.schedule)
    print(f"deleted schedule {options.schedule}")


def doctor(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Checks what a run needs."""
    from pipeline.vertex.doctor import examine

    findings = examine(config.vertex)
    for finding in findings:
        print(finding)
    broken = sum(not finding.passed for finding in findings)
    if broken:
        raise UserError(f"Expected every check to pass. Received: {broken} that did not.")


def rehearse(config: PipelineConfig, options: argparse.Namespace) -> bool:
    """Executes the compiled job on this machine."""
    from pipeline.summary import print_summary
    from pipeline.vertex.rehearsal.run import rehearse as rehearse_here

    summary = rehearse_here(config, options.folder, lambda line: print(line, flush=True))
    print_summary(summary)
    return summary["blessed"]


def _budget(config, job, options, show: bool) -> None:
    from pipeline.vertex.plan import check_cost, load_prices, make_plan, print_plan, total_cost

    prices = load_prices(options.prices)
    steps = make_plan(config, job, prices, options.images)
    if show:
        print_plan(steps, prices, options.images)
    check_cost(total_cost(steps, prices), options.max_cost)


def _connected(config: PipelineConfig) -> Any:
    """Credentials for an endpoint that answers; asked for before anything slow is loaded."""
    from pipeline.vertex.connection import connect, require_project

    require_project(config.vertex)
    return connect(config.vertex)


def _ready(config: PipelineConfig) -> Any:
    """The same for a run, whose bucket is looked at, too."""
    from pipeline.vertex.connection import check_bucket
    from pipeline.vertex.service_errors import patient

    credentials = _connected(config)
    check_bucket(config.vertex, credentials, patient(_BUCKET_SECONDS))
    return credentials


def _where(config: PipelineConfig) -> str:
    return f"--project {config.vertex.project} --region {config.vertex.region}"
