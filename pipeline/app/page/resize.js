// The pipeline's resize: `models/image.py`, which is TensorFlow's bilinear with antialiasing.
//
// In its order (first down, then across) and rounded to float32 where TensorFlow rounds, so that
// the result is the same to the last bit.

const f32 = Math.fround;

/**
 * Which source pixels make an output pixel, and with which weights.
 *
 * The triangle filter is as wide as the shrinkage; where the picture grows, two pixels.
 *
 * @param {number} from size of the source in pixels
 * @param {number} to size of the result in pixels
 * @returns {{starts: Int32Array, counts: Int32Array, weights: Float32Array, span: number}} for
 *   output pixel i: `counts[i]` source pixels from `starts[i]`, with the weights from `i * span`
 */
function makeFilter(from, to) {
  const scale = f32(1 / f32(to / from));
  const radius = Math.max(scale, 1);
  const narrow = f32(1 / radius);
  const span = 2 * Math.ceil(radius) + 1;
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Float32Array(to * span);
  for (let i = 0; i < to; i++) {
    const center = f32((i + 0.5) * scale);
    const first = Math.max(Math.ceil(f32(f32(center - radius) - 0.5)), 0);
    const last = Math.min(Math.floor(f32(f32(center + radius) - 0.5)), from - 1);
    const taps = weights.subarray(i * span, i * span + last - first + 1);
    let total = 0;
    for (let k = 0; k < taps.length; k++) {
      const distance = Math.abs(f32(f32(first + k + 0.5 - center) * narrow));
      taps[k] = Math.max(1 - distance, 0);
      total = f32(total + taps[k]);
    }
    const share = f32(1 / total);
    for (let k = 0; k < taps.length; k++) taps[k] *= share;
    starts[i] = first;
    counts[i] = taps.length;
  }
  return { starts, counts, weights, span };
}

/** The nearest integer, and of two the even one. */
function rounded(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

let made; // the filters of the last frame, which mostly fit the next one

/**
 * Stretches a picture to a square, as the pipeline does.
 *
 * @param {Uint8ClampedArray} rgba of `width * height` pixels
 * @param {number} width
 * @param {number} height
 * @param {number} size side of the square
 * @returns {Uint8Array} RGB of `size * size` pixels
 */
export function resize(rgba, width, height, size) {
  const key = `${width} ${height} ${size}`;
  if (made?.key !== key) {
    made = { key, down: makeFilter(height, size), across: makeFilter(width, size) };
  }
  const { down, across } = made;
  const row = new Float32Array(width * 4);
  const result = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    row.fill(0);
    for (let k = 0; k < down.counts[y]; k++) {
      const weight = down.weights[y * down.span + k];
      const offset = (down.starts[y] + k) * width * 4;
      for (let i = 0; i < row.length; i++) row[i] += f32(weight * rgba[offset + i]);
    }
    for (let x = 0; x < size; x++) {
      let red = f32(0);
      let green = f32(0);
      let blue = f32(0);
      for (let k = 0; k < across.counts[x]; k++) {
        const weight = across.weights[x * across.span + k];
        const i = (across.starts[x] + k) * 4;
        red = f32(red + f32(weight * row[i]));
        green = f32(green + f32(weight * row[i + 1]));
        blue = f32(blue + f32(weight * row[i + 2]));
      }
      const place = (y * size + x) * 3;
      result[place] = rounded(red);
      result[place + 1] = rounded(green);
      result[place + 2] = rounded(blue);
    }
  }
  return result;
}
