"""Requests to a metadata store of Vertex AI, through Google's own client.

    vertex://PROJECT/LOCATION[/METADATASTORE]        the store is `default` unless it is named

Credentials are Application Default Credentials.
"""

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, one_line

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

_SCHEME = "vertex://"
# gcloud's variable for another endpoint, such as a private one.
_ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
_FORM = "vertex://PROJECT/LOCATION or vertex://PROJECT/LOCATION/METADATASTORE"
VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.-]*")
# A filter of so many alternatives stays well below the service's limit for a request.
_ALTERNATIVES = 50
_PAGE = 1000


class VertexService:
    """Reads nodes, which are messages of Google's client, and sets their state.

    Args:
      location: see the module.

    Raises:
      UserError: the location is malformed, or there are no credentials.
    """

    def __init__(self, location: str):
        self._location = location
        project, region, store = _parts(location)
        self._parent = f"projects/{project}/locations/{region}/metadataStores/{store}"
        self._client = _client(region)

    def name(self, kind: str, key: str) -> str:
        """The resource name of "contexts", "artifacts" or "executions"."""
        return f"{self._parent}/{kind}/{key}"

    def named(self, kind: str, keys: list[str]) -> Iterator[Any]:
        """Nodes of a kind by the last parts of their names; unknown ones are left out."""
        for start in range(0, len(keys), _ALTERNATIVES):
            names = (self.name(kind, key) for key in keys[start : start + _ALTERNATIVES])
            yield from self.find(kind, " OR ".join(f"name = {quoted(name)}" for name in names))

    def find(self, kind: str, condition: str, most: int | None = None) -> list[Any]:
        """Nodes of a kind that fulfil a condition in the service's filter language."""
        request = {"parent": self._parent, "filter": condition, "page_size": most or _PAGE}
        return self._ask(f"list_{kind}", request, lambda pages: list(islice(pages, most)))

    def events_of(self, execution: str) -> Any:
        """A LineageSubgraph with the events of an execution and its artifacts."""
        request = {"execution": self.name("executions", execution)}
        return self._ask("query_execution_inputs_and_outputs", request)

    def events_at(self, artifact: str) -> Any:
        """A LineageSubgraph with the events of an artifact, among others, and its executions."""
        request = {"artifact": self.name("artifacts", artifact), "max_hops": 1}
        return self._ask("query_artifact_lineage_subgraph", request)

    def set_state(self, artifact: str, state: int) -> None:
        """Sets the state of an artifact, by its resource name; the rest of it stays."""
        request = {
            "artifact": {"name": artifact, "state": state},
            "update_mask": {"paths": ["state"]},
        }
        self._ask("update_artifact", request)

    def _ask(
        self,
        method: str,
        request: dict[str, Any],
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            return read(getattr(self._client, method)(request=request))
        except (GoogleAPIError, GoogleAuthError) as error:
            verb = "write" if method.startswith("update") else "read"
            raise UserError(
                f"Could not {verb} the metadata store {self._location}: {one_line(error)}"
            ) from error


def quoted(text: str) -> str:
    """A text in the service's filter language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parts(location: str) -> tuple[str, str, str]:
    parts = location.removeprefix(_SCHEME).strip("/").split("/")
    if len(parts) not in (2, 3) or not all(VALID_ID.fullmatch(part) for part in parts):
        raise UserError(f"Expected {_FORM}. Received: {location}.")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else "default"


def _client(region: str) -> "MetadataServiceClient":
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

    try:
        return MetadataServiceClient(
            transport="rest",
            client_options={
                "api_endpoint": os.environ.get(_ENDPOINT) or f"{region}-aiplatform.googleapis.com"
            },
        )
    except DefaultCredentialsError as error:
        raise UserError(
            "There are no Application Default Credentials for Google Cloud. Run "
            "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
        ) from error
