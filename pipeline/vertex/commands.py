"""The commands of vertex_runner.py.

Every function takes the configuration and the parsed command line. Commands that end with a judged
model return whether it was blessed; the others return None. They import what they need when they
run: nobody waits for TFX to hear of a missing project.
"""

import argparse
import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.given_paths import require_local_paths
from pipeline.recipe import NO_WARM_START
from pipeline.settings import VertexSettings
from pipeline.vertex.compilation import check_data, check_pipeline, compile_job, for_vertex
from pipeline.vertex.connection import connect, require_project
from pipeline.vertex.first_look import look, with_weights
from pipeline.vertex.job_spec import tasks_of
from pipeline.vertex.machines import MACHINES
from pipeline.vertex.prices import load_prices

_CRON_FIELDS = 5
# Completes a configuration from what is known of the machine that trains, the data and the weights,
# see `pipeline.recipe.choose_recipe`, and says what it chose. None where --preset has decided.
ByData = Callable[..., tuple[PipelineConfig, tuple[str, ...]]] | None


def checked(config: PipelineConfig, options: argparse.Namespace) -> PipelineConfig:
    """What is wrong with a command line, before anything is loaded or asked.

    Returns:
      The configuration, completed for the commands that submit a run.

    Raises:
      UserError: a setting or flag that the command needs is missing or invalid.
    """
    if options.command == "rehearse":
        check_pipeline(config)
        return config
    require_project(config.vertex)
    if options.command == "schedule":
        _check_schedule(config, options.cron)
    if options.command in ("compile", "submit", "schedule"):
        load_prices(options.prices)
        return for_vertex(config)
    return config


def compile(config: PipelineConfig, options: argparse.Namespace, by_data: ByData = None) -> None:
    """Writes the pipeline spec."""
    config = for_vertex(_chosen(config, by_data, _trainer(config), _say_not_looked_at))
    job = _within_budget(config, compile_job(config), options)
    output = Path(options.output)
    try:
        output.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(f"Could not write --output {output}: {error.strerror}.") from error
    print(f"wrote {output}: {len(tasks_of(job['pipelineSpec']))} tasks")


def submit(
    config: PipelineConfig, options: argparse.Namespace, by_data: ByData = None
) -> bool | None:
    """Submits a run, or shows what would be submitted."""
    if options.dry_run:
        config = for_vertex(_chosen(config, by_data, _trainer(config), _say_not_looked_at))
        _within_budget(config, compile_job(config), options, show=True)
        return None
    connection = connect(config.vertex)
    connection.check_bucket()
    config = for_vertex(_chosen(config, by_data, _trainer(config), _refuse))
    job = _within_budget(config, compile_job(config), options)

    from pipeline.vertex.client import RunFailedError, VertexClient, id_of
    from pipeline.vertex.started import StartedJobs

    client = VertexClient(connection)
    started = time.monotonic()
    run = client.submit(config, job)
    if not options.wait:
        print(f"follow it: {_command(config, 'status', id_of(run))}")
        return None
    try:
        results = client.wait(run.name)
    except RunFailedError:
        StartedJobs(connection).end(id_of(run))
        raise

    from pipeline.summary import print_summary
    from pipeline.vertex.results import summarize_run

    seconds = time.monotonic() - started
    cost = _estimate(config, job, options)
    summary = summarize_run(config, id_of(run), results, seconds, "vertex_runs", cost)
    print_summary(summary)
    for result in results:
        for artifact in result.outputs.get("registered_model", []):
            print(f"registered as {artifact['metadata'].get('pushed_destination', 'nothing')}")
    return summary["blessed"]


