// The genres over time: probabilities at a moment, stacked areas, a table.

const LABEL_HEIGHT = 16;
const TOLERANCE_SECONDS = 1; // players and the service may differ by this much about the duration of a whole song

/** A genre's colour, by its index in the label order: neighbours differ in hue and in lightness. */
export function genreColour(index) {
  return `oklch(${index % 2 ? 0.7 : 0.8} 0.13 ${Math.round((index * 137.5 + 20) % 360)})`;
}

/** "1:05" */
export function formatTime(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** "71 %" */
export function formatPercent(fraction) {
  return `${Math.round(100 * fraction)}\u00a0%`;
}

/** Probabilities by genre at a moment: linear interpolation between the centres of the segments. */
export function probabilitiesAt(prediction, seconds) {
  const segments = prediction.segments;
  const centre = (segment) => (segment.start_seconds + segment.end_seconds) / 2;
  const next = segments.findIndex((segment) => centre(segment) > seconds);
  if (next === 0) return segments[0].probabilities;
  if (next < 0) return segments[segments.length - 1].probabilities;
  const [before, after] = [segments[next - 1], segments[next]];
  const weight = (seconds - centre(before)) / (centre(after) - centre(before));
  return Object.fromEntries(
    Object.entries(before.probabilities).map(([genre, probability]) => [
      genre,
      probability + weight * (after.probabilities[genre] - probability),
    ]),
  );
}

/** Whether a prediction covers less than `duration`: a file's header may claim less audio than a player finds. */
export function isTruncated(prediction, duration) {
  return duration - prediction.duration_seconds > TOLERANCE_SECONDS;
}

/** Stack the genres of a prediction over a canvas whose width is `duration` seconds, and label the wide ones. */
export function drawTimeline(canvas, prediction, duration) {
  const height = canvas.clientHeight;
  const covered = isTruncated(prediction, duration) ? prediction.duration_seconds / duration : 1;
  const width = canvas.clientWidth * covered;
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const xs = Array.from({ length: Math.ceil(width / 2) + 1 }, (_, n) => Math.min(width, 2 * n));
  const probabilities = xs.map((x) => probabilitiesAt(prediction, (x / width) * prediction.duration_seconds));
  const bottom = xs.map(() => height);
  const labels = [];
  Object.keys(prediction.probabilities).forEach((genre, index) => {
    const top = bottom.map((y, n) => y - probabilities[n][genre] * height);
    context.fillStyle = genreColour(index);
    context.beginPath();
    xs.forEach((x, n) => context.lineTo(x, top[n]));
    for (let n = xs.length - 1; n >= 0; n--) context.lineTo(xs[n], bottom[n]);
    context.fill();
    labels.push([genre, xs, top, [...bottom], width]);
    bottom.splice(0, bottom.length, ...top);
  });
  fadeEdges(context, prediction, width, height);
  for (const label of labels) drawLabel(context, ...label); // last: no area covers a label
}

/** Make the segments paler that have audio on one side only. */
function fadeEdges(context, prediction, width, height) {
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--fade");
  for (const { start_seconds: start, end_seconds: end, edge } of prediction.segments) {
    if (!edge) continue;
    const x = (width * start) / prediction.duration_seconds;
    context.fillRect(x, 0, (width * end) / prediction.duration_seconds - x, height);
  }
}

/** Write a genre's name where its area is highest, if there is enough space. */
function drawLabel(context, genre, xs, top, bottom, width) {
  const heights = top.map((y, n) => bottom[n] - y);
  const maximum = Math.max(...heights);
  if (maximum < LABEL_HEIGHT) return;
  const high = heights.map((height, n) => (height > 0.98 * maximum ? n : -1)).filter((n) => n >= 0);
  const best = high[Math.floor(high.length / 2)];
  context.font = "600 12px system-ui, sans-serif";
  context.fillStyle = "#14121a";
  context.textBaseline = "middle";
  const half = context.measureText(genre).width / 2 + 4;
  context.textAlign = "center";
  context.fillText(genre, Math.min(Math.max(xs[best], half), width - half), (top[best] + bottom[best]) / 2);
}

/** The segments as rows: from, to, genre and every probability. */
export function fillTable(table, prediction) {
  const genres = Object.keys(prediction.probabilities);
  const caption = document.createElement("caption");
  caption.textContent = prediction.segments.some((segment) => segment.edge)
    ? "Prediction of each segment; * at an end, where the model hears audio on one side only"
    : "Prediction of each segment";
  const head = tableRow("th", ["From", "To", "Genre", ...genres]);
  for (const cell of head.children) cell.scope = "col";
  const rows = prediction.segments.map((segment) =>
    tableRow("td", [
      formatTime(segment.start_seconds),
      formatTime(segment.end_seconds),
      segment.edge ? `${segment.genre}*` : segment.genre,
      ...genres.map((genre) => formatPercent(segment.probabilities[genre])),
    ]),
  );
  table.replaceChildren(caption, tableSection("thead", [head]), tableSection("tbody", rows));
}

function tableSection(tag, rows) {
  const section = document.createElement(tag);
  section.append(...rows);
  return section;
}

function tableRow(cellTag, texts) {
  const row = document.createElement("tr");
  row.append(
    ...texts.map((text) => {
      const cell = document.createElement(cellTag);
      cell.textContent = text;
      return cell;
    }),
  );
  return row;
}
