"""Runs on Vertex AI: submit, follow, look at, cancel. Uses Google's own client throughout."""

import datetime
import json
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform, storage
from google.cloud.aiplatform_v1.types import PipelineState, PipelineTaskDetail

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.connection import check_bucket, connect
from pipeline.vertex.rehearsal.tasks import TaskResult
from pipeline.vertex.service_errors import explained, patient

_PATIENCE_SECONDS = 300.0
_LABEL_RUNNER = {"tfx_runner": "vertex"}
_ENDED = (
    PipelineState.PIPELINE_STATE_SUCCEEDED,
    PipelineState.PIPELINE_STATE_FAILED,
    PipelineState.PIPELINE_STATE_CANCELLED,
)
_TASK = PipelineTaskDetail.State
_TASK_STATES = {
    _TASK.SUCCEEDED: "complete",
    _TASK.SKIPPED: "cached",
    _TASK.FAILED: "failed",
    _TASK.CANCELLED: "failed",
}
# The service's own tasks around the pipeline's.
_ROOT_TASK_SUFFIX = "tfx-dag"


class VertexClient:
    """The Vertex AI of one project and region.

    Args:
      settings: where; credentials are the Application Default Credentials.
      say: takes progress lines.
      poll_seconds: between two looks at a run.
      retry_seconds: until the first repetition of a call that found the service busy.
      credentials: from `connect`; None connects.

    Raises:
      UserError: no credentials, or no answer from the endpoint.
    """

    def __init__(
        self,
        settings: VertexSettings,
        say: Callable[[str], None] = print,
        poll_seconds: float = 30.0,
        retry_seconds: float = 1.0,
        credentials: Any = None,
    ):
        self._settings = settings
        self._say = say
        self._poll_seconds = poll_seconds
        self._patient = patient(_PATIENCE_SECONDS, retry_seconds)
        self._credentials = credentials or connect(settings)
        with explained(settings, "connect"):
            aiplatform.init(
                project=settings.project,
                location=settings.region,
                credentials=self._credentials,
                api_endpoint=settings.api_endpoint or None,
                api_transport=settings.api_transport,
                encryption_spec_key_name=settings.encryption_key or None,
            )

    def check_bucket(self) -> None:
        """See `pipeline.vertex.connection.check_bucket`."""
        check_bucket(self._settings, self._credentials, self._patient)

    def prepare(self, config: PipelineConfig, job: dict[str, Any]) -> aiplatform.PipelineJob:
        """A run that is ready to be submitted, or to be put on a schedule."""
        now = datetime.datetime.now(datetime.timezone.utc)
        with tempfile.TemporaryDirectory() as folder:
            template = Path(folder) / "job.json"
            template.write_text(json.dumps(job))
            return aiplatform.PipelineJob(
                display_name=config.name,
                template_path=str(template),
                job_id=f"{config.name}-{now:%Y%m%d-%H%M%S}",
                pipeline_root=config.execution.pipeline_root,
                # None leaves it to the spec, in which every task is cached.
                enable_caching=None if self._settings.caching else False,
                labels={**job.get("labels", {}), **_LABEL_RUNNER, **self._settings.label_map},
            )

    def submit(self, config: PipelineConfig, job: dict[str, Any]) -> aiplatform.PipelineJob:
        """Submits a run, and files its spec in the bucket.

        Raises:
          UserError: anything that the service refuses.
        """
        self.check_bucket()
        experiment = self._experiment()
        run = self.prepare(config, job)
        with explained(self._settings, "submit the pipeline"):
            self._upload_spec(run.job_id, job)
            self._patient(lambda: self._create(run))()
        self._say(f"submitted {run.resource_name}\n{run._dashboard_uri()}")
        if experiment is not None:
            self._file_under(experiment, run)
        return run

    def _create(self, run: aiplatform.PipelineJob) -> None:
        # Not `run.submit`: it looks for the bucket with a client of its own, without our patience,
        # and would make a missing one wherever it likes.
        request = run._gca_resource
        request.service_account = self._settings.service_account
        request.network = self._settings.network
        parent = f"projects/{self._settings.project}/locations/{self._settings.region}"
        try:
            run._gca_resource = run.api_client.create_pipeline_job(
                parent=parent, pipeline_job=request, pipeline_job_id=run.job_id
            )
        except exceptions.Conflict:
            # An answer that got lost: the id is ours, down to the second.
            found = aiplatform.PipelineJob.get(f"{parent}/pipelineJobs/{run.job_id}")
            run._gca_resource = found.gca_resource

    def _experiment(self) -> aiplatform.Experiment | None:
        """The experiment that the settings name; made when there is none of that name."""
        name = self._settings.experiment
        if not name:
            return None
        try:
            with explained(self._settings, f"file runs under experiment {name}"):
                return self._patient(aiplatform.Experiment.get_or_create)(name)
        except ValueError as error:
            raise UserError(
                f"Expected vertex.experiment to name an experiment. Received: {name} ({error}) "
                "Choose another name."
            ) from error

    def _file_under(self, experiment: aiplatform.Experiment, run: aiplatform.PipelineJob) -> None:
        # The run is submitted and costs money: nothing from here on may look as if it were not.
        try:
            with explained(self._settings, "file the run under its experiment"):
                self._patient(experiment._log_experiment_loggable)(run)
        except (UserError, RuntimeError) as error:
            self._say(f"the run goes on, but is not in experiment {experiment.name}: {error}")

    def _upload_spec(self, job_id: str, job: dict[str, Any]) -> None:
        client = storage.Client(project=self._settings.project, credentials=self._credentials)
        blob = client.bucket(self._settings.bucket).blob(f"pipeline_specs/{job_id}.json")
        blob.upload_from_string(
            json.dumps(job, sort_keys=True), "application/json", retry=self._patient
        )

    def get(self, name: str) -> aiplatform.PipelineJob:
        """A run by its id or its resource name.

        Raises:
          UserError: there is none.
        """
        with explained(self._settings, f"look at run {name}"):
            return self._patient(aiplatform.PipelineJob.get)(name)

    def cancel(self, name: str) -> None:
        """Asks for the end of a run; tasks that run are stopped.

        Raises:
          UserError: it can't be cancelled.
        """
        run = self.get(name)
        with explained(self._settings, f"cancel run {name}"):
            self._patient(run.cancel)()

    def wait(self, name: str) -> list[TaskResult]:
        """Follows a run to its end, and says which tasks start and end.

        Returns:
          The tasks, with their artifacts.

        Raises:
          UserError: the run failed or was cancelled; names the task, and the link to its log.
        """
        seen: dict[str, str] = {}
        while True:
            run = self.get(name)
            details = tasks_of(run)
            for detail in details:
                state = detail.state.name.lower()
                if seen.get(detail.task_name) != state:
                    seen[detail.task_name] = state
                    self._say(f"{detail.task_name}: {state}")
            state = run.gca_resource.state
            if state in _ENDED:
                break
            time.sleep(self._poll_seconds)
        if state != PipelineState.PIPELINE_STATE_SUCCEEDED:
            raise UserError(self._failure(run, details))
        return [result_of(detail) for detail in details]

    def _failure(self, run: aiplatform.PipelineJob, details: list[PipelineTaskDetail]) -> str:
        if run.gca_resource.state == PipelineState.PIPELINE_STATE_CANCELLED:
            return f"The run {run.name} was cancelled. Submit again: finished tasks are reused."
        lines = [
            describe_task(detail, self._settings.project)
            for detail in details
            if detail.state == _TASK.FAILED
        ]
        return "\n".join(lines) or f"The run failed: {run.gca_resource.error.message}"


