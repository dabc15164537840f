"""Runs on Vertex AI: submit, follow, look up, cancel.

Uses the generated clients of google.cloud.aiplatform_v1, which take their credentials and endpoint
as arguments. The SDK above them (google.cloud.aiplatform) keeps both in global state, creates a
missing bucket wherever it likes, and takes twice as long to load.
"""

import copy
import datetime
import json
import time
import urllib.parse
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as gca
from google.cloud import storage

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.metadata.origin import read_origin
from pipeline.vertex.connection import Connection
from pipeline.vertex.experiments import Experiment
from pipeline.vertex.job_spec import tasks_of as compiled_tasks_of
from pipeline.vertex.labels import as_labels
from pipeline.vertex.results import TaskResult
from pipeline.vertex.service_errors import explained, patient

_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 30.0
_RUNNER_LABEL = {"tfx_runner": "vertex"}
ENDED = (
    gca.PipelineState.PIPELINE_STATE_SUCCEEDED,
    gca.PipelineState.PIPELINE_STATE_FAILED,
    gca.PipelineState.PIPELINE_STATE_CANCELLED,
)
_TASK = gca.PipelineTaskDetail.State
_TASK_STATES = {
    _TASK.SUCCEEDED: "complete",
    _TASK.SKIPPED: "cached",
    _TASK.FAILED: "failed",
    _TASK.CANCELLED: "failed",
}
# The service adds a task of its own for the pipeline as a whole.
_ROOT_TASK_SUFFIX = "tfx-dag"


class RunFailedError(UserError):
    """A run has ended, and not with success."""


class VertexClient:
    """Submits runs to Vertex AI and looks after them.

    Args:
      connection: see `pipeline.vertex.connection.connect`.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._settings = connection.settings
        self._patient = patient(_PATIENCE_SECONDS)
        self._pipelines = connection.client(gca.PipelineServiceClient)

    def submit(self, config: PipelineConfig, job: dict[str, Any]) -> gca.PipelineJob:
        """Submits a run, and keeps its spec in the bucket.

        Args:
          config: that the job was compiled from.
          job: see `pipeline.vertex.compilation.compile_job`.

        Raises:
          UserError: the service rejects it.
        """
        # Before anything is submitted: it may be misnamed, or not ours to use.
        experiment = Experiment(self._connection) if self._settings.experiment else None
        run_id = f"{config.name}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}"
        with explained(self._settings, "submit the pipeline"):
            self._upload_spec(run_id, job)
            run = self._create(pipeline_job(config, job), run_id)
        print(f"submitted {run.name}\n{dashboard_link(run)}")
        if experiment is not None:
            self._add_to(experiment, run)
        return run

    def _create(self, request: gca.PipelineJob, run_id: str) -> gca.PipelineJob:
        parent = self._connection.parent
        try:
            return self._patient(self._pipelines.create_pipeline_job)(
                parent=parent, pipeline_job=request, pipeline_job_id=run_id
            )
        except exceptions.Conflict:
            # The answer to an earlier try got lost: the id, down to the second, is ours.
            return self._patient(self._pipelines.get_pipeline_job)(
                name=f"{parent}/pipelineJobs/{run_id}"
            )

    def _upload_spec(self, run_id: str, job: dict[str, Any]) -> None:
        client = storage.Client(
            project=self._settings.project, credentials=self._connection.credentials
        )
        blob = client.bucket(self._settings.bucket).blob(f"pipeline_specs/{run_id}.json")
        blob.upload_from_string(
            json.dumps(job, sort_keys=True), "application/json", retry=self._patient
        )

    def _add_to(self, experiment: Experiment, run: gca.PipelineJob) -> None:
        # The run exists and costs money: nothing from here on may look as if it did not.
        try:
            while not run.job_detail.pipeline_run_context.name and run.state not in ENDED:
                time.sleep(1)
                run = self.get(run.name)
            experiment.add(run)
        except UserError as error:
            print(f"the run continues, but is not in experiment {experiment.name}: {error}")

    def get(self, run: str) -> gca.PipelineJob:
        """Looks up a run by its id or its resource name.

        Raises:
          UserError: there is none.
        """
        with explained(self._settings, f"look up run {run}"):
            return self._patient(self._pipelines.get_pipeline_job)(name=self._resource(run))

    def cancel(self, run: str) -> None:
        """Asks Vertex AI to stop a run and its tasks.

        Raises:
          UserError: it can't be cancelled.
        """
        with explained(self._settings, f"cancel run {run}"):
            self._patient(self._pipelines.cancel_pipeline_job)(name=self._resource(run))

    def wait_for_cancellation(self, run: str) -> gca.PipelineState:
        """Waits until a run that is being cancelled has ended, for five minutes at most.

        Returns:
          Its last known state.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (state := self.get(run).state) not in ENDED and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return state

    def _resource(self, run: str) -> str:
        return run if "/" in run else f"{self._connection.parent}/pipelineJobs/{run}"

    def wait(self, run: str) -> list[TaskResult]:
        """Follows a run to its end, and prints which tasks start and end.

        Returns:
          The tasks, with their artifacts.

        Raises:
          RunFailedError: the run failed or was cancelled; names the task, with a link to its log.
          UserError: it can't be followed; it continues.
        """
        printed: dict[str, str] = {}
        while True:
            job = self.get(run)
            tasks = tasks_of(job)
            for task in tasks:
                state = task.state.name.lower()
                if printed.get(task.task_name) != state:
                    printed[task.task_name] = state
                    print(f"{task.task_name}: {state}", flush=True)
            if job.state in ENDED:
                break
            time.sleep(_POLL_SECONDS)
        if job.state != gca.PipelineState.PIPELINE_STATE_SUCCEEDED:
            raise RunFailedError(self._failure(job, tasks))
        return [result_of(task) for task in tasks]

    def _failure(self, job: gca.PipelineJob, tasks: list[gca.PipelineTaskDetail]) -> str:
        if job.state == gca.PipelineState.PIPELINE_STATE_CANCELLED:
            return f"Run {id_of(job)} was cancelled. Submit again to reuse its finished tasks."
        failed = [task for task in tasks if task.state == _TASK.FAILED]
        lines = [describe_task(task, self._settings.project) for task in failed]
        return "\n".join(lines) or f"The run failed: {job.error.message}"


