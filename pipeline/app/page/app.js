// The page: sources of frames, what is drawn on them, and the controls.

import { chooseOther, openCamera } from "./camera.js";
import { Detector } from "./detector.js";
import { color, drawBoxes } from "./drawing.js";
import { detectionsJson, filesInside, vocAnnotation, zip } from "./files.js";

const DEFAULT_THRESHOLD = 0.5;
const FPS_FRAMES = 30; // over which frames a second are averaged
const SPOKEN_EVERY = 3000; // ms between announcements to screen readers

const $ = (id) => document.getElementById(id);
const video = $("video");
const picture = $("picture");
const boxes = $("boxes");

let runtime; // its folder
let model; // {name, labels, manifest, detector}
let source; // of frames: {element or bitmap, size, stop(), camera, canSwitch}
let last; // what the detector said of the last frame
let times = []; // when the last results came
const hidden = new Set(); // classes that are not shown
const backend = new URLSearchParams(location.search).get("backend");

// --- Messages

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = false;
}

function clearError() {
  $("error").hidden = true;
}

/** Runs something that a person asked for; what goes wrong becomes a sentence on the page. */
async function attempt(action) {
  clearError();
  try {
    await action();
  } catch (error) {
    fail(error.message || String(error));
  }
}

// --- The model

async function loadServedModel() {
  const index = await (await fetched("model.json")).json();
  runtime = index.runtime;
  const file = (name) => fetched(`${index.folder}/${name}`);
  const bytes = await (await file("detect.tflite")).arrayBuffer();
  const raw = index.has_raw && rawForm(await (await file("detect_raw.tflite")).arrayBuffer());
  await useModel({ ...index, bytes, raw });
}

/** A raw form with the post-processing that it carries, see `fromRaw`; undefined if it carries none. */
function rawForm(bytes) {
  const inside = filesInside(new Uint8Array(bytes));
  const [anchors, settings] = [inside["anchors.bin"], inside["post_processing.json"]];
  return anchors && settings && {
    bytes,
    settings: {
      ...JSON.parse(new TextDecoder().decode(settings)),
      anchors: new Float32Array(anchors.slice().buffer),
    },
  };
}

async function fetched(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error("The server can't be reached: start it again, then reload this page.");
  }
  if (!response.ok) throw new Error(`${url} is missing on the server (${response.status}).`);
  return response;
}

/** Loads a model into a worker of its own; the old one stays in use if that fails. */
async function useModel({ name, bytes, raw, labels, manifest }) {
  const inside = filesInside(new Uint8Array(bytes));
  const detector = new Detector({ runtime, name, bytes, raw, backend });
  const text = (file) => file && new TextDecoder().decode(file);
  const provenance = parsed(text(inside["provenance.json"]));
  await detector.ready;
  model?.detector.close();
  model = {
    name,
    manifest,
    detector,
    labels: labels ?? text(inside["labels.txt"])?.trimEnd().split(/\r?\n/) ?? [],
  };
  hidden.clear();
  const recommended = manifest?.score_thresholds?.all?.threshold ?? provenance?.score_threshold;
  $("threshold").value = Math.floor(100 * (recommended ?? DEFAULT_THRESHOLD)) / 100;
  showModel();
  $("camera").disabled = $("open").disabled = false;
  if (source?.bitmap) await detectPicture();
}

