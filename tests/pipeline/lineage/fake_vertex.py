"""A local endpoint that serves what an ML Metadata store holds as Vertex ML Metadata would.

Google's own client talks to it over HTTP. Requests are parsed with the service's published protos,
and answers are made with them: an unknown field is an error on either side. Only the filters are
understood that the service documents; anything else is answered with 400.
"""

import datetime
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.aiplatform_v1 import types as gca
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as mlmd

PARENT = "projects/my-project/locations/us-central1/metadataStores/default"
LOCATION = "vertex://my-project/us-central1"
_BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
_PAGE = 200  # smaller than asked for, as the service may
_NODES = {
    "TFLiteRewriter": "pipeline.shipping.rewriter.TFLiteRewriter",
    "WarmStart": "tfx.dsl.components.common.importer.Importer",
    "LatestBlessedModel-model-resolver": "tfx.dsl.components.common.resolver.Resolver",
}


def _time(seconds: float) -> str:
    return (_BEGIN + datetime.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _task(type_name: str) -> str:
    for task, known in _NODES.items():
        if type_name == known:
            return task
    name = type_name.rpartition(".")[2]
    for prefix in ("Voc", "Curated", "Strict", "Detection"):
        name = name.removeprefix(prefix)
    return name


def _values(*groups) -> dict:
    return {
        name: getattr(value, value.WhichOneof("value"))
        for group in groups
        for name, value in group.items()
    }


class FakeVertex:
    """The service.

    Args:
      store: what it holds, once it is filled.

    Attributes:
      url: of its endpoint.
      requests: paths and queries, in order.
    """

    def __init__(self, store):
        self.requests: list[str] = []
        self._load(store)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _load(self, store) -> None:
        executions = store.get_executions()
        events = store.get_events_by_execution_ids([e.id for e in executions]) if executions else []
        self.members, self.contexts, made = {}, {}, {}
        types = {context_type.name for context_type in store.get_context_types()}
        for context in store.get_contexts_by_type("pipeline_run") if executions and (
            "pipeline_run" in types
        ) else ():  # fmt: skip
            name = f"{PARENT}/contexts/{context.name}"
            ids = {e.id for e in store.get_executions_by_context(context.id)}
            self.members[name] = {f"{PARENT}/executions/{key}" for key in ids}
            self.contexts[name] = {
                "name": name,
                "schemaTitle": "system.PipelineRun",
                "displayName": context.name,
                "createTime": _time(min(ids) - 0.5),
                "parentContexts": [f"{PARENT}/contexts/detector"],
            }
        binding: dict[int, dict[str, list[str]]] = {}
        self.events = []
        for event in events:
            is_output = event.type == mlmd.Event.OUTPUT
            artifact = f"{PARENT}/artifacts/{event.artifact_id}"
            channel = f"{'output' if is_output else 'input'}:{event.path.steps[0].key}"
            bound = binding.setdefault(event.execution_id, {})
            bound.setdefault(channel, []).append(artifact)
            if is_output:
                made.setdefault(event.artifact_id, event.execution_id)
            self.events.append(
                {
                    "artifact": artifact,
                    "execution": f"{PARENT}/executions/{event.execution_id}",
                    "type": "OUTPUT" if is_output else "INPUT",
                }
            )
        self.executions = {}
        for execution in executions:
            name = f"{PARENT}/executions/{execution.id}"
            own = _values(execution.properties, execution.custom_properties)
            self.executions[name] = {
                "name": name,
                "schemaTitle": "system.ContainerExecution",
                "displayName": _task(execution.type),
                "state": mlmd.Execution.State.Name(execution.last_known_state),
                "createTime": _time(execution.id),
                "updateTime": _time(execution.id + 0.9),
                "metadata": {
                    **{f"input:{key}": value for key, value in own.items()},
                    "vertex-ai-pipelines-artifact-argument-binding": binding.get(execution.id, {}),
                },
            }
        self.artifacts = {}
        for artifact in store.get_artifacts():
            name = f"{PARENT}/artifacts/{artifact.id}"
            self.artifacts[name] = {
                "name": name,
                "schemaTitle": f"tfx.{artifact.type}",
                "uri": artifact.uri,
                "createTime": _time(made[artifact.id] + 0.9),
                "state": "LIVE",
                "metadata": _values(artifact.properties, artifact.custom_properties),
            }

    def update(self, target: str, body: bytes) -> tuple[int, dict]:
        """Of an artifact, only its state may be changed here."""
        path, _, query = target.partition("?")
        parameters = dict(urllib.parse.parse_qsl(query))
        name = urllib.parse.unquote(path).removeprefix("/v1/")
        if name not in self.artifacts:
            return 404, _error(404, f"{name} not found")
        if parameters.get("updateMask") != "state":
            return 400, _error(400, "only the state")
        changed = _checked(gca.Artifact, json.loads(body))
        self.artifacts[name]["state"] = changed["state"]
        return 200, _checked(gca.Artifact, self.artifacts[name])

    def answer(self, target: str) -> tuple[int, dict]:
        self.requests.append(target)
        path, _, query = target.partition("?")
        parameters = dict(urllib.parse.parse_qsl(query))
        parameters.pop("$alt", None)
        if path == "/token":
            return 200, {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
        name = urllib.parse.unquote(path).removeprefix("/v1/")
        kind = name.rpartition("/")[2]
        if name == f"{PARENT}/{kind}":
            return 200, self._list(kind, parameters)
        node, _, verb = name.partition(":")
        if verb == "queryExecutionInputsAndOutputs" and node in self.executions:
            _parsed(gca.QueryExecutionInputsAndOutputsRequest, parameters)
            return 200, self._subgraph([e for e in self.events if e["execution"] == node])
        if verb == "queryArtifactLineageSubgraph" and node in self.artifacts:
            if _parsed(gca.QueryArtifactLineageSubgraphRequest, parameters).max_hops != 1:
                return 400, _error(400, "only one hop")
            return 200, self._subgraph([e for e in self.events if e["artifact"] == node])
        return 404, _error(404, f"{name} not found")

    def _subgraph(self, events: list[dict]) -> dict:
        return _checked(
            gca.LineageSubgraph,
            {
                "artifacts": [self.artifacts[a] for a in {e["artifact"] for e in events}],
                "executions": [self.executions[e] for e in {e["execution"] for e in events}],
                "events": events,
            },
        )

    def _list(self, kind: str, parameters: dict) -> dict:
        request, response = {
            "artifacts": (gca.ListArtifactsRequest, gca.ListArtifactsResponse),
            "executions": (gca.ListExecutionsRequest, gca.ListExecutionsResponse),
            "contexts": (gca.ListContextsRequest, gca.ListContextsResponse),
        }[kind]
        asked = _parsed(request, parameters)
        if not 1 <= asked.page_size <= 1000:
            raise ValueError("page_size")
        nodes = [n for n in getattr(self, kind).values() if self._fits(n, asked.filter)]
        start = int(asked.page_token or 0)
        end = start + min(asked.page_size, _PAGE)
        page = {kind: nodes[start:end]}
        if end < len(nodes):
            page["nextPageToken"] = str(end)
        return _checked(response, page)

    def _fits(self, node: dict, condition: str) -> bool:
        found = False
        for part in condition.split(" OR "):
            context = re.fullmatch(r'in_context\("([^"]+)"\)', part)
            field = re.fullmatch(
                r'(name|uri|schema_title|display_name) = "((?:[^"\\]|\\.)*)"', part
            )
            if context:
                found |= node["name"] in self.members[context[1]]
            elif field:
                value = re.sub(r"\\(.)", r"\1", field[2])
                camel = {"schema_title": "schemaTitle", "display_name": "displayName"}
                found |= node.get(camel.get(field[1], field[1])) == value
            else:
                raise ValueError(f"filter {part!r}")
        return found


def _parsed(message_type, parameters: dict):
    message = message_type()
    json_format.ParseDict(parameters, message_type.pb(message))
    return message


def _checked(message_type, content: dict) -> dict:
    return json_format.MessageToDict(
        json_format.ParseDict(content, message_type.pb(message_type()))
    )


def _error(status: int, message: str) -> dict:
    return {"error": {"code": status, "message": message}}


def _handler(service: FakeVertex):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: a second one waits for the first's receipt

        def _serve(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                if self.command == "PATCH":
                    status, answer = service.update(self.path, body)
                else:
                    status, answer = service.answer(self.path)
            except (json_format.ParseError, ValueError) as error:
                status, answer = 400, _error(400, str(error))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, *arguments):
            pass

    return Handler


def write_credentials(path, url: str) -> None:
    """Application Default Credentials that the fake accepts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "reader@my-project.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
    }
    path.write_text(json.dumps(content))
