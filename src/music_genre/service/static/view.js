// The selected song: its sound as waveform and spectrogram, its genres over time, and those at the moment.

import { genreRow, setProbability, showAnswer, showWaiting } from "./answer.js";
import { decodeAudio, drawSpectrogram, waveformPeaks } from "./audio.js";
import { drawExplanation, showExplanation } from "./explanation.js";
import { hideFeedback } from "./feedback.js";
import { audio, load, loadedDuration, showDuration, showPosition, watch } from "./player.js";
import {
  drawTimeline,
  fillTable,
  formatPercent,
  formatTime,
  genreColour,
  isTruncated,
  probabilitiesAt,
} from "./timeline.js";
import WaveSurfer from "./vendor/wavesurfer/wavesurfer.esm.js";

const MAX_DRAWN_SECONDS = 1800; // longer recordings are not decoded here: their samples would fill the memory
const N_PEAKS = 1500;

const element = (id) => document.getElementById(id);
const styleNonce = document.querySelector("link[rel=stylesheet]").nonce;

let song = null; // as in songs.js
let file = null; // that is drawn
let waveform = null;

/** Show another song, or, with null, none. */
export function open(next) {
  song = next;
  element("song").hidden = !song;
  hideFeedback();
  waveform?.destroy();
  waveform = null;
  audio.pause();
  file = song?.file;
  if (!song) return;
  load(file);
  element("file-name").textContent = song.name;
  for (const id of ["genres", "truncation"]) element(id).replaceChildren();
  element("moment").hidden = element("details").hidden = true;
  element("player").hidden = false;
  element("lanes").ariaBusy = "true";
  for (const canvas of document.querySelectorAll("canvas")) canvas.width = 1;
  showExplanation(null);
  showMoment();
  drawSong(file).catch((error) => {
    if (error.name !== "AbortError") throw error;
  });
}

/** Show what has become of the song: its answer, or that it is awaited. */
export function update(model) {
  const { prediction, error } = song;
  element("player").hidden = Boolean(error) && audio.error !== null;
  element("actions").hidden = element("moment").hidden = element("details").hidden = !prediction;
  if (!prediction) {
    hideFeedback();
    showExplanation(null);
    return showWaiting(error ? "" : song.state === "waiting" ? "Waiting for its turn…" : "Predicting…");
  }
  showAnswer(song, model);
  fillTable(element("timeline-table"), prediction);
  const genres = Object.keys(prediction.probabilities);
  element("genres").replaceChildren(...genres.map((genre, index) => genreRow(genre, genreColour(index))));
  element("edges").hidden = !prediction.segments.some((segment) => segment.edge);
  showSongDuration();
}

async function drawSong(own) {
  const isCurrent = () => own === file;
  const duration = await loadedDuration();
  if (!isCurrent() || duration === null || duration > MAX_DRAWN_SECONDS) return;
  let buffer;
  try {
    buffer = await decodeAudio(own);
  } catch {
    return; // The browser can play it but not decode it: the prediction is shown without plots.
  }
  const peaks = await waveformPeaks(buffer, N_PEAKS, isCurrent);
  const colours = getComputedStyle(document.documentElement);
  waveform = WaveSurfer.create({
    container: element("waveform"),
    media: audio,
    peaks: [peaks],
    duration,
    height: element("waveform").clientHeight,
    waveColor: colours.getPropertyValue("--wave"),
    progressColor: colours.getPropertyValue("--accent"),
    cursorWidth: 0,
    interact: false,
    normalize: true,
    cspNonce: styleNonce,
  });
  await drawSpectrogram(element("spectrogram"), buffer, isCurrent);
  element("lanes").ariaBusy = "false";
}

audio.addEventListener("error", () => {
  if (!song) return;
  element("file-name").textContent = `${song.name}: this browser cannot play it`;
  if (song.error) element("player").hidden = true;
});
watch({ onPosition: showMoment, onDuration: showSongDuration });

/** Everything that depends on the duration of the song, which may become known before its prediction or after it. */
export function showSongDuration() {
  const duration = songDuration();
  if (!duration) return;
  showDuration(duration);
  showMoment();
  const prediction = song?.prediction;
  if (!prediction) return;
  drawTimeline(element("timeline"), prediction, duration);
  drawExplanation(duration);
  element("truncation").textContent = isTruncated(prediction, duration)
    ? `Only the first ${formatTime(prediction.duration_seconds)} could be decoded.`
    : "";
}

/** Seconds: those that the browser finds, or the service where the browser cannot play the song. */
function songDuration() {
  return Number.isFinite(audio.duration) ? audio.duration : (song?.prediction?.duration_seconds ?? 0);
}

/** The position, and the probabilities there. */
function showMoment() {
  const [moment, duration] = [audio.currentTime, songDuration()];
  const time = `${formatTime(moment)} of ${formatTime(duration)}`;
  const prediction = song?.prediction;
  const isBeyond = Boolean(prediction) && isTruncated(prediction, moment);
  element("genres").hidden = isBeyond;
  if (isBeyond) element("genres-heading").textContent = `Not decoded at ${formatTime(moment)}`;
  if (!prediction || isBeyond) return showPosition(duration, time);
  const probabilities = probabilitiesAt(prediction, moment);
  const best = Object.keys(probabilities).reduce((a, b) => (probabilities[b] > probabilities[a] ? b : a));
  const answer = `${best} ${formatPercent(probabilities[best])}`;
  showPosition(duration, `${time}, ${answer}`);
  element("genres-heading").textContent = `At ${formatTime(moment)}: ${answer}`;
  Object.entries(probabilities).forEach(([genre, probability], index) => {
    const row = element("genres").children[index];
    if (!row) return;
    setProbability(row, probability);
    row.classList.toggle("best", genre === best);
  });
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  showSongDuration();
});
