"""Google Cloud's errors: which ones to retry, and what the others mean for the user."""

import contextlib
from collections.abc import Iterator

from google.api_core import exceptions, retry
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException

from pipeline.errors import UserError
from pipeline.settings import VertexSettings

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_TRANSIENT = (
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.GatewayTimeout,
    exceptions.DeadlineExceeded,
)


def patient(timeout: float) -> retry.Retry:
    """Retries a call while the service is busy, doubling the wait each time.

    Args:
      timeout: seconds after which the error is raised.
    """
    return retry.Retry(
        predicate=retry.if_exception_type(*_TRANSIENT, RequestsConnectionError),
        initial=_FIRST_WAIT_SECONDS,
        maximum=_LONGEST_WAIT_SECONDS,
        timeout=timeout,
    )


@contextlib.contextmanager
def explained(settings: VertexSettings, action: str) -> Iterator[None]:
    """Turns the service's errors into one line that says what to do.

    Args:
      settings: of the run.
      action: what was tried, such as "submit the pipeline".

    Raises:
      UserError: instead of any error of the service.
    """
    where = f"project {settings.project}, region {settings.region}"
    try:
        yield
    except (DefaultCredentialsError, RefreshError) as error:
        raise UserError(
            f"Could not {action}: no working Application Default Credentials "
            f"({_line(error)}). Run: gcloud auth application-default login"
        ) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise UserError(
            f"No permission to {action} ({where}): {_line(error)} `vertex_runner.py doctor` says "
            "which role is missing. Is --project right?"
        ) from error
    except exceptions.TooManyRequests as error:
        raise UserError(
            f"No quota to {action} ({where}): {_line(error)} Request more at "
            f"https://console.cloud.google.com/iam-admin/quotas?project={settings.project}, or "
            "choose another --accelerator or --region."
        ) from error
    except exceptions.NotFound as error:
        raise UserError(
            f"Could not {action} ({where}): {_line(error)} Check --project, --region and the name."
        ) from error
    except exceptions.BadRequest as error:
        raise UserError(
            f"Vertex AI rejected the request to {action} ({where}): {_line(error)}"
        ) from error
    except (exceptions.GoogleAPICallError, exceptions.RetryError, TransportError,
            RequestException) as error:  # fmt: skip
        raise UserError(
            f"Could not reach Google Cloud to {action} ({where}): {_line(error)} "
            "Check the network, the proxy and vertex.api_endpoint, then try again."
        ) from error


def _line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    line = " ".join(text.split())[:400]
    return line if line.endswith((".", "!", "?")) else f"{line}."
