"""What Google Cloud's refusals mean for the user; and which of them to try again."""

import contextlib
from collections.abc import Iterator

from google.api_core import exceptions, retry
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException

from pipeline.errors import UserError
from pipeline.settings import VertexSettings

_TRANSIENT = (
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.GatewayTimeout,
    exceptions.DeadlineExceeded,
)


def patient(timeout: float, initial: float = 1.0) -> retry.Retry:
    """Repeats a call for as long as the service is only busy.

    Args:
      timeout: seconds after which the error comes through.
      initial: seconds until the second try; each further wait is twice as long, up to 30.
    """
    return retry.Retry(
        predicate=retry.if_exception_type(*_TRANSIENT, RequestsConnectionError),
        initial=initial,
        maximum=30.0,
        timeout=timeout,
    )


@contextlib.contextmanager
def explained(settings: VertexSettings, action: str) -> Iterator[None]:
    """Turns the service's errors into one clear line.

    Args:
      settings: of the run.
      action: what was tried, "submit the pipeline".

    Raises:
      UserError: instead of any error of the service.
    """
    where = f"project {settings.project}, region {settings.region}"
    try:
        yield
    except (DefaultCredentialsError, RefreshError) as error:
        raise UserError(
            f"Expected Application Default Credentials to {action}. Received: none that work "
            f"({_line(error)}). Run: gcloud auth application-default login"
        ) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise UserError(
            f"Expected the permission to {action} ({where}). Received: {_line(error)} "
            "`vertex_runner.py doctor` says which role is missing; wrong --project is a frequent "
            "cause."
        ) from error
    except exceptions.TooManyRequests as error:
        raise UserError(
            f"Expected quota to {action} ({where}). Received: {_line(error)} Ask for more at "
            f"https://console.cloud.google.com/iam-admin/quotas?project={settings.project}, or "
            "choose another --accelerator or --region."
        ) from error
    except exceptions.NotFound as error:
        raise UserError(
            f"Expected what is needed to {action} to exist ({where}). Received: {_line(error)} "
            "Check --project, --region and the name."
        ) from error
    except exceptions.BadRequest as error:
        raise UserError(
            f"Expected a request that Vertex AI takes, to {action} ({where}). "
            f"Received: {_line(error)}"
        ) from error
    except (exceptions.GoogleAPICallError, exceptions.RetryError, TransportError,
            RequestException) as error:  # fmt: skip
        raise UserError(
            f"Expected to reach Google Cloud to {action} ({where}). Received: {_line(error)} "
            "Check the network, a proxy, and vertex.api_endpoint; then try again."
        ) from error


def _line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    line = " ".join(text.split())[:400]
    return line if line.endswith((".", "!", "?")) else f"{line}."