def pipeline_job(config: PipelineConfig, job: dict[str, Any]) -> gca.PipelineJob:
    """The request that runs a compiled job, once or on a schedule.

    Args:
      config: that the job was compiled from.
      job: see `pipeline.vertex.compilation.compile_job`.
    """
    settings = config.vertex
    origin = read_origin(with_host_and_user=config.execution.record_host_and_user)
    spec = job["pipelineSpec"]
    if not settings.caching:
        spec = copy.deepcopy(spec)
        for task in compiled_tasks_of(spec).values():
            task["cachingOptions"] = {"enableCache": False}
    request = gca.PipelineJob(
        display_name=config.name,
        pipeline_spec=spec,
        runtime_config={"gcs_output_directory": config.execution.pipeline_root},
        labels={
            **job.get("labels", {}),
            **_RUNNER_LABEL,
            **as_labels(origin),
            **settings.label_map,
        },
        service_account=settings.service_account,
        network=settings.network,
    )
    if settings.encryption_key:
        request.encryption_spec = gca.EncryptionSpec(kms_key_name=settings.encryption_key)
    return request


def id_of(run: gca.PipelineJob) -> str:
    """The last part of a run's resource name, which the commands take."""
    return run.name.rpartition("/")[2]


def dashboard_link(run: gca.PipelineJob) -> str:
    """Link to a run in the console."""
    parts = gca.PipelineServiceClient.parse_pipeline_job_path(run.name)
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{parts['location']}/pipelines/runs/"
        f"{parts['pipeline_job']}?project={parts['project']}"
    )


def tasks_of(run: gca.PipelineJob) -> list[gca.PipelineTaskDetail]:
    """The tasks of a run, without the one that represents the run as a whole."""
    return [
        task
        for task in run.job_detail.task_details
        if task.task_name != id_of(run) and not task.task_name.endswith(_ROOT_TASK_SUFFIX)
    ]


def result_of(task: gca.PipelineTaskDetail) -> TaskResult:
    """A task as the service describes it, as a `TaskResult`."""
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
        for key, group in task.outputs.items()
    }
    return TaskResult(
        name=task.task_name,
        state=_TASK_STATES.get(task.state, "running"),
        started=task.start_time.timestamp() if task.start_time else 0.0,
        finished=task.end_time.timestamp() if task.end_time else 0.0,
        outputs=outputs,
    )


def describe_task(task: gca.PipelineTaskDetail, project: str) -> str:
    """A task's state; for a failed task also the reason, and a link to its log."""
    if task.state != _TASK.FAILED:
        return f"{task.task_name}: {task.state.name.lower()}"
    reason = " ".join(task.error.message.split()) or "no message"
    return f"{task.task_name} failed: {reason} (log: {_log_link(task, project)})"


def _log_link(task: gca.PipelineTaskDetail, project: str) -> str:
    job = task.executor_detail.container_detail.main_job.rpartition("/")[2]
    query = f'resource.type="ml_job" resource.labels.job_id="{job}"'
    return (
        "https://console.cloud.google.com/logs/query;query="
        f"{urllib.parse.quote(query, safe='')}?project={project}"
    )