/** JSON, null if it is none: files may be anybody's. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function showModel() {
  const { name, manifest, detector } = model;
  const { size, backend } = detector;
  const facts = [name];
  if (manifest) facts.push(`version ${manifest.version}`);
  for (const [key, name] of [["mAP50", "mAP@.5"], ["mAP", "mAP@[.5:.95]"]]) {
    const value = manifest?.metrics?.[key];
    if (Number.isFinite(value)) facts.push(`${name} ${value.toFixed(3)}`);
  }
  $("model").textContent = facts.join(" · ");
  $("backend").textContent = backend;
  const withdrawn = manifest?.withdrawn;
  $("warning").hidden = !withdrawn;
  if (withdrawn) {
    const day = new Date(withdrawn.at).toLocaleDateString();
    $("warning").textContent = `This version was withdrawn on ${day}: ${withdrawn.reason}`;
  }
  const about = {
    Input: `${size} × ${size} pixels`,
    Run: manifest?.run_id,
    Pushed: manifest?.pushed_at && new Date(manifest.pushed_at).toLocaleString(),
    "SHA-256": manifest?.files?.["detect.tflite"]?.sha256,
    Data: manifest?.fingerprints?.data,
    Code: manifest?.fingerprints?.code,
  };
  $("about").replaceChildren(
    ...Object.entries(about)
      .filter(([, value]) => value)
      .map(([term, value]) => [element("dt", {}, term), element("dd", {}, value)])
      .map((pair) => element("div", {}, ...pair)),
  );
  $("classes").replaceChildren(...model.labels.map(classItem));
  showThreshold();
}

function classItem(label, classId) {
  const box = element("input", { type: "checkbox", checked: !hidden.has(label) });
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(label);
    else hidden.add(label);
    show();
  });
  return element("li", {}, element("label", {}, box, swatch(classId), label));
}

function swatch(classId) {
  const square = element("span", { className: "swatch" });
  square.style.background = color(classId).css;
  return square;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// --- Sources of frames

function setSource(next) {
  closeSource();
  source = next;
  setShape(next.size);
  $("hint").hidden = true;
  video.hidden = next.element !== video;
  boxes.hidden = false;
  $("camera").textContent = next.camera ? "Stop camera" : "Start camera";
  $("switch").hidden = !next.camera || !next.canSwitch;
  $("play").hidden = next.element !== video || next.camera;
}

function closeSource() {
  source?.stop();
  source = undefined;
  last = undefined;
  times = [];
  video.hidden = picture.hidden = boxes.hidden = true;
  $("hint").hidden = false;
  $("camera").textContent = "Start camera";
  $("switch").hidden = $("play").hidden = true;
  $("save").disabled = true;
  show();
}

function setShape({ width, height }) {
  $("stage").style.setProperty("--shape", `${width} / ${height}`);
  $("stage").style.setProperty("--ratio", width / height);
}

async function startCamera() {
  if (source?.camera) closeSource(); // phones open one camera at a time
  $("camera").disabled = true; // until the person has answered the browser's question
  let opened;
  try {
    opened = await openCamera();
  } finally {
    $("camera").disabled = false;
  }
  const { stream, canSwitch } = opened;
  closeSource(); // before the element that it may use gets something else to play
  video.srcObject = stream;
  await video.play();
  const stop = () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  setSource({ element: video, camera: true, size: videoSize(), canSwitch, stop });
  const camera = source;
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    if (source === camera) fail("The camera was disconnected.");
  });
  watch();
}

async function switchCamera() {
  await chooseOther(video.srcObject);
  await startCamera();
}

const UNREADABLE = "it is damaged, or of a kind unknown to this browser.";

const videoSize = () => ({ width: video.videoWidth, height: video.videoHeight });

async function openFiles(files) {
  const chosen = [...files];
  const detectorFile = chosen.find(({ name }) => name.endsWith(".tflite"));
  const [file] = chosen;
  if (detectorFile) {
    await openModel(detectorFile, chosen.find(({ name }) => name.endsWith(".txt")));
  } else if (file && !model) {
    throw new Error("There is no model yet: wait until it is loaded, or open a .tflite detector.");
  } else if (file?.type.startsWith("image/")) {
    await openPicture(file);
  } else if (file?.type.startsWith("video/")) {
    await openVideo(file);
  } else if (file) {
    throw new Error(`${file.name} is neither a picture, a video nor a .tflite detector.`);
  }
}

async function openModel(file, labelsFile) {
  const text = labelsFile && (await labelsFile.text());
  await useModel({
    name: file.name,
    bytes: await file.arrayBuffer(),
    labels: text?.trimEnd().split(/\r?\n/),
  });
}

async function openPicture(file) {
  let bitmap;
  try {
    // The pixels as they are in the file, like in training; but upright.
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} can't be read as a picture: ${UNREADABLE}`);
  }
  const { width, height } = bitmap;
  setSource({ bitmap, size: { width, height }, stop() {} });
  await detectPicture();
}

async function detectPicture() {
  const from = source;
  const result = await model.detector.detect(await createImageBitmap(from.bitmap));
  if (source === from) accept(result);
}

async function openVideo(file) {
  const url = URL.createObjectURL(file);
  closeSource();
  video.src = url;
  video.loop = true;
  try {
    await video.play();
  } catch {
    URL.revokeObjectURL(url);
    throw new Error(`${file.name} can't be played: ${UNREADABLE}`);
  }
  const stop = () => {
    video.pause();
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  };
  setSource({ element: video, size: videoSize(), stop });
  $("play").textContent = "Pause";
  watch();
}

function togglePlay() {
  if (video.paused) video.play();
  else video.pause();
  $("play").textContent = video.paused ? "Play" : "Pause";
}

/** Detects in frame after frame, one at a time, as long as the source stays. */
async function watch() {
  const from = source;
  try {
    for (;;) {
      await nextFrame();
      if (source !== from) return;
      const result = await model.detector.detect(await createImageBitmap(video));
      if (source !== from) return;
      accept(result);
    }
  } catch (error) {
    if (source === from) fail(error.message);
  }
}

