"""Schedules: the same pipeline again and again, on what data there is by then."""

import dataclasses
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.client import VertexClient
from pipeline.vertex.cron import check_cron
from pipeline.vertex.service_errors import explained, patient


@dataclasses.dataclass(frozen=True)
class ScheduleLine:
    """A schedule as it is listed."""

    id: str
    name: str
    cron: str
    state: str
    started_runs: int


def create_schedule(
    client: VertexClient,
    config: PipelineConfig,
    job: dict[str, Any],
    cron: str,
    max_runs: int | None = None,
) -> str:
    """Puts a compiled job on a schedule; one run at a time.

    Args:
      client: of the project and region.
      config: that the job was compiled from.
      job: see `pipeline.vertex.compilation.compile_job`.
      cron: see `check_cron`.
      max_runs: after which the schedule ends; None for never.

    Returns:
      The schedule's id.

    Raises:
      UserError: a cron line that is none, or what the service refuses. A service that is busy is
        not asked again: an answer that got lost would leave two schedules.
    """
    check_cron(cron)
    if config.vertex.experiment:
        raise UserError(
            "Expected no vertex.experiment for a schedule: only runs that are submitted one by one "
            f"can be filed. Received: {config.vertex.experiment}. Leave it out."
        )
    client.check_bucket()
    run = client.prepare(config, job)
    try:
        with explained(config.vertex, "create the schedule"):
            schedule = run.create_schedule(
                cron=cron,
                display_name=config.name,
                max_run_count=max_runs,
                service_account=config.vertex.service_account or None,
                network=config.vertex.network or None,
            )
    except UserError as error:
        if isinstance(error.__cause__, exceptions.ClientError):
            raise  # a clear no
        raise UserError(
            f"{error} `vertex_runner.py schedules` says whether it was made after all."
        ) from error
    return schedule.name


def list_schedules(settings: VertexSettings) -> list[ScheduleLine]:
    """All schedules of the project and region, newest first."""
    with explained(settings, "list the schedules"):
        found = patient(60.0)(aiplatform.PipelineJobSchedule.list)(order_by="create_time desc")
        return [
            ScheduleLine(
                id=schedule.name,
                name=schedule.display_name,
                cron=schedule.gca_resource.cron,
                state=schedule.gca_resource.state.name.lower(),
                started_runs=schedule.gca_resource.started_run_count,
            )
            for schedule in found
        ]


def delete_schedule(settings: VertexSettings, schedule_id: str) -> None:
    """Deletes a schedule; runs that it has started go on.

    Raises:
      UserError: there is none of that id.
    """
    retry = patient(60.0)
    with explained(settings, f"delete schedule {schedule_id}"):
        schedule = retry(aiplatform.PipelineJobSchedule.get)(schedule_id)
        retry(schedule.delete)()
