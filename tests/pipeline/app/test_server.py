"""Who can reach the served page, and what of it."""

import hashlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from pipeline.app.__main__ import main
from pipeline.app.server import own_addresses, serving
from pipeline.fingerprint import ROOT
from tests.pipeline.app.conftest import served

SECRET = "not for others"
LONG_ENOUGH = 60  # seconds


@pytest.fixture
def folder(tmp_path):
    """A small page, beside a secret."""
    (tmp_path / "secret.txt").write_text(SECRET)
    page = tmp_path / "page"
    (page / "models").mkdir(parents=True)
    (page / "index.html").write_text(
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'">hello"""
    )
    (page / "models" / "a.wasm.gz").write_bytes(b"\x1f\x8b")
    (page / "way-out").symlink_to(tmp_path / "secret.txt")
    (page / "way-up").symlink_to(tmp_path)
    return page


def ask(url: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The answer to a path as it is, which URL libraries would tidy up."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=LONG_ENOUGH)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_files_are_served_with_their_types_and_the_pages_policy(folder):
    with served(folder) as url:
        status, headers, body = ask(url, "/")
        assert (status, body.endswith(b"hello")) == (200, True)
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Content-Security-Policy"] == "default-src 'none'"
        assert headers["Cache-Control"] == "no-cache"
        assert ask(url, "/models/a.wasm.gz")[1]["Content-Type"] == "application/gzip"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/models/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "//../secret.txt",
        "/way-out",
        "/way-up/secret.txt",
        "/models/",
        "/models",
        "/%00",
        "/missing",
    ],
)
def test_nothing_outside_of_the_folder_is_served_and_no_listing(folder, path):
    with served(folder) as url:
        status, _, body = ask(url, path)
        assert status == 404
        assert SECRET.encode() not in body


def test_absolute_paths_lead_nowhere(folder):
    with served(folder) as url:
        status, _, body = ask(url, f"/{folder.parent / 'secret.txt'}")
        assert status == 404
        assert SECRET.encode() not in body


def test_only_this_machine_is_listened_to(folder):
    with serving(folder, 0) as (server, fingerprint):
        host, port = server.server_address
        assert host == "127.0.0.1"
        assert fingerprint == ""
        for address in own_addresses():
            if address != "127.0.0.1":
                with socket.socket() as other:
                    assert other.connect_ex((address, port)) != 0


def test_with_https_the_certificate_is_for_this_machine_and_known_by_its_fingerprint(folder):
    with serving(folder, 0, https=True) as (server, fingerprint):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        pem = ssl.get_server_certificate(("127.0.0.1", port))
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
        assert fingerprint.replace(":", "") == digest
        context = ssl.create_default_context(cadata=pem)
        for address in [*own_addresses(), "localhost"]:
            connection = http.client.HTTPSConnection(
                address, port, timeout=LONG_ENOUGH, context=context
            )
            connection.request("GET", "/")
            assert connection.getresponse().read().endswith(b"hello")
            connection.close()
        server.shutdown()


def test_a_silent_guest_does_not_keep_others_waiting(folder):
    with served(folder, https=True) as url:
        port = urlsplit(url).port
        with socket.create_connection(("127.0.0.1", port), timeout=LONG_ENOUGH):
            assert ssl.get_server_certificate(("127.0.0.1", port), timeout=LONG_ENOUGH)


@pytest.fixture
def model(empty_model):
    return str(empty_model)


def test_a_port_in_use_is_one_line(runtime, model, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", model, "--port", str(port)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"{port}, which is in use" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_an_impossible_port_is_one_line(runtime, model, port, capsys):
    assert main(["serve", model, f"--port={port}"]) == 2
    assert "Choose another one with --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "end"), [([], signal.SIGINT), (["--https"], signal.SIGTERM)], ids=str
)
def test_the_command_says_where_to_look_and_ends_quietly(runtime, model, flags, end, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.app", "serve", model, "--port", "0", *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        while not (lines and lines[-1].startswith("Open ")):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        url = re.match(r"Open (\S+) ", lines[-1])[1]
        assert url.startswith("https://" if flags else "http://localhost:")
        assert ("█" in "".join(lines)) == bool(flags)  # the QR code
        if not flags:
            assert ask(url, "/model.json")[0] == 200
        assert list(tmp_path.glob("detector-page-*"))
        process.send_signal(end)
        _, errors = process.communicate(timeout=LONG_ENOUGH)
        assert (process.returncode, errors) == (0, "")
        assert not list(tmp_path.glob("detector-page-*"))
    finally:
        process.kill()
        process.wait()
