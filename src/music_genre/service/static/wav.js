// Decode a file by the browser and encode it as WAV, which every service takes.

import { ApiError } from "./api.js";

const MIN_RATE_HZ = 22050;
const HEADER_BYTES = 44;
const FORM_BYTES = 4096; // of a request, beside the file

/** Seconds that the browser's player finds in a file; null where it cannot play it, Infinity where no header says. */
export function mediaSeconds(file) {
  const player = new Audio();
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    player.onloadedmetadata = () => resolve(player.duration);
    player.onerror = () => resolve(null);
    player.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}

/** Decode a file to an AudioBuffer with the sample rate that the model takes; null where the browser cannot.
 *
 * Throws an ApiError where it is longer than the service takes. */
export async function decodeForModel(file, model) {
  const seconds = await mediaSeconds(file);
  if (seconds === null) return null;
  if (Number.isFinite(seconds)) checkLength(seconds, model);
  const rate = Math.max(MIN_RATE_HZ, model.transform?.sample_rate_hz ?? 0);
  try {
    return await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    return null;
  }
}

/** A WAV file, 16 bits, of an AudioBuffer: stereo where the service takes so many bytes, else mono.
 *
 * Throws an ApiError where it is longer than the service takes. */
export function encodeWav(buffer, name, model) {
  checkLength(buffer.duration, model);
  const fits = (channels) => HEADER_BYTES + 2 * channels * buffer.length <= model.max_bytes - FORM_BYTES;
  const channels = buffer.numberOfChannels > 1 && fits(2) ? 2 : 1;
  if (!fits(channels)) throw new ApiError("This recording is too long to be sent as WAV.");
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * channels * buffer.length));
  writeHeader(view, channels, buffer.sampleRate);
  const sources = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  for (let frame = 0, position = HEADER_BYTES; frame < buffer.length; frame++) {
    const values = channels === 2 ? [sources[0][frame], sources[1][frame]] : [mean(sources, frame)];
    for (const value of values) {
      view.setInt16(position, Math.round(32767 * Math.min(1, Math.max(-1, value))), true);
      position += 2;
    }
  }
  return new File([view], name, { type: "audio/wav" });
}

function mean(sources, frame) {
  let sum = 0;
  for (const source of sources) sum += source[frame];
  return sum / sources.length;
}

function writeHeader(view, channels, rate) {
  const text = (position, letters) => [...letters].forEach((c, n) => view.setUint8(position + n, c.charCodeAt(0)));
  const n_bytes = view.byteLength;
  text(0, "RIFF");
  view.setUint32(4, n_bytes - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2 * channels, true);
  view.setUint16(32, 2 * channels, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, n_bytes - HEADER_BYTES, true);
}

function checkLength(seconds, model) {
  const longest = model.max_duration_seconds;
  if (seconds > longest) {
    throw new ApiError(`This recording is too long. (${Math.round(seconds)} s; the maximum duration is ${longest} s)`);
  }
}
