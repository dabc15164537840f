"""A local endpoint that speaks the wire protocol of Vertex AI and of Cloud Storage.

Google's own clients talk to it over HTTP. Every request body is parsed with the service's published
protos, and an unknown or ill-typed field is answered with 400, as the service would.
"""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.cloud.aiplatform_v1 import types as gca
from google.protobuf import json_format

PARENT = "projects/my-project/locations/us-central1"


class FakeCloud:
    """The state of the service, and what it was asked.

    Attributes:
      failures: (status, message) to answer the next Vertex AI requests with, oldest first.
      script: states of the next job, one for each look at it; the last one stays.
      error: message of the task that fails.
      requests: (method, path) of every request.
    """

    def __init__(self):
        self.buckets = {"my-bucket": "US-CENTRAL1"}
        self.objects: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.jobs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.failures: list[tuple[int, str]] = []
        self.script = ["PIPELINE_STATE_RUNNING", "PIPELINE_STATE_SUCCEEDED"]
        self.tasks: list[dict] = []
        self.requests: list[tuple[str, str]] = []
        self.before_write = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers, body: bytes) -> tuple[int, dict | bytes]:
        path, _, query = target.partition("?")
        parameters = dict(urllib.parse.parse_qsl(query))
        self.requests.append((method, path))
        if path == "/token":
            return 200, {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
        if "/storage/v1/" in path:
            return self._storage(method, path, parameters, headers, body)
        if self.failures:
            status, message = self.failures.pop(0)
            return status, {"error": {"code": status, "message": message}}
        return self._vertex(method, path.removeprefix("/v1/"), parameters, body)

    def _vertex(self, method, name, parameters, body):
        if method == "POST" and name == f"{PARENT}/pipelineJobs":
            job_id = parameters["pipelineJobId"]
            job = _parsed(gca.PipelineJob, body)
            job["name"] = f"{PARENT}/pipelineJobs/{job_id}"
            if job["name"] in self.jobs:
                return 409, {"error": {"code": 409, "message": "already exists"}}
            self.jobs[job["name"]] = job
            return 200, job
        if method == "POST" and name.endswith(":cancel"):
            self.jobs[name.removesuffix(":cancel")]["state"] = "PIPELINE_STATE_CANCELLED"
            self.script = ["PIPELINE_STATE_CANCELLED"]
            return 200, {}
        if method == "GET" and name in self.jobs:
            state = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            return 200, {
                **self.jobs[name], "state": state, "jobDetail": {"taskDetails": self.tasks}
            }  # fmt: skip
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
            empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
            return 200, {"name": f"{PARENT}/operations/1", "done": True, "response": empty}
        return 404, {"error": {"code": 404, "message": f"{name} not found"}}

    def _storage(self, method, path, parameters, headers, body):
        match = re.search(r"/b/([^/]+)(?:/o(?:/(.+))?)?$", path)
        bucket, name = match[1], urllib.parse.unquote(match[2] or "")
        if bucket not in self.buckets:
            return 404, {"error": {"code": 404, "message": "no such bucket"}}
        if path.startswith("/upload/"):
            return self._upload(bucket, parameters, headers, body)
        if name:
            content, generation = self.objects.get((bucket, name), (None, 0))
            if content is None:
                return 404, {"error": {"code": 404, "message": "no such object"}}
            if int(parameters.get("ifGenerationMatch", generation)) != generation:
                return 412, {"error": {"code": 412, "message": "generation"}}
            if parameters.get("alt") == "media":
                return 200, content
            return 200, _metadata(bucket, name, content, generation)
        if path.endswith("/o"):
            prefix = parameters["prefix"]
            inner = [key[len(prefix) :] for b, key in self.objects if key.startswith(prefix)]
            folders = {key.split("/")[0] + "/" for key in inner if "/" in key}
            return 200, {"prefixes": sorted(prefix + folder for folder in folders)}
        return 200, {"name": bucket, "location": self.buckets[bucket]}

    def _upload(self, bucket, parameters, headers, body):
        boundary = re.search(r'boundary="?([^";]+)', headers["content-type"])[1].encode()
        parts = body.split(b"--" + boundary)
        metadata = json.loads(parts[1].split(b"\r\n\r\n", 1)[1])
        content = parts[2].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        name = metadata["name"]
        if self.before_write:
            self.before_write(name)
        with self._lock:
            _, generation = self.objects.get((bucket, name), (b"", 0))
            if int(parameters.get("ifGenerationMatch", generation)) != generation:
                return 412, {"error": {"code": 412, "message": "generation"}}
            self.objects[bucket, name] = (content, generation + 1)
        return 200, _metadata(bucket, name, content, generation + 1)


def _metadata(bucket: str, name: str, content: bytes, generation: int) -> dict:
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    facts = {"bucket": bucket, "name": name, "size": str(len(content)), "md5Hash": md5}
    return {**facts, "generation": str(generation)}


def _parsed(message_type, body: bytes) -> dict:
    """The body after a strict trip through the published proto."""
    message = message_type.pb(message_type())
    json_format.Parse(body, message)
    return json_format.MessageToDict(message)


def _handler(cloud: FakeCloud):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                status, answer = cloud.answer(self.command, self.path, self.headers, body)
            except json_format.ParseError as error:
                status, answer = 400, {"error": {"code": 400, "message": str(error)}}
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = _serve

        def log_message(self, *arguments):
            pass

    return Handler
