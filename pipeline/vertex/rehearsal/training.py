"""Replaces Vertex AI Training in a rehearsal: the custom job's command runs on this machine.

A program with the arguments of TFX's kubeflow_v2_run_executor. The submission is TFX's own up to
the last step, the call of the service, which becomes a process on this machine.

TFX, up to 1.21, chooses the client of the service in `training_clients.get_job_client` and offers
no way to pass another one. So this program, which ends with the task, replaces that function.
`tests/pipeline/vertex/rehearsal/test_training.py` fails once TFX takes a client or an endpoint:
then pass that instead.
"""

import logging
import os
import runpy
import subprocess
import sys

from google.cloud.aiplatform_v1.types import CustomJob, JobState
from tfx.extensions.google_cloud_ai_platform import training_clients
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor


class LocalJobClient(training_clients.VertexJobClient):
    """Runs the command of the job's only worker as a process, with this machine's devices."""

    def create_client(self) -> None:
        """Connects to nothing."""

    def launch_job(self, project: str, training_job: dict) -> None:
        """Checks the job against the service's schema, then runs its command to the end."""
        job = CustomJob(training_job)
        (pool,) = job.job_spec.worker_pool_specs
        logging.info("rehearsing on this machine: %s of %s", pool.machine_spec, project)
        command = list(pool.container_spec.command)
        code = subprocess.run([sys.executable, *command[1:]], check=False).returncode
        job.state = JobState.JOB_STATE_FAILED if code else JobState.JOB_STATE_SUCCEEDED
        job.name = f"projects/{project}/locations/local/customJobs/{os.getpid()}"
        self._job, self._job_name = job, job.name

    def get_job(self) -> CustomJob:
        """The job, which has ended."""
        return self._job


def local_client(enable_vertex: bool = False, vertex_region: str | None = None) -> LocalJobClient:
    """Replaces `training_clients.get_job_client`."""
    if not enable_vertex:
        raise ValueError("Expected a custom job of Vertex AI. Received: one of AI Platform.")
    return LocalJobClient(vertex_region)


if __name__ == "__main__":
    training_clients.get_job_client = local_client
    runpy.run_module(kubeflow_v2_run_executor.__name__, run_name="__main__")
