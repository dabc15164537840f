"""Cloud Storage in memory: the JSON API that Google's Python client, TensorFlow and Beam use."""

import base64
import email
import hashlib
import itertools
import json
import re
import threading
import urllib.parse

import google_crc32c

_API = re.compile(r"(?:/(upload|download))?/storage/v1/b/([^/]+)(?:/(?:o|iam)(?:/(.+))?)?")
_COPY = re.compile(r"/(rewriteTo|copyTo)/b/")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_UPDATED = "2026-11-23T10:00:00.000Z"

Answer = tuple[int, dict[str, str], bytes]


class FakeStorage:
    """Buckets with objects that have generations.

    Attributes:
      buckets: location by name.
      objects: (content, generation) by (bucket, name).
      permissions: that testIamPermissions grants.
      before_write: is called with an object's name before it is written.
    """

    def __init__(self):
        self.buckets = {"my-bucket": "US-CENTRAL1"}
        self.objects: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.permissions = {
            "storage.buckets.get",
            *(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list")),
        }
        self.before_write = None
        self._sessions: dict[str, tuple[str, str, dict, bytearray]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, query: str, headers, body: bytes) -> Answer:
        parameters = dict(urllib.parse.parse_qsl(query))
        if path == "/batch/storage/v1":
            return self._batch(headers, body)
        if path.startswith("/upload/session/"):
            return self._chunk(path.rpartition("/")[2], headers, body)
        api = _API.fullmatch(path)
        if api is None:  # the XML API's way to read: /BUCKET/OBJECT
            bucket, _, name = path[1:].partition("/")
            return self._read(bucket, urllib.parse.unquote(name), parameters, headers)
        kind, bucket, rest = api.groups()
        if bucket not in self.buckets:
            return _error(404, "no such bucket")
        if path.endswith("/iam/testPermissions"):
            asked = {value for key, value in urllib.parse.parse_qsl(query) if key == "permissions"}
            return _json({"permissions": sorted(asked & self.permissions)})
        if kind == "upload":
            return self._upload(bucket, parameters, headers, body)
        if rest:
            source, *target = _COPY.split(rest)
            name = urllib.parse.unquote(source)
            if target:
                return self._copy(bucket, name, *target)
            if method == "DELETE":
                return self._delete(bucket, name, parameters)
            if parameters.get("alt") == "media":
                return self._read(bucket, name, parameters, headers)
            return self._stat(bucket, name, parameters)
        if path.endswith("/o"):
            return self._list(bucket, parameters)
        if "storage.buckets.get" not in self.permissions:
            return _error(403, "no storage.buckets.get access")
        return _json({"name": bucket, "location": self.buckets[bucket]})

    def _batch(self, headers, body: bytes) -> Answer:
        """Requests in the parts of a message, answered in the parts of another."""
        head = f"Content-Type: {headers['content-type']}\n\n".encode()
        answers = []
        for part in email.message_from_bytes(head + body).get_payload():
            request, _, content = part.get_payload().replace("\r\n", "\n").partition("\n\n")
            method, target, *_ = request.split()
            path, _, query = target.partition("?")
            status, _, answer = self.answer(
                method, urllib.parse.urlparse(path).path, query, headers, content.encode()
            )
            answers.append(
                f"--answers\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} X\r\n"
                f"Content-Type: application/json\r\n\r\n{answer.decode()}\r\n"
            )
        text = "".join(answers) + "--answers--\r\n"
        return 200, {"Content-Type": "multipart/mixed; boundary=answers"}, text.encode()

    def _stat(self, bucket, name, parameters) -> Answer:
        content, generation = self.objects.get((bucket, name), (None, 0))
        if content is None:
            return _error(404, "no such object")
        if int(parameters.get("ifGenerationMatch", generation)) != generation:
            return _error(412, "generation")
        return _json(_metadata(bucket, name, content, generation))

    def _read(self, bucket, name, parameters, headers) -> Answer:
        status, _, error = self._stat(bucket, name, parameters)
        if status != 200:
            return status, {}, error
        content, _ = self.objects[bucket, name]
        wanted = _RANGE.match(headers.get("range", ""))
        if wanted is None:
            return 200, {}, content
        first = int(wanted[1])
        if first >= len(content):
            return 416, {}, b""
        part = content[first : int(wanted[2]) + 1 if wanted[2] else None]
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}, part

    def _list(self, bucket, parameters) -> Answer:
        prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter")
        items, folders = [], set()
        for (owner, name), (content, generation) in sorted(self.objects.items()):
            if owner != bucket or not name.startswith(prefix):
                continue
            head, slash, _ = name[len(prefix) :].partition(delimiter or "\0")
            if slash:
                folders.add(prefix + head + slash)
            else:
                items.append(_metadata(bucket, name, content, generation))
        return _json({"items": items, "prefixes": sorted(folders)})

    def _copy(self, bucket, name, verb, target) -> Answer:
        to_bucket, _, to_name = target.partition("/o/")
        content, _ = self.objects[bucket, name]
        return self._write(
            to_bucket, urllib.parse.unquote(to_name), content, {}, rewritten=verb == "rewriteTo"
        )

    def _delete(self, bucket, name, parameters) -> Answer:
        status, _, error = self._stat(bucket, name, parameters)
        if status != 200:
            return status, {}, error
        del self.objects[bucket, name]
        return 204, {}, b""

    def _upload(self, bucket, parameters, headers, body) -> Answer:
        kind = parameters["uploadType"]
        if kind == "media":
            return self._write(bucket, parameters["name"], body, parameters)
        if kind == "resumable":
            name = parameters.get("name") or json.loads(body)["name"]
            session = str(next(self._numbers))
            self._sessions[session] = (bucket, name, parameters, bytearray())
            origin = headers["x-origin"]
            return 200, {"Location": f"{origin}/upload/session/{session}"}, b""
        boundary = re.search(r'boundary="?([^";]+)', headers["content-type"])[1].encode()
        parts = body.split(b"--" + boundary)
        metadata = json.loads(parts[1].split(b"\r\n\r\n", 1)[1])
        content = parts[2].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        return self._write(bucket, metadata["name"], content, parameters)

    def _chunk(self, session, headers, body) -> Answer:
        bucket, name, parameters, received = self._sessions[session]
        received += body
        sent = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if sent and (sent[3] == "*" or int(sent[3]) > len(received)):
            return 308, {"Range": f"bytes=0-{len(received) - 1}"} if received else {}, b""
        return self._write(bucket, name, bytes(received), parameters)

    def _write(self, bucket, name, content, parameters, rewritten=False) -> Answer:
        if self.before_write:
            self.before_write(name)
        with self._lock:
            _, generation = self.objects.get((bucket, name), (b"", 0))
            if int(parameters.get("ifGenerationMatch", generation)) != generation:
                return _error(412, "generation")
            self.objects[bucket, name] = (content, generation + 1)
        metadata = _metadata(bucket, name, content, generation + 1)
        return _json({"done": True, "resource": metadata} if rewritten else metadata)


def _metadata(bucket: str, name: str, content: bytes, generation: int) -> dict:
    md5, crc32c = (
        base64.b64encode(digest).decode()
        for digest in (hashlib.md5(content).digest(), google_crc32c.Checksum(content).digest())
    )
    facts = {"bucket": bucket, "name": name, "size": str(len(content))}
    checksums = {"md5Hash": md5, "crc32c": crc32c}  # clients check an upload by either
    return {**facts, **checksums, "generation": str(generation), "updated": _UPDATED}


def _json(value: dict) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, message: str) -> Answer:
    _, headers, body = _json({"error": {"code": status, "message": message}})
    return status, headers, body
