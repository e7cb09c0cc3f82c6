// What a prediction depends on, over the spectrogram: how much the probability drops without each block.

import { MIN_HZ, MAX_HZ } from "./audio.js";
import { formatPercent, formatTime } from "./timeline.js";

const MIN_DROP = 0.005; // smaller ones are neither drawn nor told: half a percent
const DIMMED = "rgb(0 0 0 / .45)"; // the clip, so that the blocks stand out
const [SUPPORTS, OPPOSES] = ["64 224 208", "255 255 255"]; // as in style.css

const element = (id) => document.getElementById(id);
const canvas = element("reasons");

let shown = null;

/** Show an explanation, or, with null, none. `drawExplanation` draws it. */
export function showExplanation(explanation) {
  shown = explanation;
  canvas.hidden = element("reasons-legend").hidden = !shown;
  element("explain").ariaPressed = String(Boolean(shown));
  element("reasons-text").textContent = shown ? describe(shown) : "";
}

/** Draw what is shown over a spectrogram that is `duration` seconds wide. */
export function drawExplanation(duration) {
  if (!shown || !duration) return;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const { time_edges_seconds: times, band_edges_hz: bands, drops } = shown;
  const xs = times.map((seconds) => (width * seconds) / duration);
  const ys = bands.map((hertz) => height * (1 - Math.log(Math.min(Math.max(hertz, MIN_HZ), MAX_HZ) / MIN_HZ) / Math.log(MAX_HZ / MIN_HZ)));
  context.fillStyle = DIMMED;
  context.fillRect(xs[0], 0, xs[xs.length - 1] - xs[0], height);
  const largest = Math.max(...drops.flat().map(Math.abs), MIN_DROP);
  drops.forEach((column, time) =>
    column.forEach((drop, band) => {
      if (Math.abs(drop) < MIN_DROP) return;
      const alpha = (0.15 + (0.6 * Math.abs(drop)) / largest).toFixed(3);
      context.fillStyle = `rgb(${drop > 0 ? SUPPORTS : OPPOSES} / ${alpha})`;
      context.fillRect(xs[time], ys[band + 1], xs[time + 1] - xs[time] - 1, ys[band] - ys[band + 1] - 1);
    }),
  );
  context.strokeStyle = `rgb(${SUPPORTS})`;
  context.strokeRect(xs[0] + 0.5, 0.5, xs[xs.length - 1] - xs[0] - 1, height - 1);
}

/** The block that matters most, as a sentence. */
function describe({ genre, probability, time_edges_seconds: times, band_edges_hz: bands, drops }) {
  const span = `${formatTime(times[0])} to ${formatTime(times[times.length - 1])}`;
  const ranked = drops.flatMap((column, time) => column.map((drop, band) => ({ drop, time, band })));
  const { drop, time, band } = ranked.reduce((a, b) => (b.drop > a.drop ? b : a));
  if (drop < MIN_DROP) return `No single part of ${span} decides: it stays ${genre} without any one.`;
  return (
    `From ${span} it is ${genre} with ${formatPercent(probability)}. That depends most on ` +
    `${formatTime(times[time])} to ${formatTime(times[time + 1])}, ${formatHertz(bands[band])} to ` +
    `${formatHertz(bands[band + 1])}: without this part it is ${formatPercent(Math.max(0, probability - drop))}.`
  );
}

function formatHertz(hertz) {
  return hertz < 1000 ? `${Math.round(hertz)} Hz` : `${(hertz / 1000).toFixed(1)} kHz`;
}
