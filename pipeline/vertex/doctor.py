"""Checks what usually fails on Vertex AI, before it costs money. Changes nothing."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from requests.exceptions import RequestException

from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.connection import require_project
from pipeline.vertex.machines import MACHINES, check_region

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS = 30
_DENIED = (401, 403)
_UNLIMITED = -1
APIS = ("aiplatform", "storage", "dataflow", "artifactregistry", "compute", "iamcredentials")
# What a run's account must be allowed to do in the project, by the role that allows it. Asked of
# the services themselves: whoever is an Editor, or gets a role from a group or folder, has it, too.
PROJECT_PERMISSIONS = {
    "roles/aiplatform.user": (
        "aiplatform.pipelineJobs.get",
        "aiplatform.customJobs.create",
        "aiplatform.customJobs.list",
        "aiplatform.customJobs.cancel",
    ),
    "roles/dataflow.admin": ("dataflow.jobs.create", "dataflow.jobs.list", "dataflow.jobs.cancel"),
    "roles/dataflow.worker": ("dataflow.workItems.lease",),
    "roles/artifactregistry.reader": ("artifactregistry.repositories.downloadArtifacts",),
}
BUCKET_PERMISSIONS = {
    "roles/storage.objectAdmin": (
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
    ),
    # The role above does not include it.
    "roles/storage.legacyBucketReader": ("storage.buckets.get",),
}
ACCOUNT_PERMISSIONS = {"roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs",)}
# The same for whoever submits runs.
_USER_PERMISSIONS = {
    "roles/aiplatform.user": (
        "aiplatform.pipelineJobs.create",
        "aiplatform.pipelineJobs.get",
        "aiplatform.pipelineJobs.cancel",
        "aiplatform.customJobs.list",
        "aiplatform.customJobs.cancel",
    ),
    "roles/dataflow.developer": ("dataflow.jobs.list", "dataflow.jobs.cancel"),
}
# Names of the quotas in Service Usage, by accelerator.
_QUOTAS = {
    "tpu-v2-8": "custom_model_training_tpu_v2",
    "tpu-v3-8": "custom_model_training_tpu_v3",
    "tpu-v5e-1": "custom_model_training_tpu_v5e",
    "tpu-v5e-4": "custom_model_training_tpu_v5e",
    "tpu-v5e-8": "custom_model_training_tpu_v5e",
    "gpu-t4": "custom_model_training_nvidia_t4_gpus",
    "gpu-l4": "custom_model_training_nvidia_l4_gpus",
}
ENDPOINTS = {
    "serviceusage": "https://serviceusage.googleapis.com",
    "storage": "https://storage.googleapis.com",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com",
    "iam": "https://iam.googleapis.com",
    "iamcredentials": "https://iamcredentials.googleapis.com",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check; if it failed, also how to fix it."""

    subject: str
    passed: bool
    fix: str = ""

    def __str__(self) -> str:
        return f"ok    {self.subject}" if self.passed else f"FAIL  {self.subject}\n      {self.fix}"


def examine(
    settings: VertexSettings,
    session: AuthorizedSession | None = None,
    endpoints: Mapping[str, str] = ENDPOINTS,
) -> list[Finding]:
    """Runs all checks.

    Args:
      settings: those of the run.
      session: with credentials; None takes the Application Default Credentials.
      endpoints: roots of the services' URLs. Images are looked up in their own registry, unless
        there is a `registry`.

    Returns:
      One finding for each check, in the order in which failures should be fixed.
    """
    require_project(settings)
    if session is None:
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except GoogleAuthError:
            fix = "gcloud auth application-default login"
            return [Finding("Application Default Credentials", False, fix)]
        session = AuthorizedSession(credentials)
    checks: tuple[Callable[..., Iterator[Finding]], ...] = (
        _apis,
        _bucket,
        _images,
        _accelerator,
        _user,
        _account,
    )
    findings = []
    for check in checks:
        try:
            findings += check(settings, session, endpoints)
        except (RequestException, GoogleAuthError) as error:
            name = check.__name__.strip("_")
            reason = " ".join(str(error).split())[:200]
            findings.append(Finding(f"{name}: no answer", False, f"{reason}: check the network"))
    return findings


def _apis(settings, session, endpoints) -> Iterator[Finding]:
    for api in APIS:
        name = f"{api}.googleapis.com"
        url = f"{endpoints['serviceusage']}/v1/projects/{settings.project}/services/{name}"
        answer = session.get(url, timeout=_SECONDS)
        enabled = answer.ok and answer.json().get("state") == "ENABLED"
        fix = f"gcloud services enable {name} --project {settings.project}"
        if answer.status_code in (*_DENIED, 404):
            fix = f"is {settings.project} the right project, and can you access it? If so: {fix}"
        yield Finding(f"API {name} enabled", enabled, fix)


