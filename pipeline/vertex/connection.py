"""The connection to Vertex AI: credentials, endpoint and bucket, checked within a second.

Light on purpose: a user who forgot to log in hears about it before TFX and Vertex AI's client are
loaded, which takes half a minute.
"""

import contextlib
import dataclasses
from typing import Any, TypeVar

import google.auth
import requests

from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.service_errors import explained, patient

_STORAGE = "https://storage.googleapis.com"
_REACH_SECONDS = 15.0
_BUCKET_SECONDS = 60.0
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
Client = TypeVar("Client")


@dataclasses.dataclass(frozen=True)
class Connection:
    """A project and region, and the credentials to use there. Made by `connect`.

    Attributes:
      settings: name the project, the region and the endpoint.
      credentials: as google-auth makes them.
    """

    settings: VertexSettings
    credentials: Any

    @property
    def parent(self) -> str:
        """Resource name under which Vertex AI keeps runs, schedules and models."""
        return f"projects/{self.settings.project}/locations/{self.settings.region}"

    def client(self, kind: type[Client]) -> Client:
        """One of Google's clients for Vertex AI.

        Args:
          kind: its class, such as `aiplatform_v1.PipelineServiceClient`.

        Raises:
          UserError: the client can't be made for these settings.
        """
        with explained(self.settings, "connect"):
            return kind(
                credentials=self.credentials,
                transport=self.settings.api_transport,
                client_options={"api_endpoint": _endpoint(self.settings)},
            )

    def check_bucket(self) -> None:
        """Checks that the bucket exists and is in the region.

        Raises:
          UserError: it does not exist, or is elsewhere.
        """
        from google.cloud import storage

        name, region = self.settings.bucket, self.settings.region
        with explained(self.settings, f"read gs://{name}"):
            client = storage.Client(project=self.settings.project, credentials=self.credentials)
            bucket = client.lookup_bucket(name, retry=patient(_BUCKET_SECONDS))
        create = f"gcloud storage buckets create gs://{name} --location={region}"
        if bucket is None:
            raise UserError(f"The bucket gs://{name} does not exist. Create it: {create}")
        if bucket.location.lower() != region:
            raise UserError(
                f"Expected gs://{name} in {region}. Received: {bucket.location.lower()}. Training "
                "would read across regions, and Vertex AI may reject the run. Choose another "
                "--bucket or --region."
            )


def require_project(settings: VertexSettings) -> None:
    """Checks that a project is named.

    Raises:
      UserError: it is not.
    """
    if not settings.project:
        raise UserError("Name your Google Cloud project with --project.")


def connect(settings: VertexSettings) -> Connection:
    """Finds the Application Default Credentials and checks that the endpoint answers.

    Raises:
      UserError: no project, no credentials, or no answer from the endpoint.
    """
    require_project(settings)
    with explained(settings, "connect"):
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        _reach(settings)
    return Connection(settings, credentials)


def check_readable(settings: VertexSettings, bucket: str, listed: bool) -> None:
    """Checks that a bucket answers, within seconds: TensorFlow would try for minutes.

    Args:
      settings: name the project.
      bucket: without gs://.
      listed: whether its objects must be listed; who may not may still read one of them.

    Raises:
      UserError: no credentials, no answer, no such bucket, or no permission to list it.
    """
    with explained(settings, f"read gs://{bucket}"):
        credentials, project = google.auth.default(scopes=[_SCOPE])
        requests.get(_STORAGE, timeout=_REACH_SECONDS)

        from google.api_core.exceptions import Forbidden
        from google.cloud import storage

        client = storage.Client(
            project=settings.project or project or "none", credentials=credentials
        )
        with contextlib.suppress(*(() if listed else (Forbidden,))):
            next(client.list_blobs(bucket, max_results=1, retry=patient(_REACH_SECONDS)), None)


def _reach(settings: VertexSettings) -> None:
    """Any answer will do. Without one, Google's clients would keep trying for minutes."""
    endpoint = _endpoint(settings)
    url = endpoint if "://" in endpoint else f"https://{endpoint}"
    requests.get(url, timeout=_REACH_SECONDS)


def _endpoint(settings: VertexSettings) -> str:
    return settings.api_endpoint or f"{settings.region}-aiplatform.googleapis.com"
