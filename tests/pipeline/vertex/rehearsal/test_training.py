"""When the patch of TFX in `pipeline.vertex.rehearsal.training` can go."""

import inspect

from tfx.extensions.google_cloud_ai_platform import training_clients

from pipeline.vertex.rehearsal.training import local_client


def test_tfx_still_offers_no_way_to_choose_the_client_of_the_training_service():
    received = list(inspect.signature(training_clients.get_job_client).parameters)
    assert received == list(inspect.signature(local_client).parameters)
    assert list(inspect.signature(training_clients.VertexJobClient).parameters) == ["vertex_region"]


def test_a_rehearsed_job_is_checked_and_run_on_this_machine(tmp_path):
    from google.cloud.aiplatform_v1.types import JobState

    def run(program: str):
        container = {"image_uri": "i", "command": ["python", "-c", program]}
        pool = {"machine_spec": {"machine_type": "m"}, "container_spec": container}
        client = local_client(True, "us-central1")
        client.launch_job("p", {"job_spec": {"worker_pool_specs": [pool]}})
        return client.get_job_state(client.get_job())

    made = tmp_path / "made"
    assert run(f"open({str(made)!r}, 'w')") == JobState.JOB_STATE_SUCCEEDED
    assert made.exists()
    assert run("raise SystemExit(1)") == JobState.JOB_STATE_FAILED