def _bucket(settings, session, endpoints) -> Iterator[Finding]:
    name = settings.bucket
    root = f"{endpoints['storage']}/storage/v1/b/{name}"
    answer = session.get(root, timeout=_SECONDS)
    if name and answer.status_code in _DENIED:
        fix = _grant_on_bucket(settings, "user:YOU", "roles/storage.legacyBucketReader")
        yield Finding(f"bucket gs://{name} can be looked at", False, fix)
        return
    create = f"gcloud storage buckets create gs://{name or 'NAME'} --location={settings.region}"
    yield Finding(f"bucket gs://{name} exists", bool(name) and answer.ok, create)
    if not (name and answer.ok):
        return
    location = answer.json().get("location", "").lower()
    yield Finding(
        f"bucket gs://{name} in {settings.region} (it is in {location})",
        location == settings.region,
        f"choose another --bucket or --region; or: {create}",
    )


def _images(settings, session, endpoints) -> Iterator[Finding]:
    for kind in ("pipeline_image", "trainer_image"):
        image = getattr(settings, kind)
        name, at, digest = image.partition("@")
        fix = f"build it with `make images`, and pass the printed --{kind.replace('_', '-')}"
        if not at:
            yield Finding(f"{kind} {image or '(none)'} named by digest", False, fix)
            continue
        host, _, path = name.partition("/")
        registry = endpoints.get("registry", f"https://{host}")
        answer = session.head(f"{registry}/v2/{path}/manifests/{digest}", timeout=_SECONDS)
        if answer.status_code in _DENIED:
            fix = _grant(settings, "roles/artifactregistry.reader")
        yield Finding(f"{kind} {name} has {digest[:19]}...", answer.ok, fix)


def _accelerator(settings, session, endpoints) -> Iterator[Finding]:
    machine = MACHINES[settings.accelerator]
    what = f"{settings.accelerator} ({machine.machine_type}) offered in {settings.region}"
    try:
        check_region(settings.accelerator, settings.region)
    except UserError as error:
        yield Finding(what, False, str(error))
        return
    yield Finding(what, True)
    quota = _QUOTAS.get(settings.accelerator)
    if quota is None:
        return
    metric = f"aiplatform.googleapis.com/{quota}"
    url = (
        f"{endpoints['serviceusage']}/v1beta1/projects/{settings.project}/services/"
        f"aiplatform.googleapis.com/consumerQuotaMetrics/{metric.replace('/', '%2F')}"
    )
    answer = session.get(url, timeout=_SECONDS)
    if not answer.ok:
        fix = _grant(settings, "roles/serviceusage.serviceUsageViewer")
        yield Finding(f"quota {quota} can be read", False, fix)
        return
    limit = _limit_in(answer.json(), settings.region)
    needed = machine.replicas
    yield Finding(
        f"quota {quota} in {settings.region}: "
        f"{'unlimited' if limit == _UNLIMITED else limit} of the {needed} needed",
        limit == _UNLIMITED or limit >= needed,
        f"request {needed} at https://console.cloud.google.com/iam-admin/quotas"
        f"?project={settings.project} (filter: {quota})",
    )


def _limit_in(metric: dict, region: str) -> int:
    buckets = [
        bucket
        for limit in metric.get("consumerQuotaLimits", [])
        for bucket in limit.get("quotaBuckets", [])
    ]
    of_region = [
        bucket for bucket in buckets if bucket.get("dimensions", {}).get("region") == region
    ]
    general = [bucket for bucket in buckets if not bucket.get("dimensions")]
    limits = [int(bucket.get("effectiveLimit", 0)) for bucket in of_region or general]
    return _UNLIMITED if _UNLIMITED in limits else max(limits, default=0)


def _user(settings, session, endpoints) -> Iterator[Finding]:
    """What whoever runs `doctor` may do."""
    for role, permissions in _USER_PERMISSIONS.items():
        answer = session.post(_project(settings, endpoints), json=_asked(permissions),
                              timeout=_SECONDS)  # fmt: skip
        yield _allowed("you", role, permissions, answer, _grant(settings, role))
    for role, permissions in BUCKET_PERMISSIONS.items():
        answer = session.get(_of_bucket(settings, endpoints), params=_asked(permissions),
                             timeout=_SECONDS)  # fmt: skip
        fix = _grant_on_bucket(settings, "user:YOU", role)
        yield _allowed(f"you, on gs://{settings.bucket}", role, permissions, answer, fix)
    if settings.service_account:
        ((role, permissions),) = ACCOUNT_PERMISSIONS.items()
        answer = session.post(_of_account(settings, endpoints), json=_asked(permissions),
                              timeout=_SECONDS)  # fmt: skip
        fix = _grant_on_account(settings, "user:YOU", role)
        yield _allowed(f"you, on {settings.service_account}", role, permissions, answer, fix)


