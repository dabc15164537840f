// Runs the detector beside the page, so that the page never freezes.
//
// A classic worker, since the runtime loads its WebAssembly by importScripts().
// Messages in are {id, call, ...}; messages out {id, result} or {id, error}.

const OUTPUTS = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];
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
      "This browser has no WebAssembly SIMD, which the detector needs: use a newer version of it, " +
        "or another browser.",
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

async function load({ runtime, model, name }) {
  await loadRuntime(runtime);
  detector = await wasmDetector(new Uint8Array(model), name);
  await run(new Uint8Array(3 * detector.size ** 2)); // the first run is slow
  return { size: detector.size, backend: detector.backend };
}

async function wasmDetector(bytes, name) {
  let compiled;
  try {
    compiled = await litert.loadAndCompile(bytes, { accelerator: "wasm" });
  } catch (error) {
    throw new Error(`${name} is no detector: it can't be read as a .tflite file, or is truncated.`);
  }
  const [input, ...others] = compiled.getInputDetails();
  const outputs = compiled.getOutputDetails();
  const shape = [...input.shape];
  const named = OUTPUTS.map((output) => outputs.findIndex((found) => found.name === output));
  const order = named.includes(-1) ? [0, 1, 2, 3] : named;
  if (
    others.length ||
    shape.length !== 4 || shape[0] !== 1 || shape[1] !== shape[2] || shape[3] !== 3 ||
    outputs.length !== OUTPUTS.length
  ) {
    throw new Error(
      `${name} is no detector: expected an input [1, S, S, 3] and four outputs (boxes, classes, ` +
        `scores, count); received [${shape.join(", ")}] and ${outputs.length} outputs.`,
    );
  }
  // The runtime reads past its memory where it does not know how large an output is.
  if (outputs[order[0]].shape.at(-1) !== 4) {
    throw new Error(
      `${name} can't run in a browser: its outputs have no fixed shapes. Convert it again, as ` +
        "this pipeline does.",
    );
  }
  return { compiled, order, shape, size: shape[1], isFloat: input.dtype === "float32", backend: "WebAssembly" };
}

async function run(pixels) {
  const { compiled, order, shape, isFloat } = detector;
  const values = isFloat ? Float32Array.from(pixels, (value) => value / 127.5 - 1) : pixels;
  const input = new litert.Tensor(values, shape);
  const outputs = await compiled.run([input]);
  input.delete();
  const [boxes, classes, scores, count] = order.map((index) => outputs[index].toTypedArray());
  outputs.forEach((output) => output.delete());
  return post.fromOutputs(boxes, classes, scores, Math.round(count[0]));
}

async function detect({ frame }) {
  const start = performance.now();
  const { width, height } = frame;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(frame, 0, 0);
  frame.close();
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = resize(data, width, height, detector.size);
  const ready = performance.now();
  const found = await run(pixels);
  const end = performance.now();
  last = {
    width,
    height,
    detections: post.markShown(found),
    ms: { resize: ready - start, inference: end - ready },
  };
  return last;
}

async function lastFrame() {
  const result = last; // of the frame that is on the canvas now
  return { blob: await canvas.convertToBlob({ type: "image/png" }), result };
}

const CALLS = { load, detect, lastFrame };

self.onmessage = async ({ data: { id, call, ...given } }) => {
  try {
    self.postMessage({ id, result: await CALLS[call](given) });
  } catch (error) {
    self.postMessage({ id, error: error.message || String(error) });
  }
};
