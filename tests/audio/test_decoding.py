"""Decoding files of every kind: whole, broken and hostile."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import MonoReader, decode, decode_all
from music_genre.audio.header import BLOCK_DURATION_S
from music_genre.audio.info import AudioInfo, inspect_recording
from music_genre.audio.signal import SILENCE_PEAK, AudioSignal, peak
from music_genre.errors import AudioError, IssueReason

RATE = 44_100
ALL = 1e6  # seconds: the whole of any file here


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32, root mean square 0.1."""
    shape = (int(seconds * rate), channels)
    return np.random.default_rng(5).normal(0, 0.1, shape).astype(np.float32)


def chord(seconds: float, rate: int) -> np.ndarray:
    """(samples, 2) float32: another tone on each side, which lossy codecs keep."""
    time = np.arange(int(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 997 * time)], axis=1).astype("f4")


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    form = {".opus": "OGG", ".ogg": "OGG"}.get(path.suffix)
    soundfile.write(path, samples, rate, format=form, subtype="OPUS" if path.suffix == ".opus" else subtype)
    return path


def describe(source: Path | io.BytesIO, max_seconds: float = ALL) -> AudioInfo:
    return inspect_recording(source, max_seconds)[0]


def notes(info: AudioInfo) -> list[str]:
    return [note.code for note in info.notes]