def _account(settings, session, endpoints) -> Iterator[Finding]:
    """What the run's account may do, asked in its name."""
    account = settings.service_account
    if not account:
        yield Finding(
            "the pipeline has a service account of its own",
            False,
            "create one with pipeline/vertex/setup.sh and pass it with --service-account; the "
            "default account may have too many or too few roles",
        )
        return
    url = f"{endpoints['iamcredentials']}/v1/projects/-/serviceAccounts/{account}"
    answer = session.post(f"{url}:generateAccessToken", json={"scope": [_SCOPE]}, timeout=_SECONDS)
    if not answer.ok:
        fix = _grant_on_account(settings, "user:YOU", "roles/iam.serviceAccountTokenCreator")
        yield Finding(f"what {account} may do can be asked", False, fix)
        return
    headers = {"Authorization": f"Bearer {answer.json()['accessToken']}"}

    def post(url: str, permissions: tuple[str, ...]) -> requests.Response:
        return requests.post(url, json=_asked(permissions), headers=headers, timeout=_SECONDS)

    member = _member(settings)
    for role, permissions in PROJECT_PERMISSIONS.items():
        fix = (
            f"gcloud projects add-iam-policy-binding {settings.project} --member={member} "
            f"--role={role}"
        )
        answer = post(_project(settings, endpoints), permissions)
        yield _allowed(account, role, permissions, answer, fix)
    ((role, permissions),) = ACCOUNT_PERMISSIONS.items()
    answer = post(_of_account(settings, endpoints), permissions)
    fix = _grant_on_account(settings, member, role)
    yield _allowed(f"{account}, on itself", role, permissions, answer, fix)
    for role, permissions in BUCKET_PERMISSIONS.items():
        answer = requests.get(
            _of_bucket(settings, endpoints),
            params=_asked(permissions),
            headers=headers,
            timeout=_SECONDS,
        )
        fix = _grant_on_bucket(settings, member, role)
        yield _allowed(f"{account}, on gs://{settings.bucket}", role, permissions, answer, fix)


def _allowed(
    who: str, role: str, permissions: tuple[str, ...], answer: requests.Response, fix: str
) -> Finding:
    """Whether a service grants all permissions, which a role or any other grant may bring."""
    granted = answer.json().get("permissions", []) if answer.ok else []
    missing = sorted(set(permissions) - set(granted))
    subject = f"{who}: what {role} allows"
    return Finding(
        f"{subject} (not {', '.join(missing)})" if missing else subject, not missing, fix
    )


def _asked(permissions: tuple[str, ...]) -> dict[str, list[str]]:
    return {"permissions": list(permissions)}


def _project(settings, endpoints) -> str:
    root = endpoints["cloudresourcemanager"]
    return f"{root}/v1/projects/{settings.project}:testIamPermissions"


def _of_account(settings, endpoints) -> str:
    account = settings.service_account
    return f"{endpoints['iam']}/v1/projects/-/serviceAccounts/{account}:testIamPermissions"


def _of_bucket(settings, endpoints) -> str:
    return f"{endpoints['storage']}/storage/v1/b/{settings.bucket}/iam/testPermissions"


def _grant_on_bucket(settings: VertexSettings, member: str, role: str) -> str:
    return (
        f"gcloud storage buckets add-iam-policy-binding gs://{settings.bucket} "
        f"--member={member} --role={role}"
    )


def _grant_on_account(settings: VertexSettings, member: str, role: str) -> str:
    return (
        f"gcloud iam service-accounts add-iam-policy-binding {settings.service_account} "
        f"--project={settings.project} --member={member} --role={role}"
    )


def _grant(settings: VertexSettings, role: str) -> str:
    """How to give a role to the user."""
    return (
        f"your own account lacks {role}: gcloud projects add-iam-policy-binding "
        f"{settings.project} --member=user:YOU --role={role}"
    )


def _member(settings: VertexSettings) -> str:
    return f"serviceAccount:{settings.service_account}" if settings.service_account else "YOU"
