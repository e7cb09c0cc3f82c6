// Peaks for the waveform and columns of the spectrogram, computed in small steps, so that a long song does not block the
// page.

const SAMPLE_RATE_HZ = 22050;
const N_FFT = 2048;
const N_BANDS = 80;
export const MIN_HZ = 40; // of the spectrogram
export const MAX_HZ = SAMPLE_RATE_HZ / 2;
const WINDOWS_PER_COLUMN = 3;
const DYNAMIC_RANGE_DB = 70;
const STEP_MS = 12;
const COLOUR_MAP = [[13, 8, 32], [66, 15, 109], [148, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

/** Decode a file to an AudioBuffer at a low rate, in a thread of the browser's. */
export async function decodeAudio(file) {
  return new OfflineAudioContext(1, 1, SAMPLE_RATE_HZ).decodeAudioData(await file.arrayBuffer());
}

/** (count,) the largest absolute sample of each of `count` equal sections, over all channels. */
export async function waveformPeaks(buffer, count, isCurrent) {
  const peaks = new Float32Array(count);
  const pause = yieldToEventLoop(isCurrent);
  for (let index = 0; index < count; index++) {
    const end = Math.floor(((index + 1) * buffer.length) / count);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const samples = buffer.getChannelData(channel);
      for (let sample = Math.floor((index * buffer.length) / count); sample < end; sample++) {
        const value = Math.abs(samples[sample]);
        if (value > peaks[index]) peaks[index] = value;
      }
    }
    await pause();
  }
  return peaks;
}

/** Draw the spectrogram over the whole canvas: frequency upwards on a logarithmic scale, power as colour. */
export async function drawSpectrogram(canvas, buffer, isCurrent) {
  const columns = Math.max(1, Math.min(1200, Math.round(canvas.clientWidth * devicePixelRatio)));
  const power = await bandPowers(buffer, columns, isCurrent);
  const decibels = power.map((value) => 10 * Math.log10(value + 1e-12));
  const maximum = decibels.reduce((highest, value) => Math.max(highest, value), -120);
  canvas.width = columns;
  canvas.height = N_BANDS;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, N_BANDS);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < N_BANDS; band++) {
      const level = 1 + (decibels[column * N_BANDS + band] - maximum) / DYNAMIC_RANGE_DB;
      image.data.set(toColour(Math.max(0, level)), 4 * ((N_BANDS - 1 - band) * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
}

/** (columns * N_BANDS) mean power in each band of each column. */
async function bandPowers(buffer, columns, isCurrent) {
  const power = new Float32Array(columns * N_BANDS);
  const edges = Array.from({ length: N_BANDS + 1 }, (_, band) => {
    const hertz = MIN_HZ * (MAX_HZ / MIN_HZ) ** (band / N_BANDS);
    return (hertz * N_FFT) / SAMPLE_RATE_HZ;
  });
  const hann = Float32Array.from({ length: N_FFT }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / N_FFT));
  const pause = yieldToEventLoop(isCurrent);
  for (let column = 0; column < columns; column++) {
    for (let index = 0; index < WINDOWS_PER_COLUMN; index++) {
      const position = (column + (index + 0.5) / WINDOWS_PER_COLUMN) / columns;
      const spectrum = powerSpectrum(windowedSamples(buffer, Math.floor(position * buffer.length) - N_FFT / 2, hann));
      for (let band = 0; band < N_BANDS; band++) {
        const first = Math.floor(edges[band]);
        const last = Math.max(first + 1, Math.floor(edges[band + 1]));
        let sum = 0;
        for (let bin = first; bin < last; bin++) sum += spectrum[bin];
        power[column * N_BANDS + band] += sum / (last - first);
      }
    }
    await pause();
  }
  return power;
}

/** (N_FFT,) samples from `start` on times a window, channels summed, zeros beyond the ends. */
function windowedSamples(buffer, start, hann) {
  const samples = new Float32Array(N_FFT);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const source = buffer.getChannelData(channel);
    for (let n = 0; n < N_FFT; n++) samples[n] += (source[start + n] ?? 0) * hann[n];
  }
  return samples;
}

/** (length / 2 + 1,) power spectrum of a real signal, by a radix-2 FFT in place. */
function powerSpectrum(real) {
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
    for (let k = 0; k < half; k++) {
      const cosine = Math.cos((2 * Math.PI * k) / size);
      const sine = -Math.sin((2 * Math.PI * k) / size);
      for (let even = k; even < length; even += size) {
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

function toColour(level) {
  const position = Math.min(level, 0.9999) * (COLOUR_MAP.length - 1);
  const [from, to] = [COLOUR_MAP[Math.floor(position)], COLOUR_MAP[Math.floor(position) + 1]];
  return [0, 1, 2].map((channel) => from[channel] + (to[channel] - from[channel]) * (position % 1)).concat(255);
}

/** A function that lets the browser handle events every few milliseconds, and throws once the result is not needed. */
function yieldToEventLoop(isCurrent) {
  let start = performance.now();
  return async () => {
    if (performance.now() - start < STEP_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    if (!isCurrent()) throw new DOMException("another song was chosen", "AbortError");
    start = performance.now();
  };
}
