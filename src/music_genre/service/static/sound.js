// What a recording looks like: peaks for the waveform, columns of the spectrogram. Works in small steps, so that a long
// song never holds up the page.

const RATE_HZ = 22050;
const WINDOW = 2048;
const BANDS = 80;
const LOWEST_HZ = 40;
const WINDOWS_A_COLUMN = 3;
const RANGE_DB = 70;
const STEP_MS = 12;
const COLOURS = [[13, 8, 32], [66, 15, 109], [148, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

/** Decode a file to an AudioBuffer at a low rate; the browser does it beside the page. */
export async function decode(file) {
  return new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(await file.arrayBuffer());
}

/** (count,) largest absolute sample of each part, of all channels. */
export async function peaksOf(buffer, count, isCurrent) {
  const peaks = new Float32Array(count);
  const pause = pauser(isCurrent);
  for (let part = 0; part < count; part++) {
    const end = Math.floor(((part + 1) * buffer.length) / count);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const samples = buffer.getChannelData(channel);
      for (let at = Math.floor((part * buffer.length) / count); at < end; at++) {
        const value = Math.abs(samples[at]);
        if (value > peaks[part]) peaks[part] = value;
      }
    }
    await pause();
  }
  return peaks;
}

/** Draw the spectrogram over the whole canvas: pitch upwards on a logarithmic scale, loudness as colour. */
export async function drawSpectrogram(canvas, buffer, isCurrent) {
  const columns = Math.max(1, Math.min(1200, Math.round(canvas.clientWidth * devicePixelRatio)));
  const power = await columnsOf(buffer, columns, isCurrent);
  const decibels = power.map((value) => 10 * Math.log10(value + 1e-12));
  const loudest = decibels.reduce((most, value) => Math.max(most, value), -120);
  canvas.width = columns;
  canvas.height = BANDS;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, BANDS);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < BANDS; band++) {
      const level = 1 + (decibels[column * BANDS + band] - loudest) / RANGE_DB;
      image.data.set(colour(Math.max(0, level)), 4 * ((BANDS - 1 - band) * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
}

/** (columns * BANDS) mean power in each band of each column. */
async function columnsOf(buffer, columns, isCurrent) {
  const power = new Float32Array(columns * BANDS);
  const edges = Array.from({ length: BANDS + 1 }, (_, band) => {
    const hertz = LOWEST_HZ * (RATE_HZ / 2 / LOWEST_HZ) ** (band / BANDS);
    return (hertz * WINDOW) / RATE_HZ;
  });
  const taper = Float32Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
  const pause = pauser(isCurrent);
  for (let column = 0; column < columns; column++) {
    for (let turn = 0; turn < WINDOWS_A_COLUMN; turn++) {
      const share = (column + (turn + 0.5) / WINDOWS_A_COLUMN) / columns;
      const spectrum = powerSpectrum(windowAt(buffer, Math.floor(share * buffer.length) - WINDOW / 2, taper));
      for (let band = 0; band < BANDS; band++) {
        const first = Math.floor(edges[band]);
        const last = Math.max(first + 1, Math.floor(edges[band + 1]));
        let sum = 0;
        for (let bin = first; bin < last; bin++) sum += spectrum[bin];
        power[column * BANDS + band] += sum / (last - first);
      }
    }
    await pause();
  }
  return power;
}

/** (WINDOW,) tapered samples from `start` on, channels summed, nothing beyond the ends. */
function windowAt(buffer, start, taper) {
  const samples = new Float32Array(WINDOW);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const source = buffer.getChannelData(channel);
    for (let n = 0; n < WINDOW; n++) samples[n] += (source[start + n] ?? 0) * taper[n];
  }
  return samples;
}

/** (length / 2 + 1,) power of a real signal: a radix-2 transform in place. */
export function powerSpectrum(real) {
  const length = real.length;
  const imaginary = new Float32Array(length);
  for (let n = 1, reversed = 0; n < length; n++) {
    let bit = length >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed |= bit;
    if (n < reversed) [real[n], real[reversed]] = [real[reversed], real[n]];
  }
  for (let size = 2; size <= length; size *= 2) {
    const half = size / 2;
    for (let turn = 0; turn < half; turn++) {
      const cosine = Math.cos((2 * Math.PI * turn) / size);
      const sine = -Math.sin((2 * Math.PI * turn) / size);
      for (let even = turn; even < length; even += size) {
        const odd = even + half;
        const re = real[odd] * cosine - imaginary[odd] * sine;
        const im = real[odd] * sine + imaginary[odd] * cosine;
        real[odd] = real[even] - re;
        imaginary[odd] = imaginary[even] - im;
        real[even] += re;
        imaginary[even] += im;
      }
    }
  }
  return Float32Array.from({ length: length / 2 + 1 }, (_, n) => real[n] ** 2 + imaginary[n] ** 2);
}

function colour(level) {
  const place = Math.min(level, 0.9999) * (COLOURS.length - 1);
  const [from, to] = [COLOURS[Math.floor(place)], COLOURS[Math.floor(place) + 1]];
  return [0, 1, 2].map((part) => from[part] + (to[part] - from[part]) * (place % 1)).concat(255);
}

/** A function that gives the page its turn every few milliseconds, and stops work that nobody waits for any more. */
function pauser(isCurrent) {
  let begun = performance.now();
  return async () => {
    if (performance.now() - begun < STEP_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    if (!isCurrent()) throw new DOMException("another song was chosen", "AbortError");
    begun = performance.now();
  };
}
