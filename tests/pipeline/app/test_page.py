"""The page in a browser: what it finds, what it saves, how it works offline and fails."""

import json
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.image import resize
from models.labels import format_labels
from models.tflite.description import describe_detector
from models.tflite.raw import without_post_processing
from pipeline.app.bundle import build
from pipeline.data.readers.voc import VocItem, read_annotation
from pipeline.detect import find_model, run_detector
from tests.models.tflite.test_raw import ANCHORS, SETTINGS
from tests.pipeline.app.conftest import RECOMMENDED, served
from tests.pipeline.tiny_detector import LABELS, TINY_SIZE

READY = "!document.getElementById('camera').disabled"
DETECTED = "!document.getElementById('save').disabled"
FAILED = "!document.getElementById('error').hidden && document.getElementById('error').textContent"
# Scores and boxes are rounded to 4 and 5 digits; the runtimes differ by less.
SCORE_TOLERANCE, BOX_TOLERANCE = 1e-4, 2e-5


@pytest.fixture(scope="module")
def tab(chromium, camera_flags):
    with chromium(*camera_flags) as page:
        yield page


@pytest.fixture
def page(tab, url):
    """The page, loaded."""
    tab.open(url)
    tab.wait(READY)
    return tab


def click(page, name):
    page.run(f"document.getElementById('{name}').click()")


def detect(page, picture: Path) -> None:
    """Opens a picture and waits for what is detected in it."""
    page.run("document.getElementById('save').disabled = true")
    page.choose("#file", picture)
    page.wait(DETECTED)


def set_threshold(page, value):
    page.run(
        f"""(() => {{ const slider = document.getElementById('threshold'); slider.value = {value};
        slider.dispatchEvent(new Event('input')); }})()"""
    )


def saved(page, folder: Path) -> dict:
    """Saves the frame, unpacks it into a folder, and returns its JSON."""
    before = set(page.downloads.glob("*.zip"))
    click(page, "save")
    end = time.monotonic() + 30
    while not (new := set(page.downloads.glob("*.zip")) - before):
        assert time.monotonic() < end, page.run(FAILED)
        time.sleep(0.05)
    with zipfile.ZipFile(new.pop()) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
        (name,) = (name for name in archive.namelist() if name.endswith(".json"))
    return json.loads((folder / name).read_text())


def expect_same(found: dict, expected: dict) -> None:
    """Whether two entries of detections.json say the same of the same picture."""
    for key in ("width", "height"):
        assert found[key] == expected[key]
    assert len(found["detections"]) == len(expected["detections"])
    for one, other in zip(found["detections"], expected["detections"], strict=True):
        assert (one["label"], one["class_id"]) == (other["label"], other["class_id"])
        assert one["score"] == pytest.approx(other["score"], abs=SCORE_TOLERANCE)
        assert one["box"] == pytest.approx(other["box"], abs=BOX_TOLERANCE)
        assert one["box_pixels"] == pytest.approx(other["box_pixels"], abs=1)
        assert one["shown"] == other["shown"]


def test_pictures_have_the_detections_of_pipeline_detect(page, pushed, drawn, tmp_path):
    set_threshold(page, 0.2)
    expected = list(run_detector(find_model(str(pushed)), drawn, tmp_path, 0.2))
    assert sum(len(entry["detections"]) for entry in expected) > 20
    assert any(not found["shown"] for entry in expected for found in entry["detections"])
    for file, entry in zip(drawn, expected, strict=True):
        detect(page, file)
        report = saved(page, tmp_path / "saved")
        assert report["labels"] == list(LABELS)
        assert report["min_score"] == 0.2
        expect_same(report["pictures"][0], entry)


def test_frames_of_the_camera_have_the_detections_of_pipeline_detect(page, pushed, tmp_path):
    set_threshold(page, 0.2)
    click(page, "camera")
    page.wait(DETECTED)
    for _ in range(3):
        report = saved(page, tmp_path)
        (entry,) = report["pictures"]
        frame = tmp_path / "JPEGImages" / entry["file"]
        (expected,) = run_detector(find_model(str(pushed)), [frame], tmp_path, 0.2)
        expect_same(entry, expected)
    click(page, "camera")
    assert page.run("document.getElementById('video').srcObject") is None


