// Requests to the service, and its errors as sentences.

const MESSAGES = {
  undecodable: "This file cannot be decoded.",
  empty: "This file is empty.",
  too_short: "This recording is too short.",
  too_long: "This recording is too long.",
  too_large: "This file is too large.",
  silent: "This recording is silent.",
  unsupported: "The service does not support this.",
  not_found: "The service no longer knows this song.",
  disabled: "The service takes no feedback.",
  invalid: "The service does not understand this.",
  rate_limited: "The service gets too much feedback.",
  unauthorized: "The API key is missing or wrong.",
  busy: "The service is busy.",
  too_slow: "The upload timed out.",
  failed: "The service failed.",
};

/** An error with a message for people; `canRetry` where the same may work later, `needsKey` where a key is needed,
 * `code` where it is one of the API. */
export class ApiError extends Error {
  constructor(message, { canRetry = false, needsKey = false, code = "" } = {}) {
    super(message);
    this.canRetry = canRetry;
    this.needsKey = needsKey;
    this.code = code;
  }
}

/** GET /model: name, version, genres, ... */
export function getModel(key) {
  return requestJson("model", { headers: authorization(key) });
}

/** GET /model/card: Markdown. */
export async function getCard(key) {
  return (await request("model/card", { headers: authorization(key) })).text();
}

/** POST /feedback: the right genre of a song that was predicted; "right": the predicted one. */
export function sendFeedback(requestId, genre, key) {
  const headers = { "Content-Type": "application/json", ...authorization(key) };
  return requestJson("feedback", { method: "POST", headers, body: JSON.stringify({ request_id: requestId, genre }) });
}

async function requestJson(path, options) {
  return (await request(path, options)).json();
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw connectionError();
  }
  if (!response.ok) throw parseError(response.status, await response.text());
  return response;
}

/** POST /predict. `fields` are those of the form beside the file, `onProgress` gets the fraction of the bytes that were
 * sent, and `signal` may abort it. */
export function predict(file, fields, { key, requestId, onProgress = () => {}, signal }) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("audio", file, file.name);
    const request = new XMLHttpRequest(); // fetch has no progress of uploads
    request.open("POST", "predict");
    const headers = { ...authorization(key), ...(requestId ? { "X-Request-Id": requestId } : {}) };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status !== 200) return reject(parseError(request.status, request.responseText));
      try {
        resolve(JSON.parse(request.responseText));
      } catch {
        reject(new ApiError("The response of the service is not JSON.", { canRetry: true }));
      }
    };
    request.onerror = () => reject(connectionError());
    request.onabort = () => reject(new DOMException("another song was chosen", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function authorization(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function connectionError() {
  const offline = "You are offline; the service cannot be reached.";
  const unreachable = "The service cannot be reached. It may have been stopped, or the connection was lost.";
  return new ApiError(navigator.onLine ? unreachable : offline, { canRetry: true });
}

function parseError(status, body) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // A proxy's response, not one of the service.
  }
  const message = MESSAGES[error.code] ?? `The service failed with status ${status}.`;
  const detail = typeof error.message === "string" ? ` (${error.message})` : "";
  const canRetry = status >= 500 || status === 408;
  return new ApiError(message + detail, { canRetry, needsKey: status === 401, code: error.code });
}
