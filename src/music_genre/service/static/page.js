// The page: one song at a time, its sound and its answer side by side.

import { askAnswer, askModel, Trouble } from "./ask.js";
import { decode, drawSpectrogram, peaksOf } from "./sound.js";
import { clock, colourOf, drawAreas, fillTable, isCut, percent, sharesAt } from "./timeline.js";
import WaveSurfer from "./vendor/wavesurfer/wavesurfer.esm.js";

const DRAWN_SECONDS = 1800; // longer recordings are not decoded here: their samples would fill the memory
const WAVE_POINTS = 1500;
const SKIP_SECONDS = 5;
const TICKS = 5;
const RETRY_MS = 2000; // a service that is starting is asked again

const element = (id) => document.getElementById(id);
const audio = element("audio");
const seek = element("seek");
const styleNonce = document.querySelector("link[rel=stylesheet]").nonce;

let song = null; // {file, controller, answer, buffer, wave}
let key = sessionStorage.getItem("key") ?? "";

// ---- choosing

element("file").addEventListener("change", (event) => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => openSample(button.dataset.sample));
}
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragover");
  });
}
addEventListener("drop", (event) => {
  const file = event.dataTransfer.files[0];
  if (file) open(file);
  else tell(new Trouble("That was no file. Drop a song from your computer."));
});
element("again").addEventListener("click", () => (song ? open(song.file) : introduce()));
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("key").value;
  sessionStorage.setItem("key", key);
  introduce();
  if (song) open(song.file);
});

async function openSample(name) {
  try {
    const response = await fetch(`page/samples/${name}`);
    if (!response.ok) throw new Trouble("The sample clip is not there.");
    open(new File([await response.blob()], name, { type: "audio/ogg" }));
  } catch (error) {
    tell(error instanceof Trouble ? error : new Trouble("The service does not answer. It may have been stopped."));
  }
}

/** Take a song: hear it, draw it, ask for its answer; all three at once, none waits for another. */
function open(file) {
  song?.controller.abort();
  song?.wave?.destroy();
  if (audio.src) URL.revokeObjectURL(audio.src);
  const mine = (song = { file, controller: new AbortController() });
  audio.src = URL.createObjectURL(file);
  clear(file.name);
  answerSong(mine).catch((error) => report(mine, error));
  drawSong(mine).catch((error) => report(mine, error));
}

function clear(name) {
  tell(null);
  element("song").hidden = false;
  element("title").textContent = name;
  element("answer").replaceChildren();
  element("cut").replaceChildren();
  element("genres").replaceChildren();
  element("now").hidden = element("details").hidden = true;
  element("play").disabled = seek.disabled = element("cursor").hidden = true;
  element("player").hidden = false;
  element("ticks").replaceChildren();
  element("stage").ariaBusy = "true";
  for (const canvas of document.querySelectorAll("canvas")) canvas.width = 1;
  showPlaying();
  showMoment();
}

function report(mine, error) {
  if (error.name === "AbortError" || mine !== song) return;
  if (!(error instanceof Trouble)) throw error;
  element("progress").hidden = true;
  element("answer").replaceChildren();
  element("player").hidden = audio.error !== null;
  tell(error);
}

/** Say what went wrong, or, with null, that nothing is wrong any more. */
function tell(trouble) {
  element("trouble").hidden = !trouble;
  element("error").textContent = trouble?.message ?? "";
  element("again").hidden = !trouble?.again;
  if (trouble?.key) {
    element("key-form").hidden = false;
    element("key").focus();
  }
}

// ---- the answer

async function answerSong(mine) {
  const begun = performance.now();
  say("Listening…");
  const progress = element("progress");
  progress.hidden = false;
  progress.value = 0;
  const sent = (share) => {
    progress.value = share;
    progress.hidden = share === 1;
  };
  mine.answer = await askAnswer(mine.file, key, sent, mine.controller.signal);
  if (mine !== song) return;
  progress.hidden = true;
  showAnswer(mine.answer, (performance.now() - begun) / 1000);
  showLength();
}

function say(headline, ...more) {
  const strong = document.createElement("strong");
  strong.textContent = headline;
  const rest = document.createElement("span");
  rest.textContent = more.join(" ");
  element("answer").replaceChildren(strong, rest);
}

function showAnswer(answer, seconds) {
  const ranked = Object.entries(answer.probabilities).sort((one, other) => other[1] - one[1]);
  const next = ranked.slice(1, 3).map(([genre, share]) => `${genre} ${percent(share)}`).join(", ");
  const { name, version } = answer.model;
  const by = `Answered by ${name} version ${version} in ${seconds.toFixed(1)} s.`;
  if (answer.confident) say(`${answer.genre}, ${percent(answer.confidence)}`, `Then ${next}.`, by);
  else say("Not sure", `Most like ${answer.genre}, ${percent(answer.confidence)}; then ${next}.`, by);
  fillTable(element("table"), answer);
  element("now").hidden = element("details").hidden = false;
  element("genres").replaceChildren(...Object.keys(answer.probabilities).map(genreRow));
}

function genreRow(genre, index) {
  const [row, swatch, name, bar, output] = ["li", "i", "b", "div", "output"].map((kind) => document.createElement(kind));
  const fill = bar.appendChild(document.createElement("div"));
  bar.className = "bar";
  swatch.style.background = fill.style.background = colourOf(index);
  name.textContent = genre;
  output.setAttribute("aria-live", "off");
  row.append(swatch, name, bar, output);
  return row;
}

// ---- the sound

