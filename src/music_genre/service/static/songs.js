// The songs of this visit: a list with the state and the answer of each, which are sent to the service one at a time.

import { formatPercent } from "./timeline.js";

const MAX_SONGS = 100;

const element = (id) => document.getElementById(id);
const list = element("song-list");

let songs = []; // {file, name, state, progress, controller, prediction, seconds, error, wav, explanation}
let selected = null;
let send = null; // (song) => Promise of its prediction
let show = null; // (song or null): the selected song is another, or it has changed
let running = false;

/** Say how a song is sent, and who shows the selected one. */
export function connect(handlers) {
  ({ send, show } = handlers);
}

/** Add files, select the first of them, and send them when it is their turn. Returns how many there was no space for. */
export function addSongs(files) {
  const added = [...files].slice(0, MAX_SONGS - songs.length);
  if (!added.length) return files.length;
  const from = songs.length;
  songs.push(...added.map((file) => ({ file, name: file.name, state: "waiting" })));
  select(songs[from]);
  sendWaiting();
  return files.length - added.length;
}

/** Send a song again. */
export function resend(song) {
  song.controller?.abort();
  Object.assign(song, { state: "waiting", error: null, prediction: null, explanation: null });
  if (song === selected) show(song, true);
  sendWaiting();
}

/** Send again what failed for want of an API key. */
export function resendRefused() {
  for (const song of songs.filter((song) => song.error?.needsKey)) resend(song);
}

export function selectedSong() {
  return selected;
}

/** Those that have an answer or an error, in the order of the list. */
export function finishedSongs() {
  return songs.filter((song) => song.prediction || song.error);
}

export function clearSongs() {
  for (const song of songs) song.controller?.abort();
  songs = [];
  select(null);
}

function select(song) {
  if (selected === song && song) return;
  selected = song;
  show(song, true);
  render();
}

function remove(song) {
  song.controller?.abort();
  const position = songs.indexOf(song);
  songs = songs.filter((other) => other !== song);
  if (song === selected) select(songs[Math.min(position, songs.length - 1)] ?? null);
  render();
  (list.querySelectorAll(".song")[Math.min(position, songs.length - 1)] ?? element("file")).focus();
}

/** One request at a time: the selected song first, then the others in order. */
async function sendWaiting() {
  render();
  if (running) return;
  running = true;
  for (;;) {
    const waiting = songs.filter((song) => song.state === "waiting");
    const song = waiting.includes(selected) ? selected : waiting[0];
    if (!song) break;
    await sendOne(song);
  }
  running = false;
}

async function sendOne(song) {
  const start = performance.now();
  const controller = (song.controller = new AbortController());
  Object.assign(song, { state: "sending", progress: 0 });
  render();
  if (song === selected) show(song, false);
  try {
    const prediction = await send(song, controller.signal);
    if (controller.signal.aborted) return;
    Object.assign(song, { state: "done", prediction, seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    if (controller.signal.aborted || error.name === "AbortError") return;
    Object.assign(song, { state: "failed", error });
  }
  render();
  if (song === selected) show(song, false);
}

/** Tell the list how far a song's upload is. */
export function showProgress(song, fraction) {
  song.progress = fraction;
  render();
}

// ---- the list

function render() {
  element("songs").hidden = songs.length < 2;
  const finished = finishedSongs().length;
  const failed = songs.filter((song) => song.error).length;
  const text = `${finished} of ${songs.length} done${failed ? `, ${failed} failed` : ""}`;
  if (element("songs-status").textContent !== text) element("songs-status").textContent = text;
  while (list.children.length > songs.length) list.lastChild.remove();
  while (list.children.length < songs.length) list.append(newRow());
  songs.forEach((song, index) => fillRow(list.children[index], song));
}

function newRow() {
  const row = document.createElement("li");
  const [button, removal] = ["song", "remove"].map((name) =>
    Object.assign(document.createElement("button"), { type: "button", className: name }),
  );
  button.append(...["song-name", "song-answer"].map((name) => Object.assign(document.createElement("span"), { className: name })));
  removal.textContent = "×";
  row.append(button, removal);
  return row;
}

function fillRow(row, song) {
  const [button, removal] = row.children;
  const [name, answer] = button.children;
  name.textContent = song.name;
  answer.textContent = describe(song);
  answer.className = `song-answer ${song.state}`;
  button.ariaCurrent = String(song === selected);
  button.onclick = () => select(song);
  removal.ariaLabel = `Remove ${song.name}`;
  removal.onclick = () => remove(song);
}

function describe(song) {
  if (song.error) return song.error.message.split(" (")[0];
  if (song.state === "waiting") return "Waiting";
  if (song.state === "sending") return song.progress < 1 ? `Sending, ${formatPercent(song.progress)}` : "Predicting…";
  const { genre, confidence, confident } = song.prediction;
  return `${genre}, ${formatPercent(confidence)}${confident ? "" : ", low confidence"}`;
}