def test_a_camera_can_be_changed_for_the_other_one(chromium, url):
    flags = ("--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream")
    camera = "video.srcObject?.getVideoTracks()[0].getSettings().deviceId"
    with chromium(*flags) as page:
        page.open(url)
        page.wait(READY)
        click(page, "camera")
        page.wait(DETECTED)
        first = json.dumps(page.run(camera))
        for expected in (f"{camera} !== {first}", f"{camera} === {first}"):
            page.run("document.getElementById('save').disabled = true")
            click(page, "switch")
            page.wait(f"{camera} && {expected} && {DETECTED}")
        assert page.run("document.getElementById('error').hidden && !video.paused")


# Records a film of a moving square, and drops it onto the page.
DROP_A_FILM = """(async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 120 });
  const context = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(), { mimeType: "video/webm" });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  for (let x = 0; x < 20; x++) {
    context.fillStyle = "#4060c0";
    context.fillRect(0, 0, 160, 120);
    context.fillStyle = "#e0b040";
    context.fillRect(5 * x, 40, 40, 40);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  recorder.stop();
  await stopped;
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(parts, "film.webm", { type: "video/webm" }));
  const event = { dataTransfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("dragover", event));
  document.body.dispatchEvent(new DragEvent("drop", event));
})()"""


def test_a_dropped_video_is_watched_and_can_be_paused(page, tmp_path):
    page.run(DROP_A_FILM)
    page.wait(f"{DETECTED} && parseFloat(document.getElementById('fps').textContent) > 0")
    assert page.run("document.getElementById('drop').hidden")
    click(page, "play")
    assert page.run("video.paused && document.getElementById('play').textContent") == "Play"
    entry = saved(page, tmp_path)["pictures"][0]
    assert (entry["width"], entry["height"]) == (160, 120)
    click(page, "play")
    assert not page.run("video.paused")


