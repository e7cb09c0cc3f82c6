// Record from the microphone: start, level and elapsed time, stop or discard.

import { ApiError } from "./api.js";
import { formatTime } from "./timeline.js";
import { decodeForModel, encodeWav } from "./wav.js";

const MAX_SECONDS = 600;
const METER_DB = 60; // what the level's scale covers
const LEVEL_SAMPLES = 8192; // more than come between two looks at the level
const MIME_TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const AUDIO = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // they are made for speech

const REASONS = {
  NotAllowedError: "The microphone is not allowed. Allow it for this page in the browser's settings, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone cannot be used. Another program may be using it.",
};

const element = (id) => document.getElementById(id);

let current = null; // {stream, context, recorder, chunks, start, timer}

/** Let the buttons record. `getModel` gives the model's description, `onRecording` gets a WAV file, `onError` errors. */
export function connectRecorder({ getModel, onRecording, onError }) {
  const fail = (error) => {
    discard();
    if (!(error instanceof ApiError)) throw error;
    onError(error);
  };
  element("record").addEventListener("click", () => {
    onError(null);
    start(getModel(), onStop).catch(fail);
  });
  element("record-stop").addEventListener("click", stop);
  element("record-discard").addEventListener("click", discard);
  addEventListener("pagehide", discard);

  function onStop() {
    finish(getModel()).then(onRecording).catch(fail);
  }
}

function stop() {
  if (current?.recorder.state === "recording") current.recorder.stop();
}

async function start(model, onStop) {
  if (current) return;
  if (!navigator.mediaDevices || !globalThis.MediaRecorder) {
    throw new ApiError("This browser lets a page record only where its address begins with https or is localhost.");
  }
  let stream;
  element("record").disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: AUDIO });
  } catch (error) {
    element("record").disabled = false;
    throw new ApiError(REASONS[error.name] ?? "The microphone cannot be used.");
  }
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: LEVEL_SAMPLES });
  context.createMediaStreamSource(stream).connect(analyser);
  const mimeType = MIME_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, { mimeType });
  const chunks = [];
  recorder.ondataavailable = (event) => chunks.push(event.data);
  recorder.onstop = onStop;
  recorder.onerror = onStop;
  recorder.start();
  current = { stream, context, recorder, chunks, start: performance.now() };
  const longest = Math.min(MAX_SECONDS, model.max_duration_seconds);
  current.timer = setInterval(() => showElapsed(analyser, model.min_duration_seconds, longest), 100);
  showElapsed(analyser, model.min_duration_seconds, longest);
  element("recorder").hidden = false;
  element("record-stop").focus();
}

function showElapsed(analyser, shortest, longest) {
  const seconds = (performance.now() - current.start) / 1000;
  const missing = Math.ceil(shortest - seconds);
  element("record-time").textContent = formatTime(seconds);
  const hint = missing > 0 ? `at least ${formatTime(Math.ceil(shortest))} needed` : "";
  if (element("record-hint").textContent !== hint) element("record-hint").textContent = hint;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
  element("record-level").value = Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / METER_DB);
  if (seconds >= longest) stop();
}

/** The recording as WAV, so that its length is known. Throws an ApiError where it is too short. */
async function finish(model) {
  const { recorder, chunks } = current;
  discard();
  const name = `recording ${new Date().toTimeString().slice(0, 8).replaceAll(":", ".")}.wav`;
  const blob = new Blob(chunks, { type: recorder.mimeType });
  const buffer = blob.size ? await decodeForModel(blob, model) : null;
  const [seconds, shortest] = [buffer?.duration ?? 0, model.min_duration_seconds];
  if (seconds < shortest) {
    throw new ApiError(`The recording is too short. (${seconds.toFixed(1)} s; the minimum duration is ${shortest} s)`);
  }
  return encodeWav(buffer, name, model);
}

/** End the recording and let go of the microphone; nothing is sent. */
function discard() {
  element("recorder").hidden = true;
  element("record").disabled = false;
  if (!current) return;
  const { stream, context, recorder, timer } = current;
  current = null;
  clearInterval(timer);
  recorder.onstop = recorder.onerror = null;
  if (recorder.state !== "inactive") recorder.stop();
  for (const track of stream.getTracks()) track.stop();
  context.close();
  element("record").focus();
}
