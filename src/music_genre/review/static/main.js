// The page of `music-genre review`: one track at a time, decided by a key.
const element = (id) => document.getElementById(id);
const audio = element("audio");
let queue = { genres: [], items: [], drop: "drop" };
let position = 0;

const percent = (value) => `${Math.round(100 * value)} %`;

function show() {
  const decided = queue.items.filter((item) => item.decision !== null).length;
  element("progress").textContent = `${decided} of ${queue.items.length} decided`;
  element("empty").hidden = queue.items.length > 0;
  element("item").hidden = queue.items.length === 0;
  if (!queue.items.length) return;
  const item = queue.items[position];
  element("title").textContent = `${position + 1}. ${item.title || item.path.split("/").pop()}`;
  element("path").textContent = `${item.path}, track ${item.track_id}`;
  element("belief").textContent = describe(item);
  element("note").textContent = item.note;
  element("decision").textContent = describeDecision(item);
  const source = `/audio/${item.track_id}`;
  if (audio.getAttribute("src") !== source) audio.setAttribute("src", source);
  element("genres").replaceChildren(...[...queue.genres, queue.drop].map((genre, index) => genreButton(item, genre, index)));
}

function describe(item) {
  if (!item.genre) return "It lies under several genres.";
  const label = `Labelled ${item.genre}`;
  const believed = item.self_confidence === null ? "" : `, believed to ${percent(item.self_confidence)}`;
  const suggested = item.suggested ? `; ${item.suggested} to ${percent(item.suggested_confidence)}` : "";
  return `${label}${believed}${suggested}.`;
}

function describeDecision(item) {
  if (item.decision === null) return "Not decided.";
  if (item.decision === queue.drop) return "Decided: drop the track.";
  return item.decision === item.genre ? "Decided: the label is right." : `Decided: ${item.decision}.`;
}

function genreButton(item, genre, index) {
  const button = document.createElement("button");
  const key = genre === queue.drop ? "d" : index < 9 ? String(index + 1) : "";
  button.append(genre === queue.drop ? "Drop" : genre);
  if (key) button.append(" ", Object.assign(document.createElement("kbd"), { textContent: key }));
  button.setAttribute("aria-pressed", String(item.decision === genre));
  button.classList.toggle("suggested", genre === item.suggested);
  button.addEventListener("click", () => decide(genre));
  return button;
}

async function decide(genre) {
  const item = queue.items[position];
  const reason = genre === item.genre ? "label is right, by ear" : "by ear";
  try {
    const response = await fetch(`/decisions/${item.track_id}`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ genre, reason }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    item.decision = answer.decision;
    element("error").hidden = true;
    if (genre !== null && position < queue.items.length - 1) move(1);
    else show();
  } catch (error) {
    element("error").textContent = `Not written: ${error.message}`;
    element("error").hidden = false;
  }
}

function move(step) {
  const playing = !audio.paused;
  position = Math.min(Math.max(position + step, 0), queue.items.length - 1);
  show();
  if (playing) audio.play().catch(() => {});
}

function togglePlay() {
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  " ": togglePlay,
  ArrowRight: () => { audio.currentTime += 5; },
  ArrowLeft: () => { audio.currentTime -= 5; },
  Enter: (item) => item.suggested && decide(item.suggested),
  g: (item) => item.genre && decide(item.genre),
  d: () => decide(queue.drop),
  u: () => decide(null),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !queue.items.length) return;
  // A focused button keeps its own keys, and the player its own.
  if ([" ", "Enter"].includes(event.key) && event.target.closest("button")) return;
  if (event.target === audio && [" ", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const genre = queue.genres[Number(event.key) - 1];
  const action = /^[1-9]$/.test(event.key) && genre ? () => decide(genre) : KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(queue.items[position]);
});
element("next").addEventListener("click", () => move(1));
element("previous").addEventListener("click", () => move(-1));
audio.addEventListener("error", () => {
  element("error").textContent = "The browser cannot play this recording.";
  element("error").hidden = false;
});

const response = await fetch("/queue");
queue = await response.json();
position = Math.max(0, queue.items.findIndex((item) => item.decision === null));
show();
