"""The commands of vertex_runner.py.

Every function takes the configuration and the parsed command line. Commands that end with a judged
model return whether it was blessed; the others return None. They import what they need when they
run: nobody waits for TFX to hear of a missing project.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.vertex.compilation import compile_job, for_vertex
from pipeline.vertex.connection import connect

_CRON_FIELDS = 5


def compile(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Writes the pipeline spec."""
    job = compile_job(for_vertex(config))
    output = Path(options.output)
    try:
        output.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(f"Could not write --output {output}: {error.strerror}.") from error
    print(f"wrote {output}: {len(job['pipelineSpec']['root']['dag']['tasks'])} tasks")


def submit(config: PipelineConfig, options: argparse.Namespace) -> bool | None:
    """Submits a run, or shows what would be submitted."""
    config = for_vertex(config)
    if options.dry_run:
        _check_budget(config, compile_job(config), options, show=True)
        return None
    connection = connect(config.vertex)
    connection.check_bucket()
    job = compile_job(config)
    _check_budget(config, job, options)

    from pipeline.vertex.client import VertexClient, id_of

    client = VertexClient(connection)
    started = time.monotonic()
    run = client.submit(config, job)
    if not options.wait:
        print(f"follow it: vertex_runner.py status {id_of(run)} {_place_flags(config)}")
        return None
    results = client.wait(run.name)

    from pipeline.summary import print_summary
    from pipeline.vertex.results import summarize_run

    seconds = time.monotonic() - started
    summary = summarize_run(config, id_of(run), results, seconds, "vertex_runs")
    print_summary(summary)
    for result in results:
        for artifact in result.outputs.get("registered_model", []):
            print(f"registered as {artifact['metadata'].get('pushed_destination', 'nothing')}")
    return summary["blessed"]


def status(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Prints the state of a run and of its tasks."""
    connection = connect(config.vertex)
    from pipeline.vertex.client import VertexClient, dashboard_link, describe_task, id_of, tasks_of

    run = VertexClient(connection).get(options.run)
    print(f"{id_of(run)}: {run.state.name}\n{dashboard_link(run)}")
    for task in tasks_of(run):
        print(f"  {describe_task(task, config.vertex.project)}")


def cancel(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Cancels a run."""
    connection = connect(config.vertex)
    from pipeline.vertex.client import VertexClient

    VertexClient(connection).cancel(options.run)
    print(f"asked Vertex AI to cancel {options.run}")


def schedule(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Puts the pipeline on a schedule."""
    _check_cron(options.cron)
    if config.vertex.experiment:
        raise UserError(
            f"Leave out vertex.experiment ({config.vertex.experiment}): only runs submitted one by "
            "one can be added to an experiment, not those that a schedule starts."
        )
    config = for_vertex(config)
    connection = connect(config.vertex)
    connection.check_bucket()
    job = compile_job(config)
    _check_budget(config, job, options)
    from pipeline.vertex.schedules import Schedules

    schedule_id = Schedules(connection).create(config, job, options.cron, options.max_runs)
    print(f"created schedule {schedule_id}")
    print(f"delete it: vertex_runner.py unschedule {schedule_id} {_place_flags(config)}")


def schedules(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Lists the schedules."""
    connection = connect(config.vertex)
    from pipeline.vertex.schedules import Schedules

    lines = Schedules(connection).list()
    if not lines:
        print(f"no schedules in {config.vertex.project}, {config.vertex.region}")
    for line in lines:
        print(f"{line.id}  {line.name}  {line.cron!r}  {line.state}  {line.started_runs} runs")


def unschedule(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Deletes a schedule."""
    connection = connect(config.vertex)
    from pipeline.vertex.schedules import Schedules

    Schedules(connection).delete(options.schedule)
    print(f"deleted schedule {options.schedule}")


def doctor(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Checks what a run needs."""
    from pipeline.vertex.doctor import examine

    findings = examine(config.vertex)
    for finding in findings:
        print(finding)
    failed = sum(not finding.passed for finding in findings)
    if failed:
        raise UserError(f"{failed} of {len(findings)} checks failed; see the fixes above.")


def rehearse(config: PipelineConfig, options: argparse.Namespace) -> bool:
    """Executes the compiled job on this machine."""
    from pipeline.summary import print_summary
    from pipeline.vertex.rehearsal.run import rehearse as rehearse_here

    summary = rehearse_here(config, options.folder)
    print_summary(summary)
    return summary["blessed"]


def _check_cron(cron: str) -> None:
    """Checks the number of fields; the service checks what is in them."""
    fields = cron.split()
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        fields = fields[1:]
    if len(fields) != _CRON_FIELDS:
        raise UserError(
            "Expected five fields in --cron: minute hour day month weekday. "
            f'Received: "{cron}". For example "0 3 * * 1": Mondays at three, UTC.'
        )


def _check_budget(
    config: PipelineConfig, job: dict[str, Any], options: argparse.Namespace, show: bool = False
) -> None:
    from pipeline.vertex.plan import check_cost, load_prices, make_plan, print_plan, total_cost

    prices = load_prices(options.prices)
    steps = make_plan(config, job, prices, options.images)
    if show:
        print_plan(steps, prices, options.images)
    check_cost(total_cost(steps, prices), options.max_cost)


def _place_flags(config: PipelineConfig) -> str:
    return f"--project {config.vertex.project} --region {config.vertex.region}"
