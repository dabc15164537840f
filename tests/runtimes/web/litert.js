// LiteRT.js: a model's plain inputs and outputs.
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

export async function open(model, minScore, { labels, outputs }) {
  await loadLiteRt("/node_modules/@litertjs/core/wasm/");
  const detector = await loadAndCompile(model, { accelerator: "wasm" });
  const [{ shape, dtype }] = detector.getInputDetails();
  return async (image) => {
    const values = pixels(image, shape[2], shape[1], dtype);
    const found = await detector.run(new Tensor(values, [...shape]));
    const arrays = found.map((tensor) => tensor.toTypedArray());
    const named = Object.fromEntries(outputs.map((name, index) => [name, arrays[index]]));
    const boxes = named["location"];
    return Array.from({ length: named["number of detections"][0] }, (_, row) => {
      const [top, left, bottom, right] = boxes.slice(4 * row, 4 * row + 4);
      return {
        label: labels[named["category"][row]],
        score: named["score"][row],
        box: [Math.max(top, 0) * image.height, Math.max(left, 0) * image.width,
              (bottom - top) * image.height, (right - left) * image.width],
      };
    }).filter(({ score }) => score >= minScore);
  };
}

function pixels(image, width, height, dtype) {
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = data.filter((_, index) => index % 4 !== 3);
  return dtype === "float32" ? Float32Array.from(rgb, (v) => v / 127.5 - 1) : Uint8Array.from(rgb);
}