def cut(path: Path, fraction: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".flac", ".ogg", ".opus", ".aiff", ".au"])
def test_every_format_decodes_to_the_encoded_music(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else RATE
    music = chord(3.0, rate)
    recording = decode(write(tmp_path / f"clip{suffix}", music, rate), ALL)
    assert recording.sample_rate_hz == rate
    assert recording.samples.dtype == np.float32
    assert recording.duration_s == pytest.approx(3.0, abs=0.05)
    same = min(len(recording.samples), len(music))
    assert np.corrcoef(recording.samples[:same], music.mean(axis=1)[:same])[0, 1] > 0.99


@pytest.mark.parametrize("channels", [1, 2])
def test_downmix_is_the_mean_of_channels(tmp_path: Path, channels: int) -> None:
    samples = noise(0.5, channels=channels)
    recording = decode(write(tmp_path / "clip.wav", samples, subtype="FLOAT"), ALL)
    np.testing.assert_array_equal(recording.samples, samples.mean(axis=1))


def test_blocks_join_exactly(tmp_path: Path) -> None:
    samples = noise(2.5 * BLOCK_DURATION_S, rate=8000)
    recording = decode(write(tmp_path / "clip.wav", samples, 8000, "FLOAT"), ALL)
    np.testing.assert_array_equal(recording.samples, samples[:, 0])


@pytest.mark.parametrize("seconds", [0.5, 1.0, BLOCK_DURATION_S + 0.5])
def test_decoding_stops_at_max_seconds(tmp_path: Path, seconds: float) -> None:
    samples = noise(2 * BLOCK_DURATION_S, rate=8000)
    recording = decode(write(tmp_path / "clip.wav", samples, 8000, "FLOAT"), seconds)
    np.testing.assert_array_equal(recording.samples, samples[: int(seconds * 8000), 0])


def test_audio_after_max_seconds_is_not_read(tmp_path: Path) -> None:
    path = cut(write(tmp_path / "clip.flac", noise(8.0)), 0.5)
    assert decode(path, 2.0).duration_s == 2.0
    whole = decode(path, ALL)
    assert whole.duration_s == pytest.approx(4.0, abs=0.2)
    assert [(note.code, note.message) for note in whole.notes] == [
        ("truncated", f"{whole.duration_s:.1f} s, its header says 8.0 s")
    ]


def test_stream_decodes_like_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp3", chord(2.0, RATE))
    with path.open("rb") as stream:
        np.testing.assert_array_equal(decode(stream, ALL).samples, decode(path, ALL).samples)


def test_decode_all_equals_decode_of_a_long_enough_maximum(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(3, channels=2))
    np.testing.assert_array_equal(decode_all(path, 3).samples, decode(path, 99).samples)


def test_too_long_file_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", noise(3))

    def fail(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(MonoReader, "blocks", fail)
    with pytest.raises(AudioError, match=r"too_long: 3 s; maximum duration is 2 s"):
        decode_all(path, 2)


@pytest.mark.parametrize(("channels", "rate"), [(9, 22_050), (1, 500), (2, 700_000)])
def test_unusual_channels_and_rates_are_unsupported(tmp_path: Path, channels: int, rate: int) -> None:
    with pytest.raises(AudioError) as refused:
        decode_all(write(tmp_path / "a.wav", noise(0.1, rate, channels), rate), 10)
    assert refused.value.reason == "unsupported"


def test_file_of_zero_bytes_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    path.touch()
    for attempt in (decode, inspect_recording):
        with pytest.raises(AudioError) as caught:
            attempt(path, ALL)
        assert caught.value.reason == "empty"


def test_stream_of_zero_bytes_is_empty() -> None:
    with pytest.raises(AudioError) as caught:
        decode(io.BytesIO(), ALL)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize("suffix", ["", ".mp3", ".wav", ".flac", ".ogg", ".raw"])
def test_text_is_undecodable_under_any_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("To be, or not to be, that is the question.\n" * 200, encoding="utf-8")
    for attempt in (decode, inspect_recording):
        with pytest.raises(AudioError) as caught:
            attempt(path, ALL)
        assert caught.value.reason == "undecodable"


def test_header_without_audio_is_undecodable(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.wav", noise(0))
    with pytest.raises(AudioError) as caught:
        describe(path)
    assert caught.value.reason == "undecodable"


def test_damaged_files_decode_or_raise_audio_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in (".wav", ".flac", ".ogg", ".mp3", ".aiff"):
        path = write(tmp_path / f"clip{suffix}", noise(0.5, rate=22_050), 22_050)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for reach in [100, len(whole)] * 10:
            damaged = whole.copy()
            damaged[rng.integers(0, reach, 4)] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                assert np.isfinite(decode(path, 5.0).samples).all()
            except AudioError as error:
                assert error.reason in ("undecodable", "unsupported")


@pytest.mark.parametrize("channels", [1, 2])
def test_invalid_samples_become_zero_and_are_counted(tmp_path: Path, channels: int) -> None:
    samples = noise(0.5, channels=channels)
    samples[100, 0], samples[200, -1], samples[300, 0] = np.nan, np.inf, -np.inf
    path = write(tmp_path / "clip.wav", samples, subtype="FLOAT")
    decoded = decode(path, ALL).samples
    assert (decoded[[100, 200, 300]] == 0).all()
    others = np.delete(np.arange(len(samples)), [100, 200, 300])
    np.testing.assert_allclose(decoded[others], samples.mean(axis=1)[others], atol=1e-6)
    info = describe(path)
    assert np.isfinite(info.peak)
    assert info.invalid_fraction == pytest.approx(3 / len(samples))


def test_inspection_gives_duration_rate_channels_peak_and_silence(tmp_path: Path) -> None:
    samples = noise(4.0, rate=16_000, channels=2)
    samples[16_000:] = 0
    samples[5000] = (0.9, 0.5)
    info = describe(write(tmp_path / "clip.wav", samples, 16_000, "FLOAT"))
    assert info.duration_s == 4.0
    assert info.sample_rate_hz == 16_000
    assert info.channels == 2
    assert info.peak == pytest.approx(0.7 - samples.mean(), abs=1e-4)
    assert not info.is_silent
    assert info.invalid_fraction == 0
    assert info.silent_fraction == pytest.approx(0.75)


@pytest.mark.parametrize(("dbfs", "fraction"), [(-66, 0.5), (-54, 0.0)])
def test_blocks_below_minus_60_dbfs_are_silent(tmp_path: Path, dbfs: float, fraction: float) -> None:
    samples = noise(4.0, rate=16_000)
    samples[32_000:] *= 10 * 10 ** (dbfs / 20)
    assert describe(write(tmp_path / "clip.wav", samples, 16_000, "FLOAT")).silent_fraction == fraction


def test_inspection_counts_silence_across_blocks(tmp_path: Path) -> None:
    samples = noise(2.5 * BLOCK_DURATION_S, rate=8000)
    samples[: int(BLOCK_DURATION_S * 8000)] = 0
    assert describe(write(tmp_path / "clip.wav", samples, 8000)).silent_fraction == pytest.approx(0.4)


def test_inspection_stops_at_max_seconds(tmp_path: Path) -> None:
    info = describe(write(tmp_path / "clip.wav", noise(3.0)), 1.0)
    assert info.duration_s == 1.0
    assert info.notes == ()  # though the header says that there is more


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".aiff", ".au"])
def test_cut_file_is_truncated_by_what_its_header_says(tmp_path: Path, suffix: str) -> None:
    info = describe(cut(write(tmp_path / f"clip{suffix}", noise(4.0, channels=2)), 0.5))
    assert info.duration_s == pytest.approx(2.0, abs=0.1)
    assert notes(info) == ["truncated"]
    assert info.notes[0].message.endswith("its header says 4.0 s")


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".flac", ".ogg", ".opus", ".aiff", ".au"])
def test_header_of_a_whole_file_gives_its_duration(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else RATE
    with write(tmp_path / f"clip{suffix}", chord(3.0, rate), rate).open("rb") as file:
        reader = MonoReader(file, ALL)
        n_samples = sum(len(block) for block in reader.blocks())
    assert reader.header.duration_s == pytest.approx(n_samples / rate, abs=0.1)
    assert reader.notes() == ()


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_placeholder_length_in_a_wav_header_is_ignored(tmp_path: Path, size: int) -> None:
    # Programs that write into a pipe do not know the length yet and put one of these into the header.
    path = write(tmp_path / "clip.wav", noise(1.0))
    content = bytearray(path.read_bytes())
    start = content.index(b"data") + 4
    content[start : start + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", size)
    path.write_bytes(content)
    info = describe(path)
    assert info.duration_s == pytest.approx(1.0)
    assert info.notes == ()


def test_signal_has_a_duration() -> None:
    assert AudioSignal(np.zeros(11_025, np.float32), 22_050).duration_s == 0.5


def test_peak_is_the_distance_from_the_mean() -> None:
    assert peak(np.float32([0.5, 0.5, 0.5])) == 0
    assert peak(np.float32([0.1, 0.1, 0.1, 0.5])) == pytest.approx(0.3)


@pytest.mark.parametrize(("dbfs", "is_silent"), [(-80.1, True), (-79.9, False)])
def test_peaks_below_minus_80_dbfs_are_silent(tmp_path: Path, dbfs: float, is_silent: bool) -> None:
    assert pytest.approx(1e-4) == SILENCE_PEAK
    samples = np.tile(np.float32([[1], [-1]]), (4000, 1)) * 10 ** (dbfs / 20)
    assert describe(write(tmp_path / "clip.wav", samples, 8000, "FLOAT")).is_silent == is_silent


def test_audio_error_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(AudioError(IssueReason.SILENT, "peak 0.00 over 30.0 s")))
    assert isinstance(copy, AudioError)
    assert isinstance(copy.reason, IssueReason)
    assert (copy.reason, copy.detail) == ("silent", "peak 0.00 over 30.0 s")
    assert str(copy) == "silent: peak 0.00 over 30.0 s"