def tasks_of(run: aiplatform.PipelineJob) -> list[PipelineTaskDetail]:
    """The tasks of a run, without the one that stands for the run as a whole."""
    details = run.gca_resource.job_detail.task_details
    return [
        detail
        for detail in details
        if detail.task_name != run.name and not detail.task_name.endswith(_ROOT_TASK_SUFFIX)
    ]


def result_of(detail: PipelineTaskDetail) -> TaskResult:
    """A task of the service in the form that summaries are made of."""
    outputs = {
        key: [
            {
                "name": artifact.name,
                "uri": artifact.uri,
                "schema_title": artifact.schema_title,
                "metadata": dict(artifact.metadata or {}),
            }
            for artifact in group.artifacts
        ]
        for key, group in detail.outputs.items()
    }
    return TaskResult(
        name=detail.task_name,
        state=_TASK_STATES.get(detail.state, "running"),
        started=detail.start_time.timestamp() if detail.start_time else 0.0,
        finished=detail.end_time.timestamp() if detail.end_time else 0.0,
        outputs=outputs,
    )


def describe_task(detail: PipelineTaskDetail, project: str) -> str:
    """A task's state; of one that failed also why, and where its log is."""
    if detail.state != _TASK.FAILED:
        return f"{detail.task_name}: {detail.state.name.lower()}"
    reason = " ".join(detail.error.message.split()) or "no message"
    return f"{detail.task_name} failed: {reason} (log: {log_link(detail, project)})"


def log_link(detail: PipelineTaskDetail, project: str) -> str:
    """Where a task's log can be read."""
    job = detail.executor_detail.container_detail.main_job.rpartition("/")[2]
    query = f'resource.type="ml_job" resource.labels.job_id="{job}"'
    return (
        "https://console.cloud.google.com/logs/query;query="
        f"{urllib.parse.quote(query, safe='')}?project={project}"
    )