const nextFrame = () =>
  new Promise((resolve) =>
    video.requestVideoFrameCallback
      ? video.requestVideoFrameCallback(resolve)
      : requestAnimationFrame(resolve),
  );

// --- Results

function accept(result) {
  // The very frame that the boxes belong to: a live picture would be ahead of them.
  const { frame, ...found } = result;
  picture.getContext("bitmaprenderer").transferFromImageBitmap(frame);
  picture.hidden = false;
  setShape(found); // a phone may have been turned
  last = named(found);
  times = [...times.slice(1 - FPS_FRAMES), performance.now()];
  $("save").disabled = false;
  show();
}

/** A result whose detections have labels. */
function named(result) {
  const { labels } = model;
  const highest = Math.max(-1, ...result.detections.map(({ classId }) => classId));
  if (labels.length && highest >= labels.length) {
    throw new Error(
      "The labels do not match the model: expected a line for each class, received " +
        `${labels.length} lines, but the model found class index ${highest}.`,
    );
  }
  const detections = result.detections.map((found) => ({
    ...found,
    label: labels[found.classId] ?? `class ${found.classId}`,
  }));
  return { ...result, detections };
}

const threshold = () => Number($("threshold").value);
const chosen = (detections) =>
  detections.filter(({ score, label }) => score >= threshold() && !hidden.has(label));

function show() {
  const found = last ? chosen(last.detections).filter(({ shown }) => shown) : [];
  drawBoxes(boxes, found);
  const seconds = (times.at(-1) - times[0]) / 1000;
  $("fps").textContent = times.length > 1 ? ((times.length - 1) / seconds).toFixed(1) : "–";
  $("inference").textContent = last ? `${last.ms.inference.toFixed(1)} ms` : "–";
  $("found").replaceChildren(
    ...(found.length ? found.map(foundItem) : [element("li", { className: "nothing" }, "Nothing")]),
  );
  speak(found);
}

function foundItem({ classId, label, score }) {
  const percent = element("span", { className: "score" }, `${Math.round(100 * score)} %`);
  return element("li", {}, swatch(classId), label, percent);
}

let spokenAt = 0;

/** Tells screen readers what is there, when it changes, and not too often. */
function speak(found) {
  const now = performance.now();
  if (source?.element === video && now - spokenAt < SPOKEN_EVERY) return;
  const counts = new Map();
  for (const { label } of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  const text = [...counts].map(([label, count]) => `${label}: ${count}`).join(", ");
  const said = last ? text || "Nothing found" : "";
  if ($("spoken").textContent === said) return;
  $("spoken").textContent = said;
  spokenAt = now;
}

function showThreshold() {
  $("threshold-value").textContent = `${Math.round(100 * threshold())} %`;
  show();
}

// --- Saving

async function save() {
  const { blob, result } = await model.detector.lastFrame();
  const frame = named(result);
  frame.detections = chosen(frame.detections);
  const now = new Date();
  const local = new Date(now - 60000 * now.getTimezoneOffset()).toISOString();
  const stem = `frame-${local.slice(0, 23).replace(/[-:.]/g, "").replace("T", "-")}`;
  const file = `${stem}.png`;
  const { name, labels, manifest } = model;
  const described = manifest ? `${name}, version ${manifest.version}` : name;
  const json = detectionsJson({ model: described, labels, minScore: threshold(), file, frame });
  const archive = zip(
    [
      [`JPEGImages/${file}`, new Uint8Array(await blob.arrayBuffer())],
      [`Annotations/${stem}.xml`, new TextEncoder().encode(vocAnnotation({ file, frame }))],
      [`detections/${stem}.json`, new TextEncoder().encode(json)],
    ],
    now,
  );
  const url = URL.createObjectURL(archive);
  element("a", { href: url, download: `${stem}.zip` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// --- Controls

$("camera").addEventListener("click", () => attempt(source?.camera ? closeSource : startCamera));
$("switch").addEventListener("click", () => attempt(switchCamera));
$("play").addEventListener("click", togglePlay);
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  attempt(() => openFiles($("file").files)).then(() => ($("file").value = ""));
});
$("save").addEventListener("click", () => attempt(save));
$("threshold").addEventListener("input", showThreshold);
for (const [id, all] of [["all", true], ["none", false]]) {
  $(id).addEventListener("click", () => {
    hidden.clear();
    if (!all) model?.labels.forEach((label) => hidden.add(label));
    document.querySelectorAll("#classes input").forEach((box) => (box.checked = all));
    show();
  });
}
addEventListener("resize", show);

addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  attempt(() => openFiles(event.dataTransfer.files));
});

showThreshold();
// Where browsers refuse it (a certificate that they do not know), the page works all the same.
navigator.serviceWorker?.register("sw.js").catch(() => {});
attempt(loadServedModel);
