// Runs the detector beside the page, so that the page never freezes.
//
// A classic worker, since the runtime loads its WebAssembly by importScripts().
// Messages in are {id, call, ...}; messages out {id, result} or {id, error}.

const OUTPUTS = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];
const BACKENDS = { wasm: "WebAssembly", webgpu: "WebGPU" }; // as people know them
const TIMED_RUNS = 5; // when there is a choice
// Modules that are valid only where WebAssembly has SIMD, and relaxed SIMD.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
]);
const RELAXED_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15,
  65, 2, 253, 15, 253, 128, 2, 11,
]);

let litert;
let resize;
let post;
let detector;
let last; // what `detect` returned
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });

async function loadRuntime(folder) {
  if (!self.WebAssembly || !WebAssembly.validate(SIMD)) {
    throw new Error(
      "This browser has no WebAssembly SIMD, which the detector needs: use a newer version, or " +
        "another browser.",
    );
  }
  const relaxed = WebAssembly.validate(RELAXED_SIMD);
  const name = relaxed ? "litert_wasm_internal" : "litert_wasm_compat_internal";
  const [core, resizing, processing, wasmBinary] = await Promise.all([
    import(`./${folder}/index.js`),
    import("./resize.js"),
    import("./post_processing.js"),
    unpacked(`${folder}/${name}.wasm.gz`),
  ]);
  self.Module = { wasmBinary }; // the runtime's script takes it from there
  await core.loadLiteRt(`${folder}/${name}.js`);
  litert = core;
  resize = resizing.resize;
  post = processing;
}

async function unpacked(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing on the server (${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // Some servers declare .gz files as compressed transfers, and the browser unpacks them.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load({ runtime, name, bytes, raw, backend }) {
  await loadRuntime(runtime);
  const candidates = [];
  if (raw && backend !== "wasm") candidates.push(await rawDetector(raw, backend));
  if (!backend || backend === "wasm") candidates.push(await fullDetector(bytes, name));
  const able = candidates.filter(Boolean);
  if (!able.length) throw new Error(`${name} can't run on ${backend} in this browser.`);
  detector = able.length > 1 ? await fastest(able) : able[0];
  await run(detector, blank(detector)); // the first run is slow
  return { size: detector.size, backend: detector.backend };
}

const blank = ({ size }) => new Uint8Array(3 * size ** 2);

async function fastest(candidates) {
  const times = [];
  for (const candidate of candidates) {
    await run(candidate, blank(candidate));
    const start = performance.now();
    for (let i = 0; i < TIMED_RUNS; i++) await run(candidate, blank(candidate));
    times.push(performance.now() - start);
  }
  const best = candidates[times.indexOf(Math.min(...times))];
  for (const other of candidates) if (other !== best) other.compiled.delete();
  return best;
}

/** The model as it ships, post-processing included, on WebAssembly. */
async function fullDetector(bytes, name) {
  let compiled;
  try {
    compiled = await litert.loadAndCompile(new Uint8Array(bytes), { accelerator: "wasm" });
  } catch {
    throw new Error(`${name} is no detector: it can't be read as a .tflite file, or is truncated.`);
  }
  const outputs = compiled.getOutputDetails();
  const named = OUTPUTS.map((output) => outputs.findIndex((found) => found.name === output));
  const order = named.includes(-1) ? [0, 1, 2, 3] : named;
  const input = inputOf(compiled);
  if (!input || outputs.length !== OUTPUTS.length) {
    const shapes = compiled.getInputDetails().map(({ shape }) => `[${[...shape].join(", ")}]`);
    throw new Error(
      `${name} is no detector: expected an input [1, S, S, 3] and four outputs (boxes, classes, ` +
        `scores, count); received ${shapes.join(", ")} and ${outputs.length} outputs.`,
    );
  }
  // The runtime reads past its memory where it does not know how large an output is.
  if (outputs[order[0]].shape.at(-1) !== 4) {
    throw new Error(
      `${name} can't run in a browser: its outputs have no fixed shapes; convert it as this ` +
        "pipeline does.",
    );
  }
  const finish = (values) => {
    const [boxes, classes, scores, count] = order.map((index) => values[index]);
    return post.fromOutputs(boxes, classes, scores, Math.round(count[0]));
  };
  return { compiled, ...input, finish, backend: BACKENDS.wasm };
}

/** The model without its post-processing; undefined where it can't run. */
async function rawDetector({ bytes, settings }, backend) {
  const accelerator = backend === "raw" ? "wasm" : "webgpu";
  if (accelerator === "webgpu" && !litert.getWebGpuDevice()) return undefined;
  try {
    const compiled = await litert.loadAndCompile(new Uint8Array(bytes), {
      accelerator,
      gpuOptions: { precision: "fp32" },
    });
    const count = settings.anchors.length / 4;
    const shapes = compiled.getOutputDetails().map(({ shape }) => [...shape]);
    const names = compiled.getOutputDetails().map(({ name }) => name);
    // With four classes the shapes are equal.
    const boxes = shapes[0].at(-1) !== 4 || /score|class|sigmoid/i.test(names[0]) ? 1 : 0;
    const input = inputOf(compiled);
    const suits =
      input && shapes.length === 2 && shapes[boxes].at(-1) === 4 &&
      shapes.every((shape) => shape.at(-2) === count);
    // Partly on the GPU is slower than not at all.
    if (!suits || (accelerator === "webgpu" && !compiled.isFullyAccelerated)) {
      compiled.delete();
      return undefined;
    }
    const finish = (values) => post.fromRaw(values[boxes], values[1 - boxes], settings);
    const found = { compiled, ...input, finish, backend: BACKENDS[accelerator] };
    await run(found, blank(found));
    return found;
  } catch (error) {
    console.warn(`The raw form can't run on ${accelerator}: ${error.message ?? error}`);
    return undefined;
  }
}

/** The one square input of a model, undefined where it has another. */
function inputOf(compiled) {
  const [input, ...others] = compiled.getInputDetails();
  const shape = [...input.shape];
  const [batch, height, width, channels] = shape;
  const fits = shape.length === 4 && batch === 1 && height === width && channels === 3;
  if (others.length || !fits) return undefined;
  return { shape, size: height, isFloat: input.dtype === "float32" };
}

async function run({ compiled, shape, isFloat, finish }, pixels) {
  const values = isFloat ? Float32Array.from(pixels, (value) => value / 127.5 - 1) : pixels;
  const input = new litert.Tensor(values, shape);
  const outputs = await compiled.run([input]);
  input.delete();
  const results = await Promise.all(outputs.map((output) => output.data()));
  outputs.forEach((output) => output.delete());
  return finish(results);
}

async function detect({ frame }) {
  const start = performance.now();
  const { width, height } = frame;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(frame, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = resize(data, width, height, detector.size);
  const ready = performance.now();
  const found = await run(detector, pixels);
  const end = performance.now();
  last = {
    width,
    height,
    detections: post.markShown(found),
    ms: { resize: ready - start, inference: end - ready },
  };
  return { ...last, frame };
}

async function lastFrame() {
  const result = last; // of the frame that is on the canvas now
  return { blob: await canvas.convertToBlob({ type: "image/png" }), result };
}

const CALLS = { load, detect, lastFrame };

self.onmessage = async ({ data: { id, call, ...given } }) => {
  try {
    const result = await CALLS[call](given);
    self.postMessage({ id, result }, result.frame ? [result.frame] : []);
  } catch (error) {
    self.postMessage({ id, error: error.message || String(error) });
  }
};
