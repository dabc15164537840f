"""A headless Chromium, driven over its DevTools protocol."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 120  # that Chromium may take for one command on a busy machine


class PageError(Exception):
    """A script failed in the page."""


class Page:
    """A tab.

    Attributes:
      requests: URLs that the page or its workers have asked for.
      downloads: the folder of what it downloads.
      messages: what it wrote to the console, and its uncaught errors.
    """

    def __init__(self, browser: "_Connection", session: str, downloads: Path):
        self._browser = browser
        self._session = session
        self.downloads = downloads
        self.requests: list[str] = []
        self.messages: list[str] = []

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command to the tab; returns its result."""
        return self._browser.command(method, parameters, self._session)

    def open(self, url: str) -> None:
        """Goes to a URL and waits until it has loaded."""
        self._browser.loaded.clear()
        self.command("Page.navigate", url=url)
        if not self._browser.loaded.wait(SECONDS):
            raise TimeoutError(f"{url} did not load within {SECONDS} s")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in answer:
            raise PageError(answer["exceptionDetails"].get("exception", {}).get("description"))
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """The first true value of an expression."""
        return self.run(
            f"""new Promise((resolve, reject) => {{
              const end = Date.now() + {1000 * SECONDS // 2};
              const look = () => {{
                const value = {condition};
                if (value) resolve(value);
                else if (Date.now() < end) setTimeout(look, 20);
                else reject(new Error("never: " + {json.dumps(condition)} + "; the page says: " +
                  document.body.innerText));
              }};
              look();
            }})"""
        )

    def choose(self, selector: str, *files: Path) -> None:
        """Chooses files in an <input type="file">."""
        document = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


class _Connection:
    def __init__(self, to_browser: int, from_browser: int):
        self._to = os.fdopen(to_browser, "wb")
        self._from = os.fdopen(from_browser, "rb")
        self._answers: queue.Queue = queue.Queue()
        self._number = 0
        self._lock = threading.Lock()
        self.loaded = threading.Event()
        self.pages: dict[str, Page] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def close(self):
        self._to.close()
        self._listener.join()  # ends with the browser
        self._from.close()

    def _listen(self):
        rest = b""
        while chunk := os.read(self._from.fileno(), 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers.put(message)
                else:
                    self._note(message)

    def _note(self, event):
        method, parameters = event["method"], event["params"]
        if method == "Page.loadEventFired":
            self.loaded.set()
        page = next(iter(self.pages.values()), None)
        if page is None:
            return
        if method == "Target.attachedToTarget":  # a worker, which waits to be watched
            for order in ("Network.enable", "Runtime.runIfWaitingForDebugger"):
                self._send(order, {}, parameters["sessionId"])
        elif method == "Network.requestWillBeSent":
            page.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            page.messages.append(" ".join(str(a.get("value", "")) for a in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            page.messages.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            page.messages.append(parameters["entry"]["text"])

    def _send(self, method, parameters, session):
        with self._lock:
            self._number += 1
            message = {"id": self._number, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            self._to.write(json.dumps(message).encode() + b"\0")
            self._to.flush()
            return self._number

    def command(self, method, parameters, session=None):
        number = self._send(method, parameters, session)
        while True:
            answer = self._answers.get(timeout=SECONDS)
            if answer["id"] == number:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


def find() -> str | None:
    """The browser's path, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def chromium(folder: Path, *flags: str, core: int | None = None) -> Iterator[Page]:
    """A tab of a fresh headless Chromium.

    Args:
      folder: for its profile and its downloads (`folder / "downloads"`).
      flags: more command-line flags.
      core: the only CPU core that it may use.
    """
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    command = [find(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-background-networking", "--remote-debugging-pipe",
               f"--user-data-dir={folder / 'profile'}", *flags, "about:blank"]  # fmt: skip
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    # Chromium reads commands from descriptor 3 and answers on 4.
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{in_read} 4>&{out_write}', "bash", *command],
        pass_fds=(in_read, out_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(in_read)
    os.close(out_write)
    browser = _Connection(in_write, out_read)
    try:
        browser.command(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
        )
        targets = browser.command("Target.getTargets", {})["targetInfos"]
        target = next(target for target in targets if target["type"] == "page")["targetId"]
        session = browser.command(
            "Target.attachToTarget", {"targetId": target, "flatten": True}
        )["sessionId"]  # fmt: skip
        page = browser.pages[session] = Page(browser, session, downloads)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.command(f"{domain}.enable")
        page.command(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )
        yield page
    finally:
        with contextlib.suppress(Exception):
            browser.command("Browser.close", {})
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        browser.close()
