"""Damaged and cut files: what can be decoded is decoded, and said to be a part."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from music_genre.audio.decoding import decode
from music_genre.audio.ffmpeg import FfmpegReader
from music_genre.audio.info import inspect_recording
from music_genre.audio.kinds import MP4
from music_genre.audio.signal import AudioSignal
from music_genre.errors import AudioError

SECONDS = 20.0  # some containers lose 5 s with any damage
ALL = 1e6  # seconds: the whole of any file here
FORMS = {
    "mp3": (".mp3", "-c:a libmp3lame", 44_100),
    "mp3 vbr": (".mp3", "-c:a libmp3lame -q:a 4", 44_100),
    "mp3 bare": (".mp3", "-c:a libmp3lame -q:a 4 -write_xing 0", 44_100),
    "flac": (".flac", "-c:a flac", 44_100),
    "ogg": (".ogg", "-c:a libvorbis", 44_100),
    "opus": (".opus", "-c:a libopus", 48_000),
    "ogg flac": (".oga", "-c:a flac", 44_100),
    "m4a": (".m4a", "-c:a aac -movflags faststart", 44_100),
    "m4a alac": (".m4a", "-c:a alac -movflags faststart", 44_100),
    "webm": (".webm", "-c:a libopus", 48_000),
    "mka": (".mka", "-c:a libvorbis", 44_100),
    "wma": (".wma", "-c:a wmav2 -b:a 128k", 44_100),
    "wavpack": (".wv", "-c:a wavpack", 44_100),
    "tta": (".tta", "-c:a tta", 44_100),
    "aac": (".aac", "-c:a aac", 44_100),
    "ac3": (".ac3", "-c:a ac3", 44_100),
}
WITH_STATED_LENGTH = ("mp3", "mp3 vbr", "flac", "m4a", "m4a alac", "webm", "mka", "wma", "wavpack", "tta")


@pytest.fixture(scope="module", params=FORMS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def content(name: str, music: Callable[..., np.ndarray], encode: Callable[..., bytes]) -> bytes:
    suffix, options, rate = FORMS[name]
    return encode(music(SECONDS, rate), rate, suffix, options)


@pytest.fixture(scope="module")
def whole(content: bytes) -> AudioSignal:
    return decode(io.BytesIO(content), ALL)


def damage(content: bytes, size: int, filling: str, seed: int) -> io.BytesIO:
    """A file with bytes somewhere in its middle overwritten."""
    rng = np.random.default_rng(seed)
    start = int(rng.uniform(0.3, 0.6) * len(content))
    damaged = bytes(size) if filling == "zeros" else rng.bytes(size)
    return io.BytesIO(content[:start] + damaged + content[start + size :])


def check_damaged(content: bytes, whole: AudioSignal, size: int, filling: str, seed: int) -> None:
    info, recording = inspect_recording(damage(content, size, filling, seed), ALL, ALL)
    assert "damaged" in [note.code for note in info.notes]
    assert "truncated" not in [note.code for note in info.notes]
    assert 0.6 * whole.duration_s <= info.duration_s <= whole.duration_s + 0.1
    assert np.abs(recording.samples).max() <= 10
    # What is before the damage and what is after it are the music: at the end, by whole frames earlier.
    start = whole.sample_rate_hz * 2
    assert np.corrcoef(recording.samples[:start], whole.samples[:start])[0, 1] > 0.99
    n_last = whole.sample_rate_hz * 4
    assert shifted_correlation(recording.samples[-n_last:], whole.samples[-n_last:]) > 0.9


def shifted_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The largest correlation of two signals of one length, over all shifts."""
    spectrum = np.fft.rfft(first, 2 * len(first)) * np.conj(np.fft.rfft(second, 2 * len(first)))
    return float(np.fft.irfft(spectrum).max() / np.linalg.norm(first) / np.linalg.norm(second))


def test_what_is_around_damage_is_decoded(content: bytes, whole: AudioSignal) -> None:
    check_damaged(content, whole, 20_000, "random", seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("filling", ["zeros", "random"])
def test_what_is_around_damage_at_many_places_is_decoded(
    content: bytes, whole: AudioSignal, name: str, filling: str, seed: int
) -> None:
    check_damaged(content, whole, 20_000, filling, seed)
    if name not in ("webm", "mka"):  # of which 5 s are lost at each end of the damage
        check_damaged(content, whole, 50_000, filling, seed)


def test_half_of_a_file_is_truncated_where_its_length_is_stated(content: bytes, whole: AudioSignal, name: str) -> None:
    info, _ = inspect_recording(io.BytesIO(content[: len(content) // 2]), ALL)
    assert whole.notes == ()
    assert 0.4 * SECONDS < info.duration_s < 0.6 * SECONDS
    assert [note.code for note in info.notes] == (["truncated"] if name in WITH_STATED_LENGTH else [])


def test_cut_wav_is_truncated(music: Callable[..., np.ndarray], encode: Callable[..., bytes]) -> None:
    content = encode(music(4.0), 44_100, ".wav")
    recording = decode(io.BytesIO(content[: len(content) // 2]), ALL)
    assert recording.duration_s == pytest.approx(2.0, abs=0.01)
    assert [(note.code, note.message) for note in recording.notes] == [("truncated", "2.0 s, its header says 4.0 s")]


@pytest.mark.parametrize("suffix", [".m4a", ".caf"])
def test_file_cut_before_its_index_is_refused_with_what_to_do(
    music: Callable[..., np.ndarray], encode: Callable[..., bytes], suffix: str
) -> None:
    content = encode(music(4.0), 44_100, suffix, "-c:a alac")
    with pytest.raises(AudioError, match=r"^undecodable: .*incomplete or damaged.*fetch or export it again$"):
        decode(io.BytesIO(content[: len(content) // 2]), ALL)


def test_loud_noise_of_damage_is_invalid(music: Callable[..., np.ndarray], encode: Callable[..., bytes]) -> None:
    # AAC decoders make samples of thousands of full scales of some damage, beside which music would be silence.
    content = encode(music(SECONDS), 44_100, ".m4a", "-c:a aac -movflags faststart")
    damaged = next(file for seed in (87, *range(400)) if loudest(file := damage(content, 50_000, "random", seed)) > 10)
    info, recording = inspect_recording(damaged, ALL, ALL)
    assert np.abs(recording.samples).max() <= 10
    assert [note.code for note in info.notes] == ["damaged", "not_finite"]
    assert 0 < info.invalid_fraction < 0.01


def loudest(file: io.BytesIO) -> float:
    return max(float(np.abs(samples).max()) for samples, _ in FfmpegReader(file, MP4, 0).blocks())


def test_aac_is_heard_after_damage_that_silences_its_decoder(
    music: Callable[..., np.ndarray], encode: Callable[..., bytes], ffmpeg_decode: Callable[..., np.ndarray]
) -> None:
    content = encode(music(SECONDS), 44_100, ".m4a", "-c:a aac -movflags faststart")
    last = slice(-4 * 44_100, None)
    for seed in (10, *range(50)):
        damaged = damage(content, 50_000, "random", seed)
        if not ffmpeg_decode(damaged.getvalue(), 2)[last].any():
            break
    else:
        pytest.fail("no damage silences FFmpeg's decoder")
    expected = decode(io.BytesIO(content), ALL).samples[last]
    assert shifted_correlation(decode(damaged, ALL).samples[last], expected) > 0.9
