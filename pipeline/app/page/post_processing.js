// From a model's outputs to detections: `models/networks/post_processing.py` in JavaScript.
//
// A detection is {classId, score, box: [ymin, xmin, ymax, xmax]}, the box normalised to 0..1.

// Boxes with a larger overlap (IoU) show the same object; as in `pipeline/detect.py`.
const SAME_PLACE = 0.5;
// Of encoded boxes; as in `models/networks/boxes.py`.
const BOX_SCALES = [10, 10, 5, 5];

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

/**
 * The detections of a file that ends before the post-processing, computed as
 * TFLite_Detection_PostProcess does.
 *
 * @param {Float32Array} encodings N * 4 (y, x, height, width), relative to the anchors
 * @param {Float32Array} scores N * C, 0..1
 * @param {object} settings anchors: Float32Array N * 4 (y, x, height, width); the others are those
 *   of `PostProcessing` in `models/settings.py`
 */
export function fromRaw(encodings, scores, settings) {
  const { anchors, regular_nms: regular, max_detections: most } = settings;
  const count = anchors.length / 4;
  const classes = scores.length / count;
  const box = (anchor) => {
    const at = 4 * anchor;
    const [y, x, h, w] = BOX_SCALES.map((scale, i) => encodings[at + i] / scale);
    const [top, left] = [y * anchors[at + 2] + anchors[at], x * anchors[at + 3] + anchors[at + 1]];
    const halfHeight = (Math.exp(h) * anchors[at + 2]) / 2;
    const halfWidth = (Math.exp(w) * anchors[at + 3]) / 2;
    return [top - halfHeight, left - halfWidth, top + halfHeight, left + halfWidth];
  };
  const groups = Array.from({ length: regular ? classes : 1 }, () => []);
  for (let anchor = 0; anchor < count; anchor++) {
    const of = scores.subarray(anchor * classes, (anchor + 1) * classes);
    const best = of.indexOf(Math.max(...of));
    of.forEach((score, classId) => {
      if (score < settings.score_threshold || (!regular && classId !== best)) return;
      groups[regular ? classId : 0].push({ classId, score, box: box(anchor) });
    });
  }
  const better = (a, b) => b.score - a.score;
  return groups
    .flatMap((group) => suppress(group.sort(better), settings.iou_threshold, most))
    .sort(better)
    .slice(0, most)
    .map((found) => ({ ...found, box: found.box.map(clip) }));
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
