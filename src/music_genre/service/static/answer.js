// The answer about a song: the genre, the likeliest three as bars, the others, the challenger's, and what was noticed.

import { formatPercent, genreColour } from "./timeline.js";

const N_TOP = 3;

const element = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/** Show a line in place of an answer, such as that it is awaited. */
export function showWaiting(text) {
  element("prediction").replaceChildren(make("p", { className: "headline", textContent: text }));
  element("answer").hidden = true;
  for (const id of ["notes", "tags", "conversion"]) element(id).replaceChildren();
}

/** Show the answer of a song, {prediction, seconds, wav}, by a model whose description may not have come yet. */
export function showAnswer({ prediction, seconds, wav }, model) {
  const { genre, confidence, confident, challenger } = prediction;
  const { name, version } = prediction.model;
  const headline = make("p", { className: "headline" }, make("strong", { textContent: genre }), formatPercent(confidence));
  const threshold = model?.version === version ? model.confidence_threshold : 0;
  if (!confident) headline.append(" ", make("span", { className: "tag", textContent: doubt(confidence, threshold) }));
  const source = `Predicted by ${name} version ${version} in ${seconds.toFixed(1)} s.`;
  element("prediction").replaceChildren(headline, make("p", { className: "faint", textContent: source }));

  const colours = new Map(Object.keys(prediction.probabilities).map((own, index) => [own, genreColour(index)]));
  const ranking = rank(prediction.probabilities);
  fill(element("top-genres"), ranking.slice(0, N_TOP), colours);
  fill(element("other-genres"), ranking.slice(N_TOP), colours);
  element("all-genres").hidden = ranking.length <= N_TOP;
  element("all-genres-summary").textContent = `All ${ranking.length} genres`;
  element("challenger").hidden = !challenger;
  if (challenger) {
    element("challenger-name").textContent = `Version ${challenger.version}, the challenger`;
    fill(element("challenger-genres"), rank(challenger.probabilities).slice(0, N_TOP), colours);
  }
  element("answer").hidden = false;

  const tags = (prediction.tags ?? []).map(({ tag, probability }) => `${tag} ${formatPercent(probability)}`);
  element("tags").textContent = tags.length ? `The encoder's own tags: ${tags.join(", ")}.` : "";
  element("notes").textContent = (prediction.notes ?? []).map((note) => note.message).join(" ");
  element("conversion").textContent = wav
    ? "The service cannot decode this file: your browser decoded it and sent it as WAV."
    : "";
}

/** Why a prediction is not confident. */
function doubt(confidence, threshold) {
  if (confidence >= threshold) return "Low confidence"; // a note says why
  const just = formatPercent(threshold) === formatPercent(confidence) ? "just " : "";
  return `Low confidence: ${just}below the threshold of ${formatPercent(threshold)}`;
}

function rank(probabilities) {
  return Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
}

function fill(list, ranking, colours) {
  list.replaceChildren(
    ...ranking.map(([genre, probability]) => genreRow(genre, colours.get(genre), probability)),
  );
}

/** A row of a list of genres: name, a bar as long as its probability, percent. */
export function genreRow(genre, colour, probability = 0) {
  const bar = make("div", { className: "bar" });
  const value = bar.appendChild(make("div"));
  if (colour) value.style.background = colour;
  const row = make("li", {}, make("b", { textContent: genre }), bar, make("span", { className: "percent" }));
  setProbability(row, probability);
  return row;
}

/** Show another probability in a row. */
export function setProbability(row, probability) {
  row.querySelector(".bar div").style.transform = `scaleX(${probability})`;
  row.querySelector(".percent").textContent = formatPercent(probability);
}