def test_saved_frames_are_a_data_set_to_train_on(page, drawn, tmp_path):
    detect(page, drawn[0])
    (entry,) = saved(page, tmp_path)["pictures"]
    (annotation,) = (tmp_path / "Annotations").iterdir()
    item = VocItem(str(tmp_path), f"Annotations/{annotation.name}", ("JPEGImages",), ())
    ((checked, image),) = read_annotation(item, "name")
    assert image is not None, checked
    shown = [found for found in entry["detections"] if found["shown"]]
    assert image.names == tuple(found["label"] for found in shown)
    for box, found in zip(image.boxes, shown, strict=True):
        assert box == pytest.approx(found["box"], abs=1 / min(image.width, image.height))


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (7, 90), (64, 64), (333, 517)])
def test_frames_are_resized_as_in_training(page, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    rgba = np.dstack([image, np.full(shape, 255, np.uint8)])
    height, width = shape
    page.run(
        f"""(async () => {{ window.pixels = new Uint8ClampedArray({height * width * 4});
        window.resize = (await import("./resize.js")).resize; }})()"""
    )
    flat = rgba.ravel()
    for start in range(0, flat.size, 1 << 18):
        part = flat[start : start + (1 << 18)].tobytes().hex()
        page.run(
            f"""pixels.set('{part}'.match(/../g).map((byte) => parseInt(byte, 16)), {start})"""
        )
    received = page.run(f"Array.from(resize(pixels, {width}, {height}, {TINY_SIZE}))")
    expected = resize(image, TINY_SIZE).numpy()
    np.testing.assert_array_equal(np.reshape(received, expected.shape), expected)


def test_the_page_says_which_model_it_is_and_starts_at_its_threshold(page):
    assert page.run("document.getElementById('model').textContent") == (
        "pets · version 1 · mAP@.5 0.912 · mAP@[.5:.95] 0.600"
    )
    assert page.run("Number(document.getElementById('threshold').value)") == RECOMMENDED


def test_the_slider_and_the_classes_choose_what_is_shown(page, drawn):
    def listed():
        return page.run(
            "[...document.querySelectorAll('#found .score')].map((e) => e.parentNode.innerText)"
        )

    set_threshold(page, 0.2)
    detect(page, drawn[0])
    everything = listed()
    page.run("document.querySelector('#classes input').click()")
    without_cats = listed()
    assert without_cats == [text for text in everything if not text.startswith(LABELS[0])]
    assert without_cats != everything
    click(page, "none")
    assert listed() == []
    click(page, "all")
    assert listed() == everything
    set_threshold(page, 0.75)
    assert listed() == [text for text in everything if int(text.split()[-2]) >= 75]
    assert listed() != everything


def test_nothing_is_asked_of_third_parties(page, url, drawn):
    detect(page, drawn[0])
    assert any(asked.endswith(".wasm.gz") for asked in page.requests)
    assert all(asked.startswith((url, "blob:")) for asked in page.requests)


def test_the_page_works_offline(chromium, site, drawn):
    with chromium() as page:
        with served(site) as address:
            page.open(address)
            page.wait(READY)
            page.run("navigator.serviceWorker.ready.then(() => true)")
        page.open(address)
        page.wait(READY)
        detect(page, drawn[0])


def test_a_new_model_replaces_the_old_one_at_once_and_a_withdrawn_one_is_named(
    chromium, runtime, site, pushed, tmp_path
):
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    with chromium() as page, served(folder) as address:
        page.open(address)
        page.wait(READY)
        page.run("navigator.serviceWorker.ready.then(() => true)")
        assert page.run("document.getElementById('warning').hidden")
        index = json.loads((folder / "model.json").read_text())
        index["name"] = "another"
        index["manifest"]["withdrawn"] = {
            "at": "2026-11-28T15:00:00+00:00",
            "reason": "sees ghosts",
        }
        (folder / "model.json").write_text(json.dumps(index))
        page.open(address)
        page.wait(READY)
        assert page.run("document.getElementById('model').textContent").startswith("another")
        assert "sees ghosts" in page.run("document.getElementById('warning').innerText")


def test_on_a_phone_everything_fits(page, drawn):
    page.command(
        "Emulation.setDeviceMetricsOverride",
        width=390, height=844, deviceScaleFactor=2, mobile=True,
    )  # fmt: skip
    try:
        detect(page, drawn[0])
        page.run("document.querySelector('details').open = true")
        assert page.run("document.documentElement.scrollWidth") == 390
        cut = page.run(
            """[...document.querySelectorAll("body *")]
            .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth && e.id !== "spoken")
            .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert cut == []
    finally:
        page.command("Emulation.clearDeviceMetricsOverride")


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(page, drawn):
    detect(page, drawn[0])
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "slider", "checkbox", "DisclosureTriangle"}
    names = [
        node["name"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in controls
    ]
    assert all(names)
    assert {"Start camera", "Save frame", *LABELS} <= set(names)
    reached = []
    for _ in range(len(names) + 3):
        for kind in ("keyDown", "keyUp"):
            page.command("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        reached.append(
            page.run("[...document.querySelectorAll('body *')].indexOf(document.activeElement)")
        )
    assert len({place for place in reached if place >= 0}) == len(names)
    assert page.run("document.getElementById('spoken').textContent")


@pytest.fixture(scope="module")
def site_with_raw(tmp_path_factory, runtime, int8_model):
    """The page's folder, with the raw form beside the model."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "detect.tflite").write_bytes(int8_model)
    raw = describe_detector(
        without_post_processing(int8_model), LABELS, "pets", "", "1", {}, 0.5,
        raw=(ANCHORS, SETTINGS),
    )  # fmt: skip
    (folder / "detect_raw.tflite").write_bytes(raw)
    (folder / "labels.txt").write_text(format_labels(LABELS))
    build(find_model(str(folder)), folder / "site")
    return folder / "site"


def raw_detections(chromium, site_with_raw, drawn, backend, folder, *flags) -> dict:
    with chromium(*flags) as page, served(site_with_raw) as address:
        page.open(f"{address}?backend={backend}")
        page.wait(f"{READY} || {FAILED}")
        if page.run(FAILED):
            assert backend == "webgpu"
            pytest.skip("Chromium has no WebGPU here")
        shown = page.run("document.getElementById('backend').textContent")
        assert shown == {"raw": "WebAssembly", "webgpu": "WebGPU"}[backend]
        set_threshold(page, 0.2)
        detect(page, drawn[0])
        (entry,) = saved(page, folder)["pictures"]
    return entry


def test_the_raw_form_finds_the_same(chromium, site_with_raw, pushed, drawn, tmp_path):
    received = raw_detections(chromium, site_with_raw, drawn, "raw", tmp_path / "saved")
    (expected,) = run_detector(find_model(str(pushed)), [drawn[0]], tmp_path, 0.2)
    expect_same(received, expected)


def test_the_raw_form_runs_on_webgpu(chromium, site_with_raw, pushed, drawn, tmp_path):
    """In floats: a value next to the middle of two steps may be rounded to the other one."""
    software = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
                "--enable-features=Vulkan", "--use-vulkan=swiftshader")  # fmt: skip
    received = raw_detections(
        chromium, site_with_raw, drawn, "webgpu", tmp_path / "saved", *software
    )
    (expected,) = run_detector(find_model(str(pushed)), [drawn[0]], tmp_path, 0.2)
    (one, *_), (other, *_) = received["detections"], expected["detections"]
    assert one["label"] == other["label"]
    assert one["score"] == pytest.approx(other["score"], abs=0.02)
    assert len(received["detections"]) == pytest.approx(len(expected["detections"]), abs=2)


def failure(page) -> str:
    """The sentence that the page shows."""
    text = page.wait(FAILED)
    assert text.endswith(".")
    assert ". " not in text.rstrip(".")
    return text


def test_a_file_that_is_no_detector_is_named_and_the_old_model_stays(page, pushed, drawn, tmp_path):
    content = (pushed / "latest" / "detect.tflite").read_bytes()
    for name, damaged in {
        "cut.tflite": content[: len(content) // 2],
        "empty.tflite": b"",
        "text.tflite": b"not a model at all",
        "zeros.tflite": bytes(1000),
    }.items():
        (tmp_path / name).write_bytes(damaged)
        page.choose("#file", tmp_path / name)
        assert failure(page).startswith(f"{name} is no detector")
        click(page, "all")
        page.run("document.getElementById('error').hidden = true")
    detect(page, drawn[0])
    assert page.run("document.getElementById('error').hidden")


def test_a_detector_from_a_file_is_used(page, float_model, drawn, tmp_path):
    (tmp_path / "other.tflite").write_bytes(float_model)
    (tmp_path / "labels.txt").write_text(format_labels(["wolf", "fox"]))
    page.choose("#file", tmp_path / "other.tflite", tmp_path / "labels.txt")
    page.wait("document.getElementById('model').textContent === 'other.tflite'")
    set_threshold(page, 0.2)
    detect(page, drawn[0])
    report = saved(page, tmp_path / "saved")
    files = find_model(str(tmp_path / "other.tflite"))
    (expected,) = run_detector(files, [drawn[0]], tmp_path, 0.2)
    assert expected["detections"]
    expect_same(report["pictures"][0], expected)


def test_a_detector_with_labels_inside_needs_no_other_file(page, int8_model, tmp_path):
    described = describe_detector(int8_model, ["wolf", "fox", "bear"], "x", "y.", "1", {}, None)
    (tmp_path / "alone.tflite").write_bytes(described)
    page.choose("#file", tmp_path / "alone.tflite")
    page.wait("document.getElementById('model').textContent === 'alone.tflite'")
    assert page.run("document.getElementById('classes').innerText").split() == [
        "wolf", "fox", "bear",
    ]  # fmt: skip


def test_a_long_name_leaves_room_for_the_score(page, int8_model, drawn, tmp_path):
    long = "ein sehr langer Name, <b>der nicht paßt</b> " * 4
    described = describe_detector(
        int8_model, [f"{long}{number}" for number in range(3)], "x", "y.", "1", {}, None
    )
    (tmp_path / "long.tflite").write_bytes(described)
    page.choose("#file", tmp_path / "long.tflite")
    page.wait("document.getElementById('model').textContent === 'long.tflite'")
    page.run(
        "window.tags = []; const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {"
        "  tags.push([text, x + this.measureText(text).width, this.canvas.clientWidth]);"
        "  return fill.call(this, text, x, ...rest); }; undefined"
    )
    set_threshold(page, 0.2)
    detect(page, drawn[0])
    tags = page.run("tags")
    assert tags
    for text, end, width in tags:
        assert re.fullmatch(r"ein sehr .*… \d+ %", text)
        assert end <= width
    scores = page.run(
        "[...document.querySelectorAll('#found .score')].map((score) => "
        "score.getClientRects()[0].height / parseFloat(getComputedStyle(score).lineHeight))"
    )
    assert scores
    assert max(scores) < 1.5  # lines


def test_labels_that_do_not_match_are_named(page, int8_model, drawn, tmp_path):
    (tmp_path / "other.tflite").write_bytes(int8_model)
    (tmp_path / "labels.txt").write_text(format_labels(["wolf"]))
    detect(page, drawn[0])
    page.choose("#file", tmp_path / "other.tflite", tmp_path / "labels.txt")
    assert "labels do not match" in failure(page)


def test_files_of_other_kinds_are_named(page, tmp_path):
    for name, says in {
        "notes.txt": "neither a picture, a video nor a .tflite detector",
        "broken.png": "can't be read as a picture",
        "broken.mp4": "can't be played",
    }.items():
        (tmp_path / name).write_bytes(b"something else")
        page.choose("#file", tmp_path / name)
        page.wait(f"{FAILED} && document.getElementById('error').textContent.includes('{name}')")
        assert says in failure(page)


def test_without_a_camera_the_page_says_so(chromium, url):
    with chromium("--use-fake-ui-for-media-stream") as page:
        page.open(url)
        page.wait(READY)
        click(page, "camera")
        assert "no camera" in failure(page)


def test_a_blocked_camera_is_named(chromium, url):
    with chromium("--use-fake-device-for-media-stream") as page:
        page.command(
            "Browser.setPermission",
            permission={"name": "camera"}, setting="denied", origin=url.rstrip("/"),
        )  # fmt: skip
        page.open(url)
        page.wait(READY)
        click(page, "camera")
        assert "blocked" in failure(page)


def test_a_browser_without_simd_is_told(chromium, site, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    worker = folder / "worker.js"
    worker.write_text("WebAssembly.validate = () => false;\n" + worker.read_text())
    with chromium() as page, served(folder) as address:
        page.open(address)
        assert "no WebAssembly SIMD" in failure(page)


def test_a_browser_without_relaxed_simd_finds_the_same(chromium, site, pushed, drawn, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    worker = folder / "worker.js"
    text = worker.read_text()
    assert "WebAssembly.validate(RELAXED_SIMD)" in text
    worker.write_text(text.replace("WebAssembly.validate(RELAXED_SIMD)", "false"))
    with chromium() as page, served(folder) as address:
        page.open(address)
        page.wait(READY)
        detect(page, drawn[0])
        report = saved(page, tmp_path / "saved")
        assert any("litert_wasm_compat" in asked for asked in page.requests)
    (expected,) = run_detector(find_model(str(pushed)), [drawn[0]], tmp_path, report["min_score"])
    expect_same(report["pictures"][0], expected)
