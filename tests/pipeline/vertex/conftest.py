"""A cloud on this machine, its credentials, and a configuration that names it."""

import json

import google.auth.credentials
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline import presets
from pipeline.config import override
from tests.pipeline.vertex.fake_cloud import IMAGE, FakeCloud
from tests.pipeline.vertex.fake_grpc import GrpcVertex


@pytest.fixture
def config():
    """The demo preset, for a bucket."""
    return override(
        presets.load("demo"),
        {
            "data.path": "gs://my-bucket/data",
            "data.images": "images",
            "data.annotations": "annotations/xmls",
            "vertex.project": "my-project",
            "vertex.bucket": "my-bucket",
            "vertex.pipeline_image": IMAGE.format("pipeline"),
            "vertex.trainer_image": IMAGE.format("tpu-trainer"),
            "vertex.api_transport": "rest",
        },
    )


@pytest.fixture(scope="session")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def cloud(monkeypatch, tmp_path, private_key):
    """A `FakeCloud` that Google's clients find through their usual environment variables."""
    fake = FakeCloud()
    key = tmp_path / "credentials.json"
    key.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "1",
                "private_key": private_key,
                "client_email": "runner@my-project.iam.gserviceaccount.com",
                "token_uri": f"{fake.url}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url)
    # It would look at each bucket once more, in the background, for traces that nobody asked for.
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # In the background, credentials would ask another host in which regions they are valid.
    monkeypatch.setattr(
        google.auth.credentials.CredentialsWithRegionalAccessBoundary,
        "_is_regional_access_boundary_lookup_required",
        lambda self: False,
    )
    # Nobody waits for a service that is busy, or for a run to end.
    monkeypatch.setattr("pipeline.vertex.service_errors._FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("pipeline.vertex.client._POLL_SECONDS", 0.0)
    monkeypatch.setattr("pipeline.vertex.started.DATAFLOW_URL", fake.url)
    yield fake
    fake.close()


@pytest.fixture(params=["rest", "grpc"])
def transport(request, cloud, monkeypatch):
    """Settings for each of the two protocols that a client can speak."""
    if request.param == "rest":
        yield {"vertex.api_endpoint": cloud.url, "vertex.api_transport": "rest"}
        return
    # Without TLS, which is gRPC's own business.
    monkeypatch.setattr(
        "google.api_core.grpc_helpers.create_channel",
        lambda host, **arguments: grpc.insecure_channel(host),
    )
    served = GrpcVertex(cloud)
    monkeypatch.setattr("pipeline.vertex.connection._reach", lambda settings: None)
    yield {"vertex.api_endpoint": served.endpoint, "vertex.api_transport": "grpc"}
    assert not cloud.asked_over_http("pipelineJobs", "schedules", "customJobs")
    served.close()


@pytest.fixture
def settings(config, cloud):
    """The section `vertex`, at the fake endpoint."""
    return override(config, {"vertex.api_endpoint": cloud.url}).vertex
