"""Finish: the last task of every run on Vertex AI, whether the run succeeded, failed or hung.

It ends the jobs that the run's tasks left behind, and tells a webhook how the run ended.
"""

import requests
from absl import logging
from google.cloud import aiplatform_v1 as gca
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.component.experimental.annotations import Parameter
from tfx.orchestration.kubeflow.decorators import exit_handler

from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.client import (
    VertexClient,
    dashboard_link,
    describe_task,
    id_of,
    result_of,
    tasks_of,
)
from pipeline.vertex.connection import connect
from pipeline.vertex.started import StartedJobs

PUSHED, NOT_BLESSED, FAILED, CANCELLED = "pushed", "not_blessed", "failed", "cancelled"
_SUCCEEDED = "SUCCEEDED"
_SECONDS = 30


@exit_handler
def Finish(final_status: Parameter[str], settings: Parameter[str]):
    """The component; see `finish`."""
    finish(final_status, VertexSettings.model_validate_json(settings))


def finish(final_status: str, settings: VertexSettings) -> None:
    """Ends what the run left behind, and tells how it ended.

    Args:
      final_status: a PipelineTaskFinalStatus of all other tasks, as JSON.
      settings: of the run.

    Raises:
      UserError: a job that was left behind can't be ended. That the webhook does not answer is
        only logged: the run has ended as it has.
    """
    status = json_format.Parse(
        final_status, pipeline_spec_pb2.PipelineTaskFinalStatus(), ignore_unknown_fields=True
    )
    connection = connect(settings)
    run = VertexClient(connection).get(status.pipeline_job_resource_name)
    failure = None
    try:
        StartedJobs(connection).end(id_of(run))
    except UserError as error:
        failure = error
    message = _message(run, status, settings.project)
    if failure is not None:
        message["text"] += f"\nSTILL RUNNING: {failure}"
    logging.info(message["text"])
    if settings.notify_webhook:
        try:
            requests.post(
                settings.notify_webhook, json=message, timeout=_SECONDS
            ).raise_for_status()
        except requests.RequestException as error:
            # Without the URL, which may hold a secret.
            logging.error("The webhook was not told: %s", type(error).__name__)
    if failure is not None:
        raise failure


def _message(run: gca.PipelineJob, status, project: str) -> dict[str, str]:
    """What the webhook gets: `text` for people, and `status`, `run`, `pipeline`, `link`."""
    tasks = {task.task_name: task for task in tasks_of(run)}
    outcome, text = FAILED, ""
    if status.state == _SUCCEEDED:
        pushed = result_of(tasks["Pusher"]).outputs["pushed_model"][0]["metadata"]
        if pushed.get("pushed"):
            outcome, text = PUSHED, f"pushed {pushed['pushed_destination']}"
        else:
            outcome, text = NOT_BLESSED, "finished, but not blessed: nothing was pushed"
    elif status.state == "CANCELLED":
        outcome, text = CANCELLED, "was cancelled"
    else:
        failed = gca.PipelineTaskDetail.State.FAILED
        lines = [describe_task(task, project) for task in tasks.values() if task.state == failed]
        text = "; ".join(lines) or f"failed: {status.error.message}"
    return {
        "text": f"{id_of(run)} {text}\n{dashboard_link(run)}",
        "status": outcome,
        "run": id_of(run),
        "pipeline": run.display_name,
        "link": dashboard_link(run),
    }
