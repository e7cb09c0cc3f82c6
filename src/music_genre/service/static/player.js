// The audio element and its controls: play, seek, cursor, clock and ticks of the time axis.

import { formatTime } from "./timeline.js";

const SKIP_SECONDS = 5;
const N_TICKS = 5;

const element = (id) => document.getElementById(id);
const seek = element("seek");

export const audio = element("audio");

/** Load another file; the controls stay disabled until it can be played. */
export function load(file) {
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(file);
  element("play").disabled = seek.disabled = element("cursor").hidden = true;
  element("ticks").replaceChildren();
  showPlaying();
}

/** Seconds of the file that is loaded next, or null where the browser cannot play it. */
export function loadedDuration() {
  return new Promise((resolve) => {
    audio.addEventListener("loadedmetadata", () => resolve(audio.duration), { once: true });
    audio.addEventListener("error", () => resolve(null), { once: true });
  });
}

/** Call `onPosition` whenever the position changes, and `onDuration` whenever the duration does. */
export function watch({ onPosition, onDuration }) {
  audio.addEventListener("durationchange", onDuration); // again where a player finds that the header was wrong
  for (const type of ["seeked", "timeupdate"]) audio.addEventListener(type, onPosition);
  audio.addEventListener("play", function follow() {
    onPosition();
    if (!audio.paused) requestAnimationFrame(follow);
  });
  seek.addEventListener("input", onPosition);
  seek.addEventListener("keydown", onPosition);
}

/** Show the position on a time axis of `duration` seconds; `description` is for screen readers. */
export function showPosition(duration, description) {
  const position = audio.currentTime;
  element("cursor").style.left = `${duration ? (100 * position) / duration : 0}%`;
  element("clock").textContent = `${formatTime(position)} / ${formatTime(duration)}`;
  if (document.activeElement !== seek || !seek.matches(":active")) seek.value = position;
  seek.setAttribute("aria-valuetext", description);
}

/** Fit the time axis to `duration` seconds. */
export function showDuration(duration) {
  seek.max = duration;
  const times = Array.from({ length: N_TICKS }, (_, n) => (duration * n) / (N_TICKS - 1));
  element("ticks").replaceChildren(
    ...times.map((time) => Object.assign(document.createElement("span"), { textContent: formatTime(time) })),
  );
}

audio.addEventListener("loadedmetadata", () => {
  element("play").disabled = seek.disabled = element("cursor").hidden = false;
});
for (const type of ["play", "pause", "ended"]) audio.addEventListener(type, showPlaying);

element("play").addEventListener("click", toggle);
seek.addEventListener("input", () => goTo(seek.valueAsNumber));
seek.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -6, PageUp: 6 }[event.key];
  if (steps) goTo(audio.currentTime + steps * SKIP_SECONDS);
  else if (event.key === " ") toggle();
  else return;
  event.preventDefault();
});

function toggle() {
  if (audio.paused) audio.play().catch(() => {}); // the element has an error event of its own
  else audio.pause();
}

function goTo(seconds) {
  audio.currentTime = Math.min(Math.max(0, seconds), audio.duration);
}

function showPlaying() {
  element("play").textContent = audio.paused ? "Play" : "Pause";
}
