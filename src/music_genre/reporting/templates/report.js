"use strict";
// Answers to pointers and keys in the run report: sounds, learning curves, confusion matrices and maps.
const data = JSON.parse(document.getElementById("report-data").textContent);
const player = new Audio();
let playing = null; // position of the clip that sounds

function play(position) {
  const clip = data.clips[position];
  if (!clip.sound) return;
  playing = position;
  player.src = clip.sound;
  player.play().catch(() => stop()); // browsers refuse sound before the first click on a page
  markButtons();
}

function stop() {
  player.pause();
  playing = null;
  markButtons();
}

function markButtons() {
  for (const button of document.querySelectorAll(".play")) {
    const here = Number(button.dataset.clip) === playing;
    button.classList.toggle("playing", here);
    button.setAttribute("aria-label", `${here ? "Stop" : "Play"} ${data.clips[button.dataset.clip].title}`);
  }
}

player.addEventListener("ended", stop);
document.addEventListener("click", (event) => {
  const button = event.target.closest(".play");
  if (button) Number(button.dataset.clip) === playing ? stop() : play(Number(button.dataset.clip));
});

for (const figure of document.querySelectorAll(".curves")) {
  const history = data.histories[figure.dataset.model];
  const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor"), output = figure.querySelector("output");
  const left = Number(figure.dataset.left), right = Number(figure.dataset.right), measure = figure.dataset.measure;
  const last = history.epoch.length - 1;
  let shown = -1;
  const show = (index) => {
    shown = Math.max(0, Math.min(last, index));
    const x = left + (shown / last) * (right - left);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
    cursor.setAttribute("visibility", "visible");
    const text = (value) => (value === null ? "unknown" : value.toFixed(3));
    output.textContent = `Epoch ${history.epoch[shown]}: ${measure} ${text(history[measure][shown])} on training, `
      + `${text(history["val_" + measure][shown])} on validation.`;
  };
  svg.addEventListener("pointermove", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(Math.round(((point.x - left) / (right - left)) * last));
  });
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowRight: shown + 1, ArrowLeft: shown - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

for (const matrix of document.querySelectorAll(".matrix")) {
  const list = matrix.querySelector(".clips"), cells = data.cells[matrix.dataset.model];
  matrix.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (!cell) return;
    const opens = cell.getAttribute("aria-pressed") === "false";
    for (const other of matrix.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
    list.replaceChildren();
    if (!opens) return;
    cell.setAttribute("aria-pressed", "true");
    const clips = cells[cell.dataset.cell], heading = document.createElement("p"), items = document.createElement("ul");
    const rest = Number(cell.textContent) - clips.length;
    heading.textContent = cell.getAttribute("aria-label") + (rest > 0 ? `; the ${clips.length} most confident:` : ":");
    items.append(...clips.map(listItem));
    list.append(heading, items);
  });
}

function listItem(position) {
  const clip = data.clips[position], item = document.createElement("li"), text = document.createElement("span");
  text.textContent = `${clip.title} (track ${clip.id})`;
  if (clip.sound) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "play" });
    button.dataset.clip = position;
    button.setAttribute("aria-label", `Play ${clip.title}`);
    item.append(button);
  }
  item.append(text);
  return item;
}

for (const figure of document.querySelectorAll(".map")) {
  const points = data.maps[figure.dataset.model], svg = figure.querySelector(".points"), output = figure.querySelector("output");
  const marks = [...svg.querySelectorAll("[data-point]")];
  let current = -1;
  const show = (index) => {
    if (current >= 0) marks[current].classList.remove("current");
    current = index;
    const clip = data.clips[points[index].clip], predicted = points[index].predicted;
    marks[index].classList.add("current");
    output.textContent = `${clip.title}: ${clip.genre}, predicted ${predicted}${clip.sound ? "" : ", no sound in this file"}`;
  };
  const position = (event) => (event.target.dataset.point === undefined ? -1 : Number(event.target.dataset.point));
  svg.addEventListener("pointerover", (event) => {
    const index = position(event);
    if (index < 0) return;
    show(index);
    if (figure.querySelector(".hover").checked) play(points[index].clip);
  });
  svg.addEventListener("click", (event) => {
    const index = position(event);
    if (index < 0) return;
    show(index);
    points[index].clip === playing ? stop() : play(points[index].clip);
  });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (current >= 0) points[current].clip === playing ? stop() : play(points[current].clip);
      return;
    }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const shown = marks.flatMap((mark, index) => (mark.classList.contains("hidden") ? [] : [index]));
    if (!shown.length) return;
    show(shown.at((shown.indexOf(current) + step + (current < 0 && step < 0 ? 1 : 0)) % shown.length));
  });
  figure.querySelector("select").addEventListener("change", (event) => {
    marks.forEach((mark, index) => mark.setAttribute("transform", `translate(${points[index].at[event.target.value].join(" ")})`));
  });
  figure.querySelector(".legend").addEventListener("click", (event) => {
    const button = event.target.closest("[data-genre]");
    if (!button) return;
    const shows = button.getAttribute("aria-pressed") === "false", genre = data.genres[button.dataset.genre];
    button.setAttribute("aria-pressed", String(shows));
    marks.forEach((mark, index) => {
      if (data.clips[points[index].clip].genre === genre) mark.classList.toggle("hidden", !shows);
    });
  });
}

// What is folded is printed, too, and opens for a link into it.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
