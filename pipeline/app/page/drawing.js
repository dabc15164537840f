// Boxes and their colours, as `models/drawing.py` draws them.

/** The colour of a class, and black or white for text on it. */
export function color(classId) {
  const hue = (0.02 + classId * 0.381966) % 1;
  const value = [1, 0.85, 0.7][classId % 3];
  const channel = (n) => {
    const k = (n + hue * 6) % 6;
    return 255 * value * (1 - 0.85 * Math.max(0, Math.min(k, 4 - k, 1)));
  };
  const [red, green, blue] = [channel(5), channel(3), channel(1)].map(Math.round);
  const bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  return { css: `rgb(${red} ${green} ${blue})`, text: bright ? "#000" : "#fff" };
}

/** A tag's text: of a long name only the beginning, but always the score. */
function tagText(context, label, score, width) {
  const percent = ` ${Math.round(100 * score)} %`;
  const kept = [...label];
  let text = label + percent;
  while (kept.length && context.measureText(text).width > width) {
    kept.pop();
    text = `${kept.join("")}…${percent}`;
  }
  return text;
}

/**
 * Draws detections over a picture, each with a tag.
 *
 * @param {HTMLCanvasElement} canvas lies over the picture
 * @param {object[]} found detections with labels, the best first
 */
export function drawBoxes(canvas, found) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio;
  Object.assign(canvas, {
    width: Math.round(width * scale),
    height: Math.round(height * scale),
  });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "600 14px system-ui, sans-serif";
  context.textBaseline = "middle";
  const best = [...found].reverse(); // the most certain is drawn last, on top
  for (const { classId, box: [top, left, bottom, right] } of best) {
    const rectangle = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    const { css, text } = color(classId);
    context.lineWidth = 5;
    context.strokeStyle = text;
    context.strokeRect(...rectangle);
    context.lineWidth = 3;
    context.strokeStyle = css;
    context.strokeRect(...rectangle);
  }
  for (const { classId, label, score, box: [top, left, , right] } of best) {
    const { css, text } = color(classId);
    const name = tagText(context, label, score, width * Math.max(0.5, right - left) - 12);
    const tagWidth = context.measureText(name).width + 12;
    const x = Math.max(0, Math.min(left * width, width - tagWidth));
    const y = top * height >= 22 ? top * height - 22 : top * height;
    context.fillStyle = css;
    context.fillRect(x, y, tagWidth, 22);
    context.fillStyle = text;
    context.fillText(name, x + 6, y + 11);
  }
}
