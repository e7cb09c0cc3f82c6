// The page: songs come in, are sent to the service, and the selected one is shown.

import { ApiError, getCard, getModel, predict } from "./api.js";
import { copyText, curlCommand, download, toCsv, toJson } from "./exports.js";
import { showExplanation } from "./explanation.js";
import { askFeedback } from "./feedback.js";
import { renderMarkdown } from "./markdown.js";
import { connectRecorder } from "./recorder.js";
import {
  addSongs,
  clearSongs,
  connect,
  finishedSongs,
  resend,
  resendRefused,
  selectedSong,
  showProgress,
} from "./songs.js";
import { open, showSongDuration, update } from "./view.js";
import { decodeForModel, encodeWav } from "./wav.js";

const RETRY_MS = 2000; // between requests to a service that is starting
const DECODED_HERE = new Set(["undecodable", "unsupported"]); // errors of files that a browser may be able to decode

const element = (id) => document.getElementById(id);

let model = null; // as GET /model has it
let key = sessionStorage.getItem("key") ?? "";

// ---- songs come in

element("file").addEventListener("change", (event) => {
  add(event.target.files);
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
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
  else showError(new ApiError("This is not a file. Drop songs from your computer."));
});
connectRecorder({ getModel: () => model, onRecording: (file) => add([file]), onError: showError });

function add(files) {
  if (!files.length) return;
  showError(null);
  const left = addSongs(files);
  if (left) showError(new ApiError(`The list is full: ${left} of ${files.length} were not added. Clear it for more.`));
}

async function openSample(name) {
  try {
    const response = await fetch(`static/samples/${name}`);
    if (!response.ok) throw new ApiError("The sample clip is missing.");
    add([new File([await response.blob()], name, { type: "audio/ogg" })]);
  } catch (error) {
    showError(error instanceof ApiError ? error : new ApiError("The service cannot be reached."));
  }
}

// ---- they are sent

connect({ send: sendSong, show: showSong });

/** The prediction of a song. What only the browser can decode is sent once more, as WAV. */
async function sendSong(song, signal) {
  if (!(await isReadable(song.file))) throw new ApiError("This file cannot be read; it may be a folder.");
  let prediction;
  try {
    prediction = await post(song, signal);
  } catch (error) {
    if (!DECODED_HERE.has(error.code) || !model) throw error;
    const buffer = await decodeForModel(song.file, model);
    if (!buffer || signal.aborted) throw error;
    song.wav = encodeWav(buffer, song.name, model);
    prediction = await post(song, signal);
  }
  if (model && model.version !== prediction.model.version) showModel(); // another one was promoted
  return prediction;
}

function post(song, signal) {
  const fields = { timeline: "true", ...(isComparing() ? { compare: "true" } : {}) };
  const onProgress = (fraction) => {
    showProgress(song, fraction);
    if (song !== selectedSong()) return;
    element("progress").hidden = fraction === 1;
    element("progress").value = fraction;
  };
  return predict(song.wav ?? song.file, fields, { key, onProgress, signal });
}

/** What the prediction of a song depends on, by a request with the same id: feedback on both is one. */
async function explain(song) {
  const requestId = song.prediction.request_id;
  const { explanation } = await predict(song.wav ?? song.file, { explain: "true" }, { key, requestId });
  if (!explanation) throw new ApiError("The model was changed meanwhile. Try again.");
  return explanation;
}

async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function isComparing() {
  return element("compare").checked && Boolean(model?.challenger);
}

element("compare").addEventListener("change", () => {
  const song = selectedSong();
  if (song?.prediction) resend(song);
});

// ---- the selected one is shown

/** Show the selected song; `isNew` where it is another, or is sent again. */
function showSong(song, isNew) {
  if (isNew) {
    open(song);
    element("copy-text").hidden = true;
    element("action-status").textContent = "";
  }
  if (!song) return showError(null);
  element("progress").hidden = song.state !== "sending" || song.progress === 1;
  element("progress").value = song.progress ?? 0;
  update(model);
  if (isNew || song.error) showError(song.error ?? null);
  if (!song.prediction) return;
  const n = finishedSongs().length;
  element("download-label").textContent = n > 1 ? `Download all ${n}` : "Download";
  if (model?.feedback) askFeedback(song.prediction, key);
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

element("retry").addEventListener("click", () => {
  const song = selectedSong();
  if (song?.error) resend(song);
  else showModel();
});
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("api-key").value;
  sessionStorage.setItem("key", key);
  showModel();
  resendRefused();
});

// ---- what can be done with answers

element("clear").addEventListener("click", () => {
  clearSongs();
  element("file").focus();
});
element("copy").addEventListener("click", async () => {
  const command = curlCommand(selectedSong().name, { needsKey: Boolean(key), compare: isComparing() });
  element("action-status").textContent = await copyText(command);
});
element("download-json").addEventListener("click", () => download(toJson(finishedSongs()), "genres.json", "application/json"));
element("download-csv").addEventListener("click", () => download(toCsv(finishedSongs()), "genres.csv", "text/csv"));
element("explain").addEventListener("click", async () => {
  const song = selectedSong();
  if (element("explain").ariaPressed === "true") return showExplanation(null);
  const status = element("action-status");
  element("explain").disabled = true;
  status.textContent = "Leaving out parts of the song, one after the other…";
  let message = "";
  try {
    song.explanation ??= await explain(song);
  } catch (error) {
    message = error.message;
  }
  element("explain").disabled = false;
  if (song !== selectedSong()) return;
  status.textContent = message;
  if (!song.explanation) return;
  showExplanation(song.explanation);
  showSongDuration();
});

// ---- the page itself

async function showModel() {
  try {
    model = await getModel(key);
    const { name, version, genres } = model;
    element("model").textContent = `${name} version ${version} predicts ${genres.length} genres: ${genres.join(", ")}`;
    element("demo").hidden = !(model.data_source ?? "").split("+").includes("sample");
    element("compare-option").hidden = !model.challenger;
    element("compare-label").textContent = `Compare with version ${model.challenger}, the challenger`;
    element("open-card").hidden = !model.card;
    element("report-link").hidden = !model.report;
    element("record").disabled = false;
    element("key-form").hidden = true;
    const song = selectedSong();
    if (song) showSong(song, false);
    showError(song?.error ?? null);
  } catch (error) {
    element("model").textContent = "";
    showError(error);
    if (error.canRetry) setTimeout(showModel, RETRY_MS);
  }
}

element("open-card").addEventListener("click", async () => {
  try {
    element("card-text").replaceChildren(...renderMarkdown(await getCard(key)));
    element("card").showModal();
  } catch (error) {
    showError(error);
  }
});
element("close-card").addEventListener("click", () => element("card").close());
let closed = []; // what is open on paper only
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});

showModel();
