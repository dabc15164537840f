// The page's end of `worker.js`.

export class Detector {
  #worker = new Worker("worker.js");
  #waiting = new Map();
  #calls = 0;

  /**
   * Starts a worker with a model.
   *
   * @param {object} given
   *   runtime: its folder.
   *   name: of the model, for messages.
   *   bytes: ArrayBuffer, the content of a .tflite file.
   *   raw: its form without post-processing and what that is, {bytes, settings: see `fromRaw`}.
   *   backend: "wasm", "webgpu", or "raw" for the raw form on WebAssembly; the fastest if null.
   */
  constructor(given) {
    this.#worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    };
    this.#worker.onerror = ({ message }) => {
      const error = new Error(`The detector stopped: ${message ?? "worker.js can't be loaded"}.`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    /** Resolves when `size` and `backend` are known; rejects, with a sentence, if never. */
    this.ready = this.#call("load", given).then(
      (facts) => Object.assign(this, facts),
      (error) => {
        this.close();
        throw error;
      },
    );
  }

  #call(call, given = {}, transferred = []) {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, call, ...given }, transferred);
    });
  }

  /**
   * Detects objects in a frame.
   *
   * @param {ImageBitmap} frame moves into the worker
   * @returns {Promise<{width, height, detections, ms: {resize, inference}, frame}>} detections as
   *   in `post_processing.js`, marked by `markShown`; the frame is back
   */
  detect(frame) {
    return this.#call("detect", { frame }, [frame]);
  }

  /** The last frame as a PNG file, and what was detected in it: {blob, result}. */
  lastFrame() {
    return this.#call("lastFrame");
  }

  close() {
    this.#worker.terminate();
  }
}