def status(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Prints the state of a run, of its tasks and of the jobs that they have started."""
    connection = connect(config.vertex)
    from pipeline.vertex.client import (
        ENDED,
        VertexClient,
        dashboard_link,
        describe_task,
        id_of,
    )
    from pipeline.vertex.client import tasks_of as tasks_of_run
    from pipeline.vertex.started import StartedJobs

    run = VertexClient(connection).get(options.run)
    print(f"{id_of(run)}: {run.state.name}\n{dashboard_link(run)}")
    for task in tasks_of_run(run):
        print(f"  {describe_task(task, config.vertex.project)}")
    jobs = StartedJobs(connection).running(id_of(run))
    for job in jobs:
        print(f"  {job}: {job.state.lower()}")
    if jobs and run.state in ENDED:
        print(f"end what it left running: {_command(config, 'cancel', id_of(run))}")


def cancel(config: PipelineConfig, options: argparse.Namespace) -> None:
    """Cancels a run, and ends the jobs that its tasks have started; also those of an ended run."""
    connection = connect(config.vertex)
    from pipeline.vertex.client import ENDED, VertexClient, id_of
    from pipeline.vertex.started import StartedJobs

    client, jobs = VertexClient(connection), StartedJobs(connection)
    run = client.get(options.run)
    if run.state in ENDED:
        print(f"{id_of(run)} has ended: {run.state.name}")
    else:
        client.cancel(options.run)
        print(f"asked Vertex AI to cancel {id_of(run)}", flush=True)
    ended = jobs.end(id_of(run))
    if run.state not in ENDED:
        state = client.wait_for_cancellation(options.run)
        print(f"{id_of(run)}: {state.name}")
        ended += jobs.end(id_of(run))  # a task may have started one meanwhile
    if not ended:
        print("its tasks had no jobs running")


def schedule(config: PipelineConfig, options: argparse.Namespace, by_data: ByData = None) -> None:
    """Puts the pipeline on a schedule."""
    connection = connect(config.vertex)
    connection.check_bucket()
    config = for_vertex(_chosen(config, by_data, _trainer(config), _refuse))
    job = _within_budget(config, compile_job(config), options)
    from pipeline.vertex.schedules import Schedules

    schedule_id = Schedules(connection).create(config, job, options.cron, options.max_runs)
    print(f"created schedule {schedule_id}")
    print(f"delete it: {_command(config, 'unschedule', schedule_id)}")


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


def doctor(config: PipelineConfig, options: argparse.Namespace, by_data: ByData = None) -> None:
    """Checks what a run needs; without --preset also that its data and weights can be read."""
    from pipeline.vertex.doctor import Finding, examine

    findings = examine(config.vertex)
    for finding in findings:
        print(finding)
    if by_data or config.warm_start.weights:
        problems: list[UserError] = []
        try:
            check_data(config)
            _chosen(config, by_data, _trainer(config), problems.append)
        except UserError as error:
            problems.append(error)
        fixes = dict.fromkeys(map(str, problems))
        findings.append(Finding("data and weights can be looked at", not fixes, " ".join(fixes)))
        print(findings[-1])
    failed = sum(not finding.passed for finding in findings)
    if failed:
        raise UserError(f"{failed} of {len(findings)} checks failed; see the fixes above.")


def rehearse(config: PipelineConfig, options: argparse.Namespace, by_data: ByData = None) -> bool:
    """Executes the compiled job on this machine."""
    from pipeline.summary import print_summary
    from pipeline.vertex.rehearsal.process import start_loading
    from pipeline.vertex.rehearsal.run import rehearse as rehearse_here

    require_local_paths(config)
    start_loading()
    config = _chosen(config, by_data, {"cores": os.cpu_count() or 1})
    summary = rehearse_here(config, options.folder)
    print_summary(summary)
    return summary["blessed"]


def _trainer(config: PipelineConfig) -> dict[str, Any]:
    """The machine that trains, as `choose_recipe` takes it."""
    name = config.vertex.accelerator
    machine = MACHINES[name]
    accelerator = name if machine.required_devices else ""
    return {
        "cores": machine.host_cores,
        "accelerator": accelerator,
        "replicas": machine.replicas,
    }


def _chosen(
    config: PipelineConfig,
    by_data: ByData,
    trainer: dict[str, Any],
    on_failure: Callable[[UserError], None] | None = None,
) -> PipelineConfig:
    """The configuration that suits data, weights and machine; says what was found and chosen.

    Args:
      config: of the command line alone.
      by_data: None leaves it as it is.
      trainer: see `_trainer`.
      on_failure: see `look`; weights are compared with the network unless a job is only compiled.

    Returns:
      A configuration for `for_vertex` or the rehearsal.
    """
    require_local_paths(config)
    known = look(config, on_failure) if by_data else {}
    found = [*known.pop("found", ())]
    if (config.data.path or config.data.train) and not config.warm_start.weights:
        found.append(NO_WARM_START)
    for line in found:
        print(f"found: {line}")
    if by_data:
        config, lines = by_data(**trainer, **known)
        print(*lines, sep="\n", flush=True)
    if config.warm_start.weights and on_failure is not _say_not_looked_at:
        try:
            return with_weights(config)
        except UserError as error:
            if on_failure in (None, _refuse):
                raise
            on_failure(error)
    return config


def _say_not_looked_at(error: UserError) -> None:
    print(f"not looked at, so chosen without it (--preset and --set choose otherwise): {error}")


def _refuse(error: UserError) -> None:
    raise UserError(
        f"Without --preset, data and weights must be readable from here: {error}"
    ) from error


def _check_schedule(config: PipelineConfig, cron: str) -> None:
    """Checks the number of fields; the service checks what is in them."""
    fields = cron.split()
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        fields = fields[1:]
    if len(fields) != _CRON_FIELDS:
        raise UserError(
            "Expected five fields in --cron: minute hour day month weekday. "
            f'Received: "{cron}". For example "0 3 * * 1": Mondays at three, UTC.'
        )
    if config.vertex.experiment:
        raise UserError(
            f"Leave out vertex.experiment ({config.vertex.experiment}): only runs submitted one by "
            "one can be added to an experiment, not those that a schedule starts."
        )


def _within_budget(
    config: PipelineConfig, job: dict[str, Any], options: argparse.Namespace, show: bool = False
) -> dict[str, Any]:
    """The job with limits that bound its cost; prints the bound, and on request the plan."""
    from pipeline.vertex.limits import limited
    from pipeline.vertex.plan import bound_cost, make_plan, print_plan

    prices = load_prices(options.prices)
    steps = make_plan(config, job, prices, options.images)
    if show:
        print_plan(steps, prices, options.images)
    bound = bound_cost(config, steps, prices, options.images, options.max_cost)
    print(bound)
    return limited(job, bound.limits)


def _estimate(config: PipelineConfig, job: dict[str, Any], options: argparse.Namespace) -> float:
    """The cost of a run in USD."""
    from pipeline.vertex.plan import make_plan, total_cost

    prices = load_prices(options.prices)
    return total_cost(make_plan(config, job, prices, options.images), prices)


def _command(config: PipelineConfig, verb: str, subject: str) -> str:
    """A command line that runs as it is printed."""
    words = [verb, subject, "--project", config.vertex.project, "--region", config.vertex.region]
    default = VertexSettings()
    for name in ("api_endpoint", "api_transport"):
        value = getattr(config.vertex, name)
        if value != getattr(default, name):
            words += ["--set", f"vertex.{name}={value}"]
    return f".venv/bin/python vertex_runner.py {shlex.join(words)}"
