"""Schedules: the same pipeline again and again, on the data available by then."""

import dataclasses
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as gca

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.vertex.client import pipeline_job
from pipeline.vertex.connection import Connection
from pipeline.vertex.service_errors import explained, patient

_PATIENCE_SECONDS = 60.0
_DELETE_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class ScheduleLine:
    """A schedule as it is listed."""

    id: str
    name: str
    cron: str
    state: str
    started_runs: int


class Schedules:
    """The schedules of a project and region.

    Args:
      connection: see `pipeline.vertex.connection.connect`.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._settings = connection.settings
        self._patient = patient(_PATIENCE_SECONDS)
        self._client = connection.client(gca.ScheduleServiceClient)

    def create(
        self, config: PipelineConfig, job: dict[str, Any], cron: str, max_runs: int | None = None
    ) -> str:
        """Puts a compiled job on a schedule that starts one run at a time.

        Args:
          config: that the job was compiled from.
          job: see `pipeline.vertex.compilation.compile_job`.
          cron: five fields, optionally after "TZ=Europe/Berlin "; otherwise in UTC.
          max_runs: after which the schedule ends; None for never.

        Returns:
          The schedule's id.

        Raises:
          UserError: the service rejects it. A busy service is not asked again: if its answer got
            lost, there would be two schedules.
        """
        parent = self._connection.parent
        schedule = gca.Schedule(
            display_name=config.name,
            cron=cron,
            max_run_count=max_runs,
            max_concurrent_run_count=1,
            create_pipeline_job_request=gca.CreatePipelineJobRequest(
                parent=parent, pipeline_job=pipeline_job(config, job)
            ),
        )
        try:
            with explained(self._settings, "create the schedule"):
                created = self._client.create_schedule(parent=parent, schedule=schedule)
        except UserError as error:
            if isinstance(error.__cause__, exceptions.ClientError):
                raise  # the service said no
            raise UserError(
                f"{error} `vertex_runner.py schedules` shows whether it was created after all."
            ) from error
        return _id_of(created)

    def list(self) -> list[ScheduleLine]:
        """All schedules, newest first."""
        request = gca.ListSchedulesRequest(
            parent=self._connection.parent, order_by="create_time desc"
        )
        with explained(self._settings, "list the schedules"):
            return [
                ScheduleLine(
                    id=_id_of(schedule),
                    name=schedule.display_name,
                    cron=schedule.cron,
                    state=schedule.state.name.lower(),
                    started_runs=schedule.started_run_count,
                )
                for schedule in self._patient(self._client.list_schedules)(request=request)
            ]

    def delete(self, schedule_id: str) -> None:
        """Deletes a schedule; the runs that it has started continue.

        Raises:
          UserError: there is no such schedule.
        """
        with explained(self._settings, f"delete schedule {schedule_id}"):
            name = f"{self._connection.parent}/schedules/{schedule_id}"
            operation = self._patient(self._client.delete_schedule)(name=name)
            operation.result(timeout=_DELETE_SECONDS)


def _id_of(schedule: gca.Schedule) -> str:
    return schedule.name.rpartition("/")[2]
