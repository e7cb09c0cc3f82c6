// The page: one song at a time, its audio and its prediction side by side.

import { ApiError, getModel, predict } from "./api.js";
import { decodeAudio, drawSpectrogram, waveformPeaks } from "./audio.js";
import { audio, load, loadedDuration, showDuration, showPosition, watch } from "./player.js";
import { askFeedback, hideFeedback } from "./feedback.js";
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
const RETRY_MS = 2000; // between requests to a service that is starting

const element = (id) => document.getElementById(id);
const styleNonce = document.querySelector("link[rel=stylesheet]").nonce;

let song = null; // {file, controller, prediction, waveform}
let takesFeedback = false;
let key = sessionStorage.getItem("key") ?? "";

// ---- choosing a song

element("file").addEventListener("change", (event) => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => openSample(button.dataset.sample));
}
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    element("drop-zone").classList.toggle("over", type === "dragover");
  });
}
addEventListener("drop", (event) => {
  const file = event.dataTransfer.files[0];
  if (file) open(file);
  else showError(new ApiError("This is not a file. Drop a song from your computer."));
});
element("retry").addEventListener("click", () => (song ? open(song.file) : showModel()));
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("api-key").value;
  sessionStorage.setItem("key", key);
  showModel();
  if (song) open(song.file);
});

async function openSample(name) {
  try {
    const response = await fetch(`static/samples/${name}`);
    if (!response.ok) throw new ApiError("The sample clip is missing.");
    open(new File([await response.blob()], name, { type: "audio/ogg" }));
  } catch (error) {
    showError(error instanceof ApiError ? error : new ApiError("The service cannot be reached."));
  }
}

/** Load a song, draw it and request its prediction, all at once: none waits for another. */
function open(file) {
  song?.controller.abort();
  song?.waveform?.destroy();
  const current = (song = { file, controller: new AbortController() });
  load(file);
  clear(file.name);
  predictSong(current).catch((error) => handleError(current, error));
  drawSong(current).catch((error) => handleError(current, error));
}

function clear(name) {
  showError(null);
  hideFeedback();
  element("song").hidden = false;
  element("file-name").textContent = name;
  for (const id of ["prediction", "truncation", "notes", "tags", "genres"]) element(id).replaceChildren();
  element("genres-heading").hidden = element("details").hidden = true;
  element("player").hidden = false;
  element("lanes").ariaBusy = "true";
  for (const canvas of document.querySelectorAll("canvas")) canvas.width = 1;
  showMoment();
}

function handleError(current, error) {
  if (error.name === "AbortError" || current !== song) return;
  if (!(error instanceof ApiError)) throw error;
  element("progress").hidden = true;
  element("prediction").replaceChildren();
  element("player").hidden = audio.error !== null;
  showError(error);
}

/** Show an error, or, with null, none. */
function showError(error) {
  element("error").hidden = !error;
  element("error-message").textContent = error?.message ?? "";
  element("retry").hidden = !error?.canRetry;
  if (error?.needsKey) {
    element("key-form").hidden = false;
    element("api-key").focus();
  }
}

// ---- the prediction

async function predictSong(current) {
  const start = performance.now();
  setHeadline("Predicting…");
  const progress = element("progress");
  progress.hidden = false;
  progress.value = 0;
  const onProgress = (fraction) => {
    progress.value = fraction;
    progress.hidden = fraction === 1;
  };
  current.prediction = await predict(current.file, key, onProgress, current.controller.signal);
  if (current !== song) return;
  progress.hidden = true;
  showPrediction(current.prediction, (performance.now() - start) / 1000);
  showSongDuration();
}

function setHeadline(headline, ...more) {
  const strong = document.createElement("strong");
  strong.textContent = headline;
  const rest = document.createElement("span");
  rest.textContent = more.join(" ");
  element("prediction").replaceChildren(strong, rest);
}

function showPrediction(prediction, seconds) {
  const ranking = Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]);
  const next = ranking.slice(1, 3).map(([genre, probability]) => `${genre} ${formatPercent(probability)}`).join(", ");
  const { name, version } = prediction.model;
  const source = `Predicted by ${name} version ${version} in ${seconds.toFixed(1)} s.`;
  const best = `${prediction.genre}, ${formatPercent(prediction.confidence)}`;
  if (prediction.confident) setHeadline(best, `Then ${next}.`, source);
  else setHeadline("Low confidence", `Most likely ${best}; then ${next}.`, source);
  const tags = (prediction.tags ?? []).map(({ tag, probability }) => `${tag} ${formatPercent(probability)}`);
  element("tags").textContent = tags.length ? `The encoder's own tags: ${tags.join(", ")}.` : "";
  element("notes").textContent = (prediction.notes ?? []).map((note) => note.message).join(" ");
  showFeedback();
  fillTable(element("timeline-table"), prediction);
  element("genres-heading").hidden = element("details").hidden = false;
  element("genres").replaceChildren(...Object.keys(prediction.probabilities).map(genreRow));
}

function showFeedback() {
  if (takesFeedback && song?.prediction) askFeedback(song.prediction, key);
}

function genreRow(genre, index) {
  const [row, swatch, name, bar, output] = ["li", "i", "b", "div", "output"].map((tag) => document.createElement(tag));
  const fill = bar.appendChild(document.createElement("div"));
  bar.className = "bar";
  swatch.style.background = fill.style.background = genreColour(index);
  name.textContent = genre;
  output.setAttribute("aria-live", "off");
  row.append(swatch, name, bar, output);
  return row;
}

// ---- the audio

async function drawSong(current) {
  const isCurrent = () => current === song;
  const duration = await loadedDuration();
  if (!isCurrent() || duration === null || duration > MAX_DRAWN_SECONDS) return;
  let buffer;
  try {
    buffer = await decodeAudio(current.file);
  } catch {
    return; // The browser can play it but not decode it: the prediction is shown without plots.
  }
  const peaks = await waveformPeaks(buffer, N_PEAKS, isCurrent);
  const colours = getComputedStyle(document.documentElement);
  current.waveform = WaveSurfer.create({
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
  element("file-name").textContent = `${song.file.name}: this browser cannot play it`;
  if (!element("error").hidden) element("player").hidden = true;
});
watch({ onPosition: showMoment, onDuration: showSongDuration });

/** Everything that depends on the duration of the song, which may become known before its prediction or after it. */
function showSongDuration() {
  const duration = songDuration();
  if (!duration) return;
  showDuration(duration);
  showMoment();
  const prediction = song?.prediction;
  if (!prediction) return;
  drawTimeline(element("timeline"), prediction, duration);
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
  showPosition(duration, `${time}, ${best} ${formatPercent(probabilities[best])}`);
  element("genres-heading").textContent = `Genres at ${formatTime(moment)}`;
  Object.values(probabilities).forEach((probability, index) => {
    const row = element("genres").children[index];
    row.querySelector(".bar div").style.transform = `scaleX(${probability})`;
    row.querySelector("output").textContent = formatPercent(probability);
    row.classList.toggle("best", row.querySelector("b").textContent === best);
  });
}

// ---- the page itself

async function showModel() {
  try {
    const { name, version, genres, feedback } = await getModel(key);
    takesFeedback = feedback;
    showFeedback();
    element("model").textContent = `${name} version ${version} predicts ${genres.length} genres: ${genres.join(", ")}`;
    element("key-form").hidden = true;
    showError(null);
  } catch (error) {
    element("model").textContent = "";
    showError(error);
    if (error.canRetry) setTimeout(showModel, RETRY_MS);
  }
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  showSongDuration();
});

showModel();
