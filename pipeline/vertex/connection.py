"""Credentials, endpoint and bucket: what a second is enough to ask.

Light on purpose: a user who forgot to log in is told before TFX and Vertex AI's client are loaded,
which takes half a minute.
"""

from typing import Any

import google.auth
import requests
from google.api_core.retry import Retry

from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.service_errors import explained

_REACH_SECONDS = 15.0
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def require_project(settings: VertexSettings) -> None:
    """Checks that there is a project to ask about.

    Raises:
      UserError: there is none.
    """
    if not settings.project:
        raise UserError("Expected a Google Cloud project. Received: none. Name it with --project.")


def connect(settings: VertexSettings) -> Any:
    """Finds the Application Default Credentials, and whether the endpoint answers.

    Args:
      settings: where.

    Returns:
      The credentials, as google-auth makes them.

    Raises:
      UserError: no credentials, or no answer from the endpoint.
    """
    with explained(settings, "connect"):
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        _reach(settings)
    return credentials


def check_bucket(settings: VertexSettings, credentials: Any, retry: Retry) -> None:
    """Checks that the bucket is there and in the region.

    Args:
      settings: name the bucket and the region.
      credentials: from `connect`.
      retry: for a service that is busy.

    Raises:
      UserError: it is not. Vertex AI's client would silently make one of that name.
    """
    from google.cloud import storage

    name, region = settings.bucket, settings.region
    with explained(settings, f"read gs://{name}"):
        client = storage.Client(project=settings.project, credentials=credentials)
        bucket = client.lookup_bucket(name, retry=retry)
    create = f"gcloud storage buckets create gs://{name} --location={region}"
    if bucket is None:
        raise UserError(f"Expected the bucket gs://{name}. Received: none. Make it: {create}")
    if bucket.location.lower() != region:
        raise UserError(
            f"Expected gs://{name} in {region}. Received: {bucket.location.lower()}. Training "
            "would read over the ocean, and Vertex AI may refuse. Choose another --bucket or "
            "--region."
        )


def _reach(settings: VertexSettings) -> None:
    """Any answer will do: without one, the clients would go on trying for minutes."""
    endpoint = settings.api_endpoint or f"{settings.region}-aiplatform.googleapis.com"
    url = endpoint if "://" in endpoint else f"https://{endpoint}"
    requests.get(url, timeout=_REACH_SECONDS)
