// Answers taken along: a command line for the same request, and all answers as JSON or CSV.

const element = (id) => document.getElementById(id);

/** A shell command that sends the same request. The API key is never part of it. */
export function curlCommand(name, { needsKey, compare }) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const path = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  const key = needsKey ? ` -H "Authorization: Bearer $MUSIC_GENRE_API_KEY"` : "";
  const more = compare ? " -F compare=true" : "";
  return `curl${key} -F ${quote(`audio=@"${path}"`)} -F timeline=true${more} ${quote(new URL("predict", location.href).href)}`;
}

/** Copy text; where the browser does not let a page, show it to be copied by hand. Returns what to tell. */
export async function copyText(text) {
  const field = element("copy-text");
  field.hidden = true;
  try {
    await navigator.clipboard.writeText(text);
    return "Copied.";
  } catch {
    field.hidden = false;
    field.value = text;
    field.focus();
    field.select();
    return "This browser does not let a page copy: copy the text below.";
  }
}

/** The answers and errors of songs as JSON. */
export function toJson(songs) {
  const rows = songs.map((song) => ({ file: song.name, ...(song.prediction ?? { error: song.error.message }) }));
  return `${JSON.stringify(rows, null, 2)}\n`;
}

/** The answers and errors of songs as a table, with a column for the probability of each genre. */
export function toCsv(songs) {
  const genres = [...new Set(songs.flatMap(({ prediction }) => Object.keys(prediction?.probabilities ?? {})))];
  const fields = ["genre", "confidence", "confident", "duration_seconds"];
  const rows = songs.map(({ name, prediction, error }) => [
    name,
    ...fields.map((field) => prediction?.[field]),
    prediction?.model.version,
    prediction?.request_id,
    error?.message,
    ...genres.map((genre) => prediction?.probabilities[genre]),
  ]);
  const header = ["file", ...fields, "version", "request_id", "error", ...genres];
  return [header, ...rows].map((row) => `${row.map(toCell).join(",")}\r\n`).join("");
}

/** A cell as RFC 4180 has it; text that a spreadsheet would compute gets an apostrophe. */
function toCell(value) {
  const text = String(value ?? "");
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Save text as a file. */
export function download(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
