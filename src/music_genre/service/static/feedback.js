// Whether a prediction was right, told to the service: two buttons, and a choice of genres where it was wrong.

import { ApiError, sendFeedback } from "./api.js";

const RIGHT = "right"; // in place of a genre

const element = (id) => document.getElementById(id);
const form = element("feedback");
const [rightButton, wrongButton] = [element("feedback-right"), element("feedback-wrong")];
const [choice, genreSelect, status] = [element("feedback-choice"), element("feedback-genre"), element("feedback-status")];

let current = null; // {prediction, key}

rightButton.addEventListener("click", () => send(RIGHT));
wrongButton.addEventListener("click", () => {
  showChoice(choice.hidden);
  if (!choice.hidden) genreSelect.focus();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(genreSelect.value);
});

/** Ask whether a prediction is right. */
export function askFeedback(prediction, key) {
  current = { prediction, key };
  const others = Object.keys(prediction.probabilities).filter((genre) => genre !== prediction.genre);
  genreSelect.replaceChildren(new Option("Choose…", ""), ...others.map((genre) => new Option(genre, genre)));
  showChoice(false);
  status.textContent = "";
  form.ariaBusy = "false";
  form.hidden = false;
}

/** Ask nothing. */
export function hideFeedback() {
  current = null;
  form.hidden = true;
  status.textContent = "";
}

function showChoice(visible) {
  choice.hidden = !visible;
  wrongButton.ariaExpanded = String(visible);
}

async function send(genre) {
  if (form.ariaBusy === "true") return;
  const asked = current;
  form.ariaBusy = "true";
  status.textContent = "Sending…";
  let message;
  try {
    const recorded = await sendFeedback(asked.prediction.request_id, genre, asked.key);
    message = `Thank you. Recorded as ${recorded.genre}.`;
    if (asked === current) closeChoice();
  } catch (error) {
    message = error instanceof ApiError ? error.message : "The response of the service is not JSON.";
  }
  if (asked !== current) return; // another song was chosen
  form.ariaBusy = "false";
  status.textContent = message;
}

function closeChoice() {
  if (choice.contains(document.activeElement)) wrongButton.focus();
  showChoice(false);
}
