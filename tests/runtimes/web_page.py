"""Runs a runtime for the web in headless Chromium, over files that are served from here."""

import functools
import http.server
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.caches import cached_folder

WEB = Path(__file__).parent / "web"
_SECONDS = 120
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


def node_modules() -> Path:
    """The packages that package-lock.json pins with their hashes; skips where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (Debian: npm)")

    def install(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)

    lock = (WEB / "package-lock.json").read_bytes()
    return cached_folder("web", lock, install) / "node_modules"


def in_browser(
    runtime: str, model: Path, pictures: Sequence[Path], profile: Path, **task: Any
) -> list[list[dict]]:
    """The detections of a runtime (a module in `web/`), for each picture.

    Args:
      runtime: name of the module.
      model: the .tflite file.
      pictures: PNG files.
      profile: a folder for the browser.
      task: what else the module wants.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    files = {f"/{path.name}": path for path in WEB.glob("*.*")}
    files |= {f"/pictures/{number}.png": path for number, path in enumerate(pictures)}
    files["/model.tflite"] = model
    urls = [url for url in files if url.startswith("/pictures/")]
    content = {"runtime": runtime, "model": "/model.tflite", "pictures": urls, **task}
    answers: queue.Queue = queue.Queue()
    handler = functools.partial(_Handler, files, node_modules(), content, answers)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = subprocess.Popen(
            [browser, "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
             "--enable-unsafe-swiftshader", f"--user-data-dir={profile}",
             f"http://127.0.0.1:{server.server_port}/page.html"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            answer = answers.get(timeout=_SECONDS)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    assert "error" not in answer, answer["error"]
    return answer["found"]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves files by their names, packages, and the task; takes the answer."""

    def __init__(self, files, packages, task, answers, *args):
        self._files, self._packages, self._task, self._answers = files, packages, task, answers
        super().__init__(*args)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/task.json":
            self._send(json.dumps(self._task).encode(), "application/json")
            return
        file = self._files.get(path)
        if path.startswith("/node_modules/"):
            file = self._packages.parent / path.lstrip("/")
        if file is None or not file.is_file():
            self.send_error(404)
            return
        self._send(file.read_bytes(), _TYPES.get(file.suffix, "text/html; charset=utf-8"))

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(b"{}", "application/json")
        self._answers.put(json.loads(content))

    def _send(self, content: bytes, kind: str):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        """Keeps quiet."""
