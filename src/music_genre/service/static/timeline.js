// The genres over time: shares at a moment, stacked areas, a table.

const LABEL_HEIGHT = 16;
const ROUNDING_SECONDS = 1; // by which players and the service may differ about a whole song

/** A genre's colour, by its place in the label order: neighbours differ in hue and in lightness. */
export function colourOf(index) {
  return `oklch(${index % 2 ? 0.7 : 0.8} 0.13 ${Math.round((index * 137.5 + 20) % 360)})`;
}

/** "1:05" */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** "71 %" */
export function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

/** Probabilities by genre at a moment: those of each part stand in its middle, straight lines in between. */
export function sharesAt(answer, seconds) {
  const parts = answer.segments;
  const middle = (part) => (part.start_seconds + part.end_seconds) / 2;
  const next = parts.findIndex((part) => middle(part) > seconds);
  if (next === 0) return parts[0].probabilities;
  if (next < 0) return parts[parts.length - 1].probabilities;
  const [before, after] = [parts[next - 1], parts[next]];
  const weight = (seconds - middle(before)) / (middle(after) - middle(before));
  return Object.fromEntries(
    Object.entries(before.probabilities).map(([genre, share]) => [
      genre,
      share + weight * (after.probabilities[genre] - share),
    ]),
  );
}

/** Whether an answer leaves out the end of a song: a file's header may claim less sound than a player finds. */
export function isCut(answer, length) {
  return length - answer.seconds > ROUNDING_SECONDS;
}

/** Stack the genres of an answer over a canvas whose width is the song's length in seconds, and name the wide ones. */
export function drawAreas(canvas, answer, length) {
  const height = canvas.clientHeight;
  const width = canvas.clientWidth * (isCut(answer, length) ? answer.seconds / length : 1);
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const xs = Array.from({ length: Math.ceil(width / 2) + 1 }, (_, n) => Math.min(width, 2 * n));
  const shares = xs.map((x) => sharesAt(answer, (x / width) * answer.seconds));
  const floor = xs.map(() => height);
  const names = [];
  Object.keys(answer.probabilities).forEach((genre, index) => {
    const top = floor.map((y, n) => y - shares[n][genre] * height);
    context.fillStyle = colourOf(index);
    context.beginPath();
    xs.forEach((x, n) => context.lineTo(x, top[n]));
    for (let n = xs.length - 1; n >= 0; n--) context.lineTo(xs[n], floor[n]);
    context.fill();
    names.push([genre, xs, top, [...floor], width]);
    floor.splice(0, floor.length, ...top);
  });
  for (const name of names) nameArea(context, ...name); // last: no area covers a name
}

/** Write a genre's name where its area is highest, if it has room there. */
function nameArea(context, genre, xs, top, floor, width) {
  const heights = top.map((y, n) => floor[n] - y);
  const highest = Math.max(...heights);
  if (highest < LABEL_HEIGHT) return;
  const reached = heights.map((height, n) => (height > 0.98 * highest ? n : -1)).filter((n) => n >= 0);
  const best = reached[Math.floor(reached.length / 2)];
  context.font = "600 12px system-ui, sans-serif";
  context.fillStyle = "#14121a";
  context.textBaseline = "middle";
  const half = context.measureText(genre).width / 2 + 4;
  context.textAlign = "center";
  context.fillText(genre, Math.min(Math.max(xs[best], half), width - half), (top[best] + floor[best]) / 2);
}

/** The same as rows: from, to, genre and every probability. */
export function fillTable(table, answer) {
  const genres = Object.keys(answer.probabilities);
  const caption = document.createElement("caption");
  caption.textContent = "What each part of the song sounds like";
  const head = row("th", ["From", "To", "Genre", ...genres]);
  for (const cell of head.children) cell.scope = "col";
  const rows = answer.segments.map((part) =>
    row("td", [
      clock(part.start_seconds),
      clock(part.end_seconds),
      part.genre,
      ...genres.map((genre) => percent(part.probabilities[genre])),
    ]),
  );
  table.replaceChildren(caption, group("thead", [head]), group("tbody", rows));
}

function group(kind, rows) {
  const element = document.createElement(kind);
  element.append(...rows);
  return element;
}

function row(kind, texts) {
  const element = document.createElement("tr");
  element.append(
    ...texts.map((text) => {
      const cell = document.createElement(kind);
      cell.textContent = text;
      return cell;
    }),
  );
  return element;
}
