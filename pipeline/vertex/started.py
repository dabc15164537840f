"""The jobs that a run's tasks have started: the custom job that trains, and Dataflow's.

Vertex AI ends a run's tasks with it, but knows nothing of these: TFX and Beam started them, and
they continue when the task that waits for them is gone. So each has the run and its task in its
labels, and a Dataflow job in its name as well.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import aiplatform_v1 as gca

from pipeline.errors import UserError
from pipeline.vertex.connection import Connection
from pipeline.vertex.labels import as_labels
from pipeline.vertex.service_errors import explained, patient

RUN_LABEL = "run"
TASK_LABEL = "task"
DATAFLOW_URL = "https://dataflow.googleapis.com"
_PATIENCE_SECONDS = 300.0
_SECONDS = 30
_FORBIDDEN = 403
_STATE = gca.JobState
_ENDED = (
    _STATE.JOB_STATE_SUCCEEDED,
    _STATE.JOB_STATE_FAILED,
    _STATE.JOB_STATE_CANCELLED,
    _STATE.JOB_STATE_CANCELLING,
    _STATE.JOB_STATE_EXPIRED,
)


@dataclasses.dataclass(frozen=True)
class StartedJob:
    """A job that runs or waits for its machine.

    Attributes:
      kind: "custom job" or "Dataflow job".
      id: by which its service knows it.
      name: that people know it by.
      state: as its service calls it.
    """

    kind: str
    id: str
    name: str
    state: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id.rpartition('/')[2]} ({self.name})"


def labels_of(run: str, task: str) -> dict[str, str]:
    """Labels of what a task starts.

    Args:
      run: its id.
      task: name and unique number of the task, as its folder in the bucket is called.
    """
    return as_labels({RUN_LABEL: run, TASK_LABEL: task})


def dataflow_name(run: str, task: str) -> str:
    """Name of the Dataflow job that a task starts; arguments as in `labels_of`."""
    return f"{_hyphenated(run)}-{_hyphenated(task)}"


def _hyphenated(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class StartedJobs:
    """Looks up and ends the jobs that runs have started.

    Args:
      connection: see `pipeline.vertex.connection.connect`.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._settings = connection.settings
        self._patient = patient(_PATIENCE_SECONDS)
        self._jobs = connection.client(gca.JobServiceClient)
        self._session = AuthorizedSession(connection.credentials)
        self._dataflow = (
            f"{DATAFLOW_URL}/v1b3/projects/{self._settings.project}"
            f"/locations/{self._settings.region}/jobs"
        )

    def running(self, run: str, task: str = "") -> list[StartedJob]:
        """The jobs of a run that have not ended.

        Args:
          run: its id.
          task: only those of this task.

        Raises:
          UserError: they can't be listed.
        """
        return [job for listed in self._kinds(run, task) for job in listed()]

    def end(self, run: str, task: str = "") -> list[StartedJob]:
        """Ends the jobs of a run; says which.

        Args:
          run: its id.
          task: only those of this task.

        Returns:
          The jobs that were still running.

        Raises:
          UserError: some can't be listed or ended; it names those, the others are ended.
        """
        found, failures = [], []
        for listed in self._kinds(run, task):
            try:
                jobs = listed()
            except UserError as error:
                failures.append(str(error))
                continue
            for job in jobs:
                try:
                    with explained(self._settings, f"end {job}"):
                        self._end(job)
                except UserError as error:
                    failures.append(str(error))
                else:
                    print(f"ended {job}", flush=True)
            found += jobs
        if failures:
            raise UserError(" ".join(failures))
        return found

    def _kinds(self, run: str, task: str) -> Iterator[Callable[[], list[StartedJob]]]:
        """Functions that list the jobs of one service each: one may fail, and not the other."""
        for service, jobs in (("custom", self._custom_jobs), ("Dataflow", self._dataflow_jobs)):

            def listed(service=service, jobs=jobs) -> list[StartedJob]:
                with explained(self._settings, f"list the {service} jobs of run {run}"):
                    return list(jobs(run, task))

            yield listed

    def _end(self, job: StartedJob) -> None:
        if job.kind == "custom job":
            self._patient(self._jobs.cancel_custom_job)(name=job.id)
            return
        self._ask_dataflow("PUT", f"/{job.id}", json={"requestedState": "JOB_STATE_CANCELLED"})

    def _custom_jobs(self, run: str, task: str) -> Iterator[StartedJob]:
        wanted = labels_of(run, task)
        request = gca.ListCustomJobsRequest(
            parent=self._connection.parent, filter=f"labels.{RUN_LABEL}={wanted[RUN_LABEL]}"
        )
        for job in self._patient(self._jobs.list_custom_jobs)(request=request):
            if job.state in _ENDED or (task and job.labels[TASK_LABEL] != wanted[TASK_LABEL]):
                continue
            yield StartedJob("custom job", job.name, job.display_name, job.state.name)

    def _dataflow_jobs(self, run: str, task: str) -> Iterator[StartedJob]:
        # Lists give jobs without their labels, so they are told by their names.
        prefix = dataflow_name(run, task).rstrip("-")
        page = ""
        while True:
            listed = self._ask_dataflow("GET", params={"filter": "ACTIVE", "pageToken": page})
            for job in listed.get("jobs", []):
                if f"{job['name']}-".startswith(f"{prefix}-"):
                    yield StartedJob("Dataflow job", job["id"], job["name"], job["currentState"])
            page = listed.get("nextPageToken", "")
            if not page:
                return

    def _ask_dataflow(self, method: str, path: str = "", **arguments: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            answer = self._session.request(
                method, f"{self._dataflow}{path}", timeout=_SECONDS, **arguments
            )
            if answer.status_code == _FORBIDDEN and "SERVICE_DISABLED" in answer.text:
                return {}  # so there are no jobs
            if not answer.ok:
                raise exceptions.from_http_response(answer)
            return answer.json()

        return self._patient(ask)()