async function drawSong(mine) {
  const isCurrent = () => mine === song;
  const seconds = await lengthOf(audio);
  if (!isCurrent() || seconds === null || seconds > DRAWN_SECONDS) return;
  let buffer;
  try {
    buffer = await decode(mine.file);
  } catch {
    return; // The browser plays it but cannot take it apart: the answer stands without pictures.
  }
  const peaks = await peaksOf(buffer, WAVE_POINTS, isCurrent);
  const colours = getComputedStyle(document.documentElement);
  mine.wave = WaveSurfer.create({
    container: element("waveform"),
    media: audio,
    peaks: [peaks],
    duration: seconds,
    height: element("waveform").clientHeight,
    waveColor: colours.getPropertyValue("--wave"),
    progressColor: colours.getPropertyValue("--accent"),
    cursorWidth: 0,
    interact: false,
    normalize: true,
    cspNonce: styleNonce,
  });
  await drawSpectrogram(element("spectrogram"), buffer, isCurrent);
  element("stage").ariaBusy = "false";
}

/** Seconds of a media element's song, or null where the browser cannot play it. */
function lengthOf(media) {
  return new Promise((resolve) => {
    media.addEventListener("loadedmetadata", () => resolve(media.duration), { once: true });
    media.addEventListener("error", () => resolve(null), { once: true });
  });
}

audio.addEventListener("loadedmetadata", () => {
  element("play").disabled = seek.disabled = element("cursor").hidden = false;
});
audio.addEventListener("durationchange", showLength); // again when a player finds that the header was wrong
audio.addEventListener("error", () => {
  element("title").textContent = `${song.file.name}: this browser cannot play it`;
  if (!element("trouble").hidden) element("player").hidden = true;
});
for (const kind of ["play", "pause", "ended"]) audio.addEventListener(kind, showPlaying);
for (const kind of ["seeked", "timeupdate"]) audio.addEventListener(kind, showMoment);
audio.addEventListener("play", function follow() {
  showMoment();
  if (!audio.paused) requestAnimationFrame(follow);
});

element("play").addEventListener("click", toggle);
seek.addEventListener("input", () => goTo(seek.valueAsNumber));
seek.addEventListener("keydown", (event) => {
  const skip = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -6, PageUp: 6 }[event.key];
  if (skip) goTo(audio.currentTime + skip * SKIP_SECONDS);
  else if (event.key === " ") toggle();
  else return;
  event.preventDefault();
});

function toggle() {
  if (audio.paused) audio.play().catch(() => {}); // told by the element's own error event
  else audio.pause();
}

function goTo(seconds) {
  audio.currentTime = Math.min(Math.max(0, seconds), audio.duration);
  showMoment();
}

function showPlaying() {
  element("play").textContent = audio.paused ? "Play" : "Pause";
}

/** All that depends on the length of the song, which may become known before its answer or after it. */
function showLength() {
  const seconds = lengthOfSong();
  if (!seconds) return;
  seek.max = seconds;
  const times = Array.from({ length: TICKS }, (_, n) => (seconds * n) / (TICKS - 1));
  element("ticks").replaceChildren(
    ...times.map((time) => Object.assign(document.createElement("span"), { textContent: clock(time) })),
  );
  showMoment();
  const answer = song?.answer;
  if (!answer) return;
  drawAreas(element("areas"), answer, seconds);
  const cut = isCut(answer, seconds);
  element("cut").textContent = cut ? `Its file lets only the first ${clock(answer.seconds)} be heard.` : "";
}

/** Seconds: what the browser finds, or what was answered where it cannot play the song. */
function lengthOfSong() {
  return Number.isFinite(audio.duration) ? audio.duration : (song?.answer?.seconds ?? 0);
}

/** Cursor, clock and shares of the moment that is heard. */
function showMoment() {
  const length = lengthOfSong();
  const moment = audio.currentTime;
  element("cursor").style.left = `${length ? (100 * moment) / length : 0}%`;
  element("clock").textContent = `${clock(moment)} / ${clock(length)}`;
  if (document.activeElement !== seek || !seek.matches(":active")) seek.value = moment;
  const answer = song?.answer;
  const spoken = `${clock(moment)} of ${clock(length)}`;
  const unheard = Boolean(answer) && isCut(answer, moment);
  element("genres").hidden = unheard;
  if (unheard) element("now").textContent = `Not heard at ${clock(moment)}`;
  if (!answer || unheard) return seek.setAttribute("aria-valuetext", spoken);
  const shares = sharesAt(answer, moment);
  const most = Object.keys(shares).reduce((one, other) => (shares[other] > shares[one] ? other : one));
  seek.setAttribute("aria-valuetext", `${spoken}, ${most} ${percent(shares[most])}`);
  element("now").textContent = `Genres at ${clock(moment)}`;
  Object.values(shares).forEach((share, index) => {
    const row = element("genres").children[index];
    row.querySelector(".bar div").style.transform = `scaleX(${share})`;
    row.querySelector("output").textContent = percent(share);
    row.classList.toggle("most", row.querySelector("b").textContent === most);
  });
}

// ---- the page itself

async function introduce() {
  try {
    const { name, version, genres } = await askModel(key);
    element("model").textContent = `${name} version ${version} knows ${genres.length} genres: ${genres.join(", ")}`;
    element("key-form").hidden = true;
    tell(null);
  } catch (error) {
    element("model").textContent = "";
    tell(error);
    if (error.again) setTimeout(introduce, RETRY_MS);
  }
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  showLength();
});

introduce();
