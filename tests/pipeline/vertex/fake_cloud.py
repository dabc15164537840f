"""A local endpoint with the wire protocol of Vertex AI and of the services that `doctor` asks.

Google's own clients talk to it over HTTP. It parses every request body with the service's published
protos and answers an unknown or ill-typed field with 400, as the service would.
"""

import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.cloud.aiplatform_v1 import types as gca
from google.protobuf import json_format

from tests.pipeline.vertex.cloud_proxy import CloudProxy
from tests.pipeline.vertex.fake_storage import FakeStorage

# Image of a run in that project; to be filled with its name.
IMAGE = "us-central1-docker.pkg.dev/my-project/detector/{}@sha256:" + "0" * 64
PARENT = "projects/my-project/locations/us-central1"
STORE = f"{PARENT}/metadataStores/default"
DONE = {"name": f"{PARENT}/operations/1", "done": True}
TYPE = "type.googleapis.com"


class FakeCloud:
    """The state of the services, and the requests that they received.

    Attributes:
      storage: see `FakeStorage`; `buckets` and `objects` are its.
      failures: (status, message) to answer the next Vertex AI requests with, oldest first.
      script: states of the next job, one for each request; the last one stays.
      tasks: details of the job's tasks.
      requests: (method, path) of every request.
      enabled_apis, quotas, images: for `doctor`.
      permissions: of the "runner", who runs `doctor`, and of the run's "account".
      custom_jobs, dataflow_jobs: that a run's tasks have started, by name and id.
      received: what was sent to `URL/webhook`.
      contexts, children: of ML Metadata; children are the contexts added to each context.
      denied, denial: requests with this in their path are forbidden, with this message.
      proxy: for processes that should find the cloud at its usual addresses; see `open_proxy`.
    """

    def __init__(self):
        self.storage = FakeStorage()
        self.buckets, self.objects = self.storage.buckets, self.storage.objects
        self.jobs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.models: dict[str, list[dict]] = {}
        self.evaluations: dict[str, list[dict]] = {}
        self.failures: list[tuple[int, str]] = []
        self.script = ["PIPELINE_STATE_RUNNING", "PIPELINE_STATE_SUCCEEDED"]
        self.tasks: list[dict] = []
        self.requests: list[tuple[str, str]] = []
        self.enabled_apis: set[str] = set()
        self.quotas: dict[str, int] = {}
        self.images: set[str] = set()
        self.permissions: dict[str, set[str]] = {"runner": set(), "account": set()}
        self.custom_jobs: dict[str, dict] = {}
        self.dataflow_jobs: dict[str, dict] = {}
        self.received: list[dict] = []
        self.contexts: dict[str, dict] = {}
        self.children: dict[str, list[str]] = {}
        self.denied: str | None = None
        self.denial = "denied"
        self.proxy: CloudProxy | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def asked_over_http(self, *words: str) -> bool:
        """Whether there was a request with such a word in its path."""
        return any(word in path for _, path in self.requests for word in words)

    def open_proxy(self, folder: Path) -> CloudProxy:
        """Serves Google's hosts, too; the folder gets the certificate."""
        self.proxy = CloudProxy(lambda handler: _serve(self, handler), folder)
        return self.proxy

    def close(self):
        if self.proxy:
            self.proxy.close()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers, body: bytes):
        """Status, headers and body of the answer."""
        path, _, query = target.partition("?")
        self.requests.append((method, path))
        host = headers.get("x-origin", "")
        if self.denied and self.denied in path:
            return _json({"error": {"code": 403, "message": self.denial}}, 403)
        if path == "/token":
            return _json({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
        if "/storage/v1" in path or path.startswith("/upload/") or "storage.google" in host:
            return self.storage.answer(method, path, query, headers, body)
        if "consumerQuotaMetrics" in path or "/services/" in path or "/v2/" in path:
            return self._for_doctor(path)
        if path.endswith(":generateAccessToken"):
            return _json({"accessToken": "account", "expireTime": "2030-01-01T00:00:00Z"})
        if path.endswith(":testIamPermissions"):
            who = "account" if headers["authorization"] == "Bearer account" else "runner"
            asked = json.loads(body)["permissions"]
            return _json({"permissions": [one for one in asked if one in self.permissions[who]]})
        if path.startswith("/v1b3/"):
            return self._dataflow(method, path, dict(urllib.parse.parse_qsl(query)), body)
        if path == "/webhook":
            self.received.append(json.loads(body))
            return _json({})
        if path == "/":
            return _json({}, 404)
        parameters = dict(urllib.parse.parse_qsl(query))
        # Some versions of Google's client escape the @ of a version.
        name = urllib.parse.unquote(path.removeprefix("/v1/"))
        status, value = self.vertex(method, name, parameters, body)
        return _json(value, status)

    def _dataflow(self, method, path, parameters, body):
        place, _, job_id = path.removeprefix("/v1b3/").partition("/jobs")
        if place != PARENT:
            return _json({"error": {"message": f"no {place}"}}, 404)
        if method == "PUT":
            job = self.dataflow_jobs[job_id[1:]]
            job["currentState"] = json.loads(body)["requestedState"]
            return _json(job)
        active = [job for job in self.dataflow_jobs.values()
                  if job["currentState"] == "JOB_STATE_RUNNING"]  # fmt: skip
        # A page for each job, without its labels.
        start = int(parameters.get("pageToken") or 0)
        page = [
            {k: v for k, v in job.items() if k != "labels"} for job in active[start : start + 1]
        ]
        more = {"nextPageToken": str(start + 1)} if start + 1 < len(active) else {}
        return _json({"jobs": page, **more})

    def _custom_jobs(self, method, name, parameters, body):
        if method == "POST" and name == f"{PARENT}/customJobs":
            job = _parsed(gca.CustomJob, body)
            job["name"] = f"{name}/{len(self.custom_jobs) + 1}"
            job.setdefault("state", "JOB_STATE_RUNNING")
            self.custom_jobs[job["name"]] = job
            return 200, job
        if method == "POST" and name.removesuffix(":cancel") in self.custom_jobs:
            self.custom_jobs[name.removesuffix(":cancel")]["state"] = "JOB_STATE_CANCELLED"
            return 200, {}
        if method == "GET" and name in self.custom_jobs:
            return 200, self.custom_jobs[name]
        key, value = re.fullmatch(r"labels\.(\w+)=([a-z0-9_-]+)", parameters["filter"]).groups()
        jobs = self.custom_jobs.values()
        found = [job for job in jobs if job.get("labels", {}).get(key) == value]
        return 200, {"customJobs": found}

    def vertex(self, method: str, name: str, parameters: dict[str, str], body: bytes):
        """Status and JSON of Vertex AI's answer."""
        if self.failures:
            status, message = self.failures.pop(0)
            return status, {"error": {"code": status, "message": message}}
        return self._vertex(method, name, parameters, body)

    def _for_doctor(self, path: str):
        if "consumerQuotaMetrics" in path:
            quota = urllib.parse.unquote(path.rpartition("/")[2]).rpartition("/")[2]
            limit = self.quotas.get(quota, 0)
            bucket = {"effectiveLimit": str(limit), "dimensions": {"region": "us-central1"}}
            return _json({"consumerQuotaLimits": [{"quotaBuckets": [bucket]}]})
        if "/v2/" in path:
            image = re.fullmatch(r"/v2/(.+)/manifests/(sha256:[0-9a-f]{64})", path)
            found = image is not None and f"{image[1]}@{image[2]}" in self.images
            return _json({}, 200 if found else 404)
        api = path.rpartition("/")[2].removesuffix(".googleapis.com")
        return _json({"state": "ENABLED" if api in self.enabled_apis else "DISABLED"})

    def _models(self, method, name, body):
        if method == "POST" and name == f"{PARENT}/models:upload":
            request = _parsed(gca.UploadModelRequest, json.dumps({"parent": PARENT}).encode(), body)
            resource = request.get("parentModel") or f"{PARENT}/models/{request['modelId']}"
            if "parentModel" not in request and resource in self.models:
                return 409, {"error": {"code": 409, "message": "model exists"}}
            versions = self.models.setdefault(resource, [])
            version = str(len(versions) + 1)
            versions.append({**request["model"], "name": resource, "versionId": version})
            response = {"@type": f"{TYPE}/google.cloud.aiplatform.v1.UploadModelResponse"}
            return 200, DONE | {
                "response": response | {"model": resource, "modelVersionId": version}
            }
        resource, _, rest = name.partition("@")
        if rest.endswith("/evaluations:import"):
            version = rest.partition("/")[0]
            sent = _parsed(gca.ImportModelEvaluationRequest, body)
            self.evaluations.setdefault(f"{resource}@{version}", []).append(sent["modelEvaluation"])
            return 200, sent["modelEvaluation"]
        if rest.endswith("/evaluations"):
            found = self.evaluations.get(f"{resource}@{rest.partition('/')[0]}", [])
            return 200, {"modelEvaluations": found}
        for version in self.models.get(resource, []):
            if rest in ("", version["versionId"]) or rest in version.get("versionAliases", []):
                return 200, version
        return 404, {"error": {"code": 404, "message": f"{name} not found"}}

    def _metadata(self, method, name, parameters, body):
        if method == "GET" and name == STORE:
            return 200, {"name": STORE}
        if method == "POST" and name == f"{STORE}/contexts":
            context = _parsed(gca.Context, body)
            context["name"] = f"{name}/{parameters['contextId']}"
            return 200, self.contexts.setdefault(context["name"], context)
        if method == "GET" and name in self.contexts:
            return 200, self.contexts[name]
        parent = name.removesuffix(":addContextChildren")
        if method == "POST" and parent in self.contexts:
            sent = _parsed(gca.AddContextChildrenRequest, body)
            self.children.setdefault(parent, []).extend(sent["childContexts"])
            return 200, {}
        return 404, {"error": {"code": 404, "message": f"{name} not found"}}

    def _vertex(self, method, name, parameters, body):
        if name.startswith(STORE):
            return self._metadata(method, name, parameters, body)
        if name.startswith(f"{PARENT}/customJobs"):
            return self._custom_jobs(method, name, parameters, body)
        if name.startswith(f"{PARENT}/models"):
            return self._models(method, name, body)
        if method == "POST" and name == f"{PARENT}/pipelineJobs":
            job_id = parameters["pipelineJobId"]
            job = _parsed(gca.PipelineJob, body)
            job["name"] = f"{PARENT}/pipelineJobs/{job_id}"
            if job["name"] in self.jobs:
                return 409, {"error": {"code": 409, "message": "already exists"}}
            self.jobs[job["name"]] = job
            return 200, job
        if method == "POST" and name.removesuffix(":cancel") in self.jobs:
            self.jobs[name.removesuffix(":cancel")]["state"] = "PIPELINE_STATE_CANCELLED"
            self.script = ["PIPELINE_STATE_CANCELLED"]
            return 200, {}
        if method == "GET" and name in self.jobs:
            state = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            detail = {
                "taskDetails": self.tasks,
                "pipelineRunContext": {"name": f"{STORE}/contexts/{name.rpartition('/')[2]}"},
            }
            return 200, {**self.jobs[name], "state": state, "jobDetail": detail}
        if method == "POST" and name == f"{PARENT}/schedules":
            schedule = _parsed(gca.Schedule, body)
            schedule |= {"name": f"{PARENT}/schedules/{len(self.schedules) + 1}", "state": "ACTIVE"}
            self.schedules[schedule["name"]] = schedule
            return 200, schedule
        if method == "GET" and name == f"{PARENT}/schedules":
            return 200, {"schedules": list(self.schedules.values())}
        if method == "GET" and name in self.schedules:
            return 200, self.schedules[name]
        if method == "DELETE" and name in self.schedules:
            del self.schedules[name]
            return 200, DONE | {"response": {"@type": f"{TYPE}/google.protobuf.Empty"}}
        return 404, {"error": {"code": 404, "message": f"{name} not found"}}


def _parsed(message_type, *bodies: bytes) -> dict:
    """The body after a strict trip through the published proto."""
    message = message_type.pb(message_type())
    for body in bodies:
        json_format.Parse(body, message)
    return json_format.MessageToDict(message)


def _json(value: dict, status: int = 200):
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _serve(cloud: FakeCloud, handler: BaseHTTPRequestHandler) -> None:
    """Answers a request that came to the endpoint, or through the proxy."""
    body = _body(handler)
    handler.headers["x-origin"] = getattr(handler, "origin", cloud.url)
    try:
        status, headers, content = cloud.answer(
            handler.command, handler.path, handler.headers, body
        )
    except Exception as error:  # a client would wait for the answer, and ask again and again
        status, headers, content = _json({"error": {"code": 400, "message": repr(error)}}, 400)
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get_all("transfer-encoding", []):
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _handler(cloud: FakeCloud):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: a second one waits for the first's receipt

        def _serve(self):
            _serve(cloud, self)

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = _serve

        def log_message(self, *arguments):
            pass

    return Handler
