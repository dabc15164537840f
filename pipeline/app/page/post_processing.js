// From a model's outputs to detections: `models/networks/post_processing.py` in JavaScript.
//
// A detection is {classId, score, box: [ymin, xmin, ymax, xmax]}, the box normalised to 0..1.

// Boxes with a larger overlap (IoU) show the same object; as in `pipeline/detect.py`.
const SAME_PLACE = 0.5;

const clip = (value) => Math.min(Math.max(value, 0), 1);
const area = ([top, left, bottom, right]) => (bottom - top) * (right - left);

function overlap(a, b) {
  const height = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const width = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const shared = Math.max(height, 0) * Math.max(width, 0);
  return shared && shared / (area(a) + area(b) - shared);
}

/** Greedy non-maximum suppression of detections that are sorted, best first. */
function suppress(sorted, iouThreshold, most) {
  const kept = [];
  for (const candidate of sorted) {
    if (kept.length === most) break;
    if (kept.every(({ box }) => overlap(box, candidate.box) <= iouThreshold)) kept.push(candidate);
  }
  return kept;
}

/** Marks with `shown` each detection that no better one of any class covers. */
export function markShown(detections) {
  const shown = new Set(suppress(detections, SAME_PLACE, Infinity));
  return detections.map((found) => ({ ...found, shown: shown.has(found) }));
}

/**
 * The detections of a file that ends in TFLite_Detection_PostProcess.
 *
 * @param {Float32Array} boxes K * 4
 * @param {Float32Array} classes K
 * @param {Float32Array} scores K
 * @param {number} count what lies behind it is garbage
 */
export function fromOutputs(boxes, classes, scores, count) {
  return Array.from({ length: count }, (_, i) => ({
    classId: Math.round(classes[i]),
    score: scores[i],
    box: Array.from(boxes.subarray(4 * i, 4 * i + 4), clip),
  }));
}
