"""From channels to mono: sides that cancel out, surround sound."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.audio.signal import AudioSignal

RATE = 44_100
ALL = 1e6  # seconds: the whole of any file here
STEREO_FORMS = {
    "wav": (".wav", ""),
    "flac": (".flac", "-c:a flac"),
    "ogg": (".ogg", "-c:a libvorbis"),
    "mp3": (".mp3", "-c:a libmp3lame -b:a 192k"),
    "m4a": (".m4a", "-c:a aac -b:a 192k"),
}
stereo_forms = pytest.mark.parametrize(("suffix", "options"), STEREO_FORMS.values(), ids=STEREO_FORMS)

# Left, right, center, LFE, two surrounds, with ITU-R BS.775's weights of a mix to mono.
TONES_HZ = (440.0, 660.0, 1000.0, 60.0, 1500.0, 2300.0)
WEIGHTS = np.array([0.5**0.5, 0.5**0.5, 1.0, 0.0, 0.5, 0.5])
SURROUND_FORMS = {
    "wav": (".wav", ""),
    "wav float": (".wav", "-c:a pcm_f32le"),
    "flac": (".flac", "-c:a flac"),
    "opus": (".opus", "-c:a libopus -mapping_family 1 -b:a 512k"),
    "aac": (".m4a", "-c:a aac -b:a 512k"),
    "ac3": (".ac3", "-c:a ac3 -b:a 640k"),
    "wavpack": (".wv", "-c:a wavpack"),
    "webm": (".webm", "-c:a libopus -mapping_family 1 -b:a 512k"),
}


def codes(recording: AudioSignal) -> list[str]:
    return [note.code for note in recording.notes]


def tones(seconds: float = 2.0, rate: int = 48_000) -> np.ndarray:
    """(samples, 6) float32: another tone in each channel."""
    time = np.arange(int(seconds * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * hz * time) for hz in TONES_HZ], axis=1).astype(np.float32)


def levels(samples: np.ndarray, rate: int = 48_000) -> np.ndarray:
    """(6,) amplitude of each tone, from the second second."""
    part = samples[rate // 2 : rate // 2 + rate]
    spectrum = np.abs(np.fft.rfft(part)) / (rate / 2)
    return spectrum[[int(hz) for hz in TONES_HZ]]


@stereo_forms
@pytest.mark.parametrize("louder", [0, 1])
def test_sides_that_cancel_out_give_the_louder_one(
    encode: Callable[..., bytes],
    music: Callable[..., np.ndarray],
    delay: Callable[..., int],
    suffix: str,
    options: str,
    louder: int,
) -> None:
    mono = music(3.0).mean(axis=1)
    samples = np.stack([mono, -mono], axis=1)
    samples[:, 1 - louder] *= 0.95
    recording = decode(io.BytesIO(encode(samples, RATE, suffix, options)), ALL)
    assert codes(recording) == ["antiphase"]
    expected = samples[:, louder]
    length = min(len(recording.samples), len(expected))
    lag = delay(recording.samples, expected)
    assert lag in (0, 1, -1)
    assert np.corrcoef(recording.samples[:length], expected[:length])[0, 1] > 0.99
    assert recording.samples.std() == pytest.approx(expected.std(), rel=0.05)


@stereo_forms
def test_ordinary_stereo_is_not_taken_for_cancelling_out(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], suffix: str, options: str
) -> None:
    assert codes(decode(io.BytesIO(encode(music(3.0), RATE, suffix, options)), ALL)) == []


@pytest.mark.parametrize(
    ("suffix", "options"), [(".wav", "-c:a pcm_f32le"), (".flac", "-c:a flac"), (".ogg", "-c:a libvorbis")]
)
def test_ordinary_stereo_is_the_mean_to_the_bit(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], suffix: str, options: str
) -> None:
    content = encode(music(3.0), RATE, suffix, options)
    stereo, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    np.testing.assert_array_equal(decode(io.BytesIO(content), ALL).samples, stereo.mean(axis=1))


def test_uncorrelated_sides_are_the_mean(encode: Callable[..., bytes]) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (3 * RATE, 2)).astype(np.float32)
    recording = decode(io.BytesIO(encode(samples, RATE, ".wav", "-c:a pcm_f32le")), ALL)
    assert codes(recording) == []
    np.testing.assert_array_equal(recording.samples, samples.mean(axis=1))


@pytest.mark.parametrize("silent", [0, 1])
def test_one_silent_side_does_not_cancel_the_other(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], silent: int
) -> None:
    samples = music(3.0).copy()
    samples[:, silent] = 0
    recording = decode(io.BytesIO(encode(samples, RATE, ".wav", "-c:a pcm_f32le")), ALL)
    assert codes(recording) == []
    np.testing.assert_array_equal(recording.samples, samples[:, 1 - silent] / 2)


def test_silence_does_not_cancel_out(encode: Callable[..., bytes]) -> None:
    recording = decode(io.BytesIO(encode(np.zeros((2 * RATE, 2)), RATE, ".flac", "-c:a flac")), ALL)
    assert codes(recording) == []
    assert not recording.samples.any()


@pytest.mark.parametrize(("suffix", "options"), SURROUND_FORMS.values(), ids=SURROUND_FORMS)
def test_surround_sound_is_weighted_by_bs_775_without_the_lfe(
    encode: Callable[..., bytes], suffix: str, options: str
) -> None:
    content = encode(tones(), 48_000, suffix, options, layout="5.1")
    recording = decode(io.BytesIO(content), ALL)
    assert codes(recording) == []
    expected = 0.3 * WEIGHTS / WEIGHTS.sum()
    np.testing.assert_allclose(levels(recording.samples), expected, atol=0.03 * expected.max())


def test_six_channels_without_names_are_taken_in_the_usual_order() -> None:
    file = io.BytesIO()
    soundfile.write(file, tones(), 48_000, format="WAV", subtype="FLOAT")
    expected = tones() @ (WEIGHTS / WEIGHTS.sum())
    np.testing.assert_allclose(decode(io.BytesIO(file.getvalue()), ALL).samples, expected, atol=1e-6)


# Of AC-3, the program lets the decoder mix, by weights that the file brings.
@pytest.mark.parametrize("name", sorted(SURROUND_FORMS.keys() - {"ac3"}))
def test_surround_sound_is_what_ffmpeg_mixes_up_to_a_factor(
    encode: Callable[..., bytes],
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
    name: str,
) -> None:
    content = encode(tones(), 48_000, *SURROUND_FORMS[name], layout="5.1")
    samples = decode(io.BytesIO(content), ALL).samples
    mixed = ffmpeg_decode(content, 1, "-ac 1")[:, 0]
    factor = np.dot(mixed, samples[: len(mixed)]) / np.dot(mixed, mixed)
    assert error_of(samples, factor * mixed) < 2e-3  # FFmpeg mixes some forms as 16-bit integers


@pytest.mark.parametrize(("layout", "channels"), [("quad", 4), ("5.0", 5), ("6.1", 7), ("7.1", 8), ("3.0", 3)])
def test_channels_are_known_by_the_names_in_the_file(
    encode: Callable[..., bytes],
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
    layout: str,
    channels: int,
) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (RATE, channels)).astype(np.float32)
    content = encode(samples, RATE, ".wav", "-c:a pcm_f32le", layout=layout)
    mono = decode(io.BytesIO(content), ALL).samples
    mixed = ffmpeg_decode(content, 1, "-ac 1")[:, 0]
    factor = np.dot(mixed, mono) / np.dot(mixed, mixed)
    assert error_of(mono, factor * mixed) < 1e-3


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".m4a", "-c:a aac"),
        (".m4a", "-c:a alac"),
        (".opus", "-c:a libopus -mapping_family 1"),
        (".wv", "-c:a wavpack"),
        (".tta", "-c:a tta"),
        (".oga", "-c:a flac"),
    ],
)
def test_eight_channels_decode_in_every_form(
    encode: Callable[..., bytes],
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
    suffix: str,
    options: str,
) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (48_000, 8)).astype(np.float32)
    content = encode(samples, 48_000, suffix, options, layout="7.1")
    mono = decode(io.BytesIO(content), ALL).samples
    mixed = ffmpeg_decode(content, 1, "-ac 1")[:, 0]
    factor = np.dot(mixed, mono[: len(mixed)]) / np.dot(mixed, mixed)
    assert error_of(mono, factor * mixed) < 2e-3
