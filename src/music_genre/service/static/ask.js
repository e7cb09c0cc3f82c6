// Asking the service, and what its answers mean in words.

const SENTENCES = {
  undecodable: "There is no audio in this file that can be read. Try an mp3, wav, flac or ogg.",
  empty: "This file is empty.",
  too_short: "This recording is too short.",
  too_long: "This recording is too long.",
  too_large: "This file is too large.",
  silent: "There is no sound in this recording.",
  unsupported: "The service cannot use this.",
  unauthorized: "The service wants a key, or another one.",
  busy: "The service is busy.",
  too_slow: "The connection is too slow.",
  failed: "The service failed.",
};

/** What went wrong, as a sentence; `again` where the same may work later, `key` where a key is wanted. */
export class Trouble extends Error {
  constructor(message, { again = false, key = false } = {}) {
    super(message);
    this.again = again;
    this.key = key;
  }
}

/** GET /model: name, version, genres, ... */
export async function askModel(key) {
  let response;
  try {
    response = await fetch("model", { headers: withKey(key) });
  } catch {
    throw gone();
  }
  if (!response.ok) throw refusal(response.status, await response.text());
  return response.json();
}

/** POST /predict with the timeline. `sent` is told the share of the bytes that are on their way. */
export function askAnswer(file, key, sent, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("timeline", "true");
    form.append("audio", file, file.name);
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    request.open("POST", "predict");
    for (const [name, value] of Object.entries(withKey(key))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    request.onload = () => {
      if (request.status !== 200) return reject(refusal(request.status, request.responseText));
      try {
        resolve(JSON.parse(request.responseText));
      } catch {
        reject(new Trouble("The service gave an answer that makes no sense.", { again: true }));
      }
    };
    request.onerror = () => reject(gone());
    request.onabort = () => reject(new DOMException("another song was chosen", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function withKey(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function gone() {
  const offline = "You are offline; the service cannot be reached.";
  const silent = "The service does not answer. It may have been stopped, or the connection was lost.";
  return new Trouble(navigator.onLine ? silent : offline, { again: true });
}

function refusal(status, body) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // Not one of the service's own answers.
  }
  const sentence = SENTENCES[error.code] ?? `The service failed with status ${status}.`;
  const detail = typeof error.message === "string" && error.code !== "undecodable" ? ` (${error.message})` : "";
  const again = status >= 500 || status === 408;
  return new Trouble(sentence + detail, { again, key: status === 401 });
}
