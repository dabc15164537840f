// What "Save frame" writes: the frame with its detections, as a Pascal VOC data set of one picture
// and as JSON in the form of `pipeline.detect`, in one archive. Archives unpacked into one folder
// are training data.

const round = (value, digits) => Number(value.toFixed(digits));

/** box_pixels of `pipeline.detect`: [ymin, xmin, ymax, xmax]. */
const inPixels = (box, width, height) =>
  box.map((value, index) => Math.round(value * (index % 2 ? width : height)));

/** The content of detections.json, as `pipeline.detect` writes it. */
export function detectionsJson({ model, labels, minScore, file, frame }) {
  const { width, height, detections, ms } = frame;
  const picture = {
    file,
    width,
    height,
    ms: round(ms.inference, 3),
    detections: detections.map(({ label, classId, score, box, shown }) => ({
      label,
      class_id: classId,
      score: round(score, 4),
      box: box.map((value) => round(value, 5)),
      box_pixels: inPixels(box, width, height),
      shown,
    })),
  };
  return `${JSON.stringify({ model, labels, min_score: minScore, pictures: [picture] }, null, 2)}\n`;
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (character) => ENTITIES[character]);

/** A Pascal VOC annotation of the detections that are shown and have an area. */
export function vocAnnotation({ file, frame: { width, height, detections } }) {
  const objects = detections
    .filter(({ shown }) => shown)
    .map(({ label, box }) => [label, ...inPixels(box, width, height)])
    .filter(([, top, left, bottom, right]) => top < bottom && left < right)
    .map(
      ([label, top, left, bottom, right]) => `  <object>
    <name>${escaped(label)}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <bndbox><xmin>${left}</xmin><ymin>${top}</ymin><xmax>${right}</xmax><ymax>${bottom}</ymax></bndbox>
  </object>
`,
    );
  return `<annotation>
  <folder>JPEGImages</folder>
  <filename>${escaped(file)}</filename>
  <size><width>${width}</width><height>${height}</height><depth>3</depth></size>
  <segmented>0</segmented>
${objects.join("")}</annotation>
`;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

/**
 * A zip archive, uncompressed: pictures are compressed already.
 *
 * @param {Array<[string, Uint8Array]>} files names and contents, less than 4 GB
 * @param {Date} date of all of them
 * @returns {Blob}
 */
export function zip(files, date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const path = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored, time, day, CRC, sizes, length of the name, no extra.
    const facts = record([2, 20], [2, 0x800], [2, 0], [2, time], [2, day], [4, crc32(content)],
      [4, content.length], [4, content.length], [2, path.length], [2, 0]);
    const local = [record([4, 0x04034b50]), facts, path, content];
    directory.push(record([4, 0x02014b50], [2, 20]), facts,
      record([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), path);
    parts.push(...local);
    offset += length(local);
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length],
    [4, length(directory)], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

const length = (parts) => parts.reduce((sum, part) => sum + part.length, 0);

/** Little-endian numbers, given as [bytes, value]. */
function record(...numbers) {
  return Uint8Array.from(numbers.flatMap(([size, value]) =>
    Array.from({ length: size }, (_, byte) => (value >>> (8 * byte)) & 0xff)));
}

/**
 * The uncompressed files of an archive at the end of other content, as TFLite metadata has them.
 *
 * @param {Uint8Array} bytes
 * @returns {Object<string, Uint8Array>} by name; empty where there is no archive, or a damaged one
 */
export function filesInside(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - 22; // of an archive without a comment
  const files = {};
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) return files;
  const size = view.getUint32(end + 12, true);
  const start = end - size - view.getUint32(end + 16, true); // of the archive
  try {
    for (let at = end - size; at < end; ) {
      const [nameLength, extra, comment] = [28, 30, 32].map((n) => view.getUint16(at + n, true));
      const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
      const local = start + view.getUint32(at + 42, true);
      const content = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      if (view.getUint16(at + 10, true) === 0) {
        files[name] = bytes.subarray(content, content + view.getUint32(at + 24, true));
      }
      at += 46 + nameLength + extra + comment;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return {};
  }
  return files;
}
