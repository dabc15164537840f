"""How fast the camera page is on one core, and its inference beside the native runtime's.

    python -m benchmarks.page [MODEL] [--seconds 20] [--core 0]

Chromium, all its processes on one core and without a GPU, looks at a camera that plays the demo's
drawn pictures, 30 frames a second. End to end: from the camera's frame to the boxes on the screen.
The native runtime takes the same pictures on the same core, one thread, in turns with the page.

Seen on an x86 server with AVX-512 (VNNI) that did other things, too, November 2026:

    camera 640 x 480   30.0 frames a second   inference 1.8 ms in the page, 0.4 ms native: 4.7 times
    camera 1280 x 720  26.4 frames a second   inference 1.8 ms in the page, 0.4 ms native: 4.7 times
"""

import argparse
import io
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.image import resize
from models.tflite.detector import TFLiteDetector
from pipeline.app.bundle import build
from pipeline.app.server import serving
from pipeline.demo.data import draw_picture
from pipeline.detect import ModelFiles, find_model
from tests.pipeline.app.browser import Page, chromium

CAMERAS = ((640, 480), (1280, 720))
_PICTURES = 8
_WARM_UP = 5.0  # seconds
_SAMPLE_EVERY = 0.1  # seconds


def film(folder: Path, size: tuple[int, int]) -> Path:
    """A camera's film: drawn pictures as Motion JPEG."""
    path = folder / f"{size[0]}.mjpeg"
    frames = io.BytesIO()
    for index in range(_PICTURES):
        draw_picture(7, index)[0].resize(size).save(frames, "JPEG", quality=90)
    path.write_bytes(frames.getvalue())
    return path


def watch(page: Page, url: str, seconds: float) -> tuple[float, float]:
    """Median frames a second, and median ms of inference, that the page itself shows."""
    page.open(url)
    page.wait("!document.getElementById('camera').disabled")
    page.run("document.getElementById('camera').click()")
    page.wait("parseFloat(document.getElementById('fps').textContent) > 0")
    time.sleep(_WARM_UP)
    shown: dict[str, list[float]] = {"fps": [], "inference": []}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, values in shown.items():
            values.append(page.run(f"parseFloat(document.getElementById('{name}').textContent)"))
        time.sleep(_SAMPLE_EVERY)
    return statistics.median(shown["fps"]), statistics.median(shown["inference"])


def native(files: ModelFiles, runs: int = 100) -> float:
    """Median ms of inference of the native runtime, one thread."""
    detector = TFLiteDetector(str(files.model))
    images = [
        resize(np.asarray(draw_picture(7, index)[0]), detector.input_size).numpy()
        for index in range(_PICTURES)
    ]
    times = []
    for run in range(runs):
        start = time.perf_counter()
        detector.detect(images[run % len(images)])
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(files: ModelFiles, seconds: float, core: int) -> Iterator[str]:
    """The lines of the table."""
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(files, folder / "site")
        for width, height in CAMERAS:
            flags = (
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={film(folder, (width, height))}",
            )
            before = native(files)
            with (
                serving(folder / "site", 0) as (server, _),
                chromium(folder / f"browser-{width}", *flags, core=core) as page,
            ):
                threading.Thread(target=server.serve_forever, daemon=True).start()
                port = server.server_address[1]
                fps, inference = watch(page, f"http://localhost:{port}/", seconds)
                server.shutdown()
            alone = statistics.mean((before, native(files)))
            yield (
                f"{f'camera {width} x {height}':<17} {fps:5.1f} frames a second   inference "
                f"{inference:.1f} ms in the page, {alone:.1f} ms native: "
                f"{inference / alone:.1f} times"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="workdir/pushed", help="see pipeline.app")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args(argv)
    for line in measure(find_model(arguments.model), arguments.seconds, arguments.core):
        print(line, flush=True)


if __name__ == "__main__":
    main()
