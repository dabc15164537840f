"""Stands in for Vertex AI Training in a rehearsal: the custom job's command runs right here.

A program with the arguments of TFX's kubeflow_v2_run_executor. All of the submission is TFX's own;
only the last step, the call of the service, becomes a process on this machine.
"""

import logging
import os
import runpy
import subprocess
import sys

from google.cloud.aiplatform_v1.types import CustomJob, JobState
from tfx.extensions.google_cloud_ai_platform import runner, training_clients
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor


class LocalJobClient(training_clients.VertexJobClient):
    """Runs the first worker's container command as a process, with this machine's devices."""

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


def _local_client(enable_vertex: bool = False, vertex_region: str | None = None):
    if not enable_vertex:
        raise ValueError("Expected a custom job of Vertex AI. Received: one of AI Platform.")
    return LocalJobClient(vertex_region)


if __name__ == "__main__":
    # Both modules ask this one for their client.
    runner.training_clients.get_job_client = _local_client
    runpy.run_module(kubeflow_v2_run_executor.__name__, run_name="__main__")
