"""Schedules: the same pipeline again and again, on what data there is by then."""

import dataclasses
from typing import Any

from google.cloud import aiplatform

from pipeline.config import PipelineConfig
from pipeline.vertex.client import VertexClient
from pipeline.vertex.cron import check_cron
from pipeline.vertex.service_errors import explained, patient
from pipeline.vertex.settings import VertexSettings


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
      UserError: a cron line that is none, or what the service refuses.
    """
    check_cron(cron)
    client.check_bucket()
    run = client.prepare(config, job)
    with explained(config.vertex, "create the schedule"):
        schedule = run.create_schedule(
            cron=cron,
            display_name=config.name,
            max_run_count=max_runs,
            service_account=config.vertex.service_account or None,
            network=config.vertex.network or None,
        )
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
    with explained(settings, f"delete schedule {schedule_id}"):
        aiplatform.PipelineJobSchedule.get(schedule_id).delete()
