"""The page with a tiny detector, built and served, and a browser to look at it."""

import contextlib
import io
import shutil
import subprocess
import threading
from pathlib import Path

import flatbuffers
import pytest

from models.labels import format_labels
from pipeline.app.bundle import build
from pipeline.app.server import serving
from pipeline.demo.data import draw_picture
from pipeline.detect import find_model
from pipeline.fingerprint import ROOT
from pipeline.shipping.folder_publisher import FolderPublisher
from tests.pipeline.app import browser
from tests.pipeline.tiny_detector import LABELS

RECOMMENDED = 0.35  # score threshold of the manifest


def empty_tflite() -> bytes:
    """The smallest .tflite file; nobody runs it."""
    builder = flatbuffers.Builder(0)
    builder.StartObject(8)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def empty_model(tmp_path) -> Path:
    """A folder with a detector that nobody runs."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "detect.tflite").write_bytes(empty_tflite())
    (folder / "labels.txt").write_text("cat\ndög & co\n")
    return folder


@pytest.fixture(scope="session")
def runtime():
    """The page's runtime, installed by npm."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (Debian: npm)")
    made = subprocess.run(["make", "page"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    if made.returncode:
        reached = subprocess.run(["npm", "ping"], capture_output=True, timeout=120)
        assert reached.returncode, made.stderr
        pytest.skip("the npm registry is out of reach")


@pytest.fixture(scope="session")
def pushed(tmp_path_factory, int8_model) -> Path:
    """A folder pushed to, with one version."""
    files = {"detect.tflite": int8_model, "labels.txt": format_labels(LABELS).encode()}
    manifest = {
        "metrics": {"mAP50": 0.912, "mAP": 0.6},
        "score_thresholds": {"all": {"threshold": RECOMMENDED}},
    }
    folder = tmp_path_factory.mktemp("page") / "pushed"
    FolderPublisher(str(folder)).publish(files, manifest)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory, runtime, pushed) -> Path:
    """The page's folder."""
    folder = tmp_path_factory.mktemp("page") / "site"
    build(find_model(str(pushed)), folder)
    return folder


@contextlib.contextmanager
def served(folder: Path, port: int = 0, https: bool = False):
    """The URL of a folder that is being served."""
    with serving(folder, port, https) as (server, _):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if https else ''}://localhost:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="session")
def url(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Starts browsers: see `browser.chromium`."""
    if browser.find() is None:
        pytest.skip("chromium is not installed (Debian: chromium)")

    def start(*flags, **options):
        return browser.chromium(tmp_path_factory.mktemp("browser"), *flags, **options)

    return start


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> list[Path]:
    """The demo's pictures, as PNG files: decoders disagree about JPEG by a level or two."""
    folder = tmp_path_factory.mktemp("drawn")
    for index in range(4):
        draw_picture(7, index)[0].save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def camera_flags(tmp_path_factory) -> list[str]:
    """Flags for a camera that shows the demo's pictures, at the size of a webcam's."""
    film = io.BytesIO()
    for index in range(8):
        draw_picture(7, index)[0].resize((640, 480)).save(film, "JPEG", quality=95)
    path = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    path.write_bytes(film.getvalue())
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={path}",
    ]
