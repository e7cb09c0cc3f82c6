"""Decoding: what comes out of files of every kind, whole, broken and hostile."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.errors import AudioError
from music_genre.features.audio import BLOCK_SECONDS, SILENT_DBFS, AudioSignal, decode, decode_whole, is_silent, listen

RATE = 44_100
ALL = 1e6


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32, root mean square 0.1."""
    shape = (int(seconds * rate), channels)
    return np.random.default_rng(5).normal(0, 0.1, shape).astype(np.float32)


def chord(seconds: float, rate: int) -> np.ndarray:
    """(samples, 2) float32: another tone on each side, which lossy codecs keep."""
    time = np.arange(int(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 997 * time)], axis=1).astype("f4")


def saved(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    form = {".opus": "OGG", ".ogg": "OGG"}.get(path.suffix)
    soundfile.write(path, samples, rate, format=form, subtype="OPUS" if path.suffix == ".opus" else subtype)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".flac", ".ogg", ".opus", ".aiff", ".au"])
def test_every_format_decodes_to_the_music_that_went_in(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else RATE
    music = chord(3.0, rate)
    recording = decode(saved(tmp_path / f"clip{suffix}", music, rate), ALL)
    assert recording.sample_rate_hz == rate
    assert recording.samples.dtype == np.float32
    assert recording.seconds == pytest.approx(3.0, abs=0.05)
    same = min(len(recording.samples), len(music))
    assert np.corrcoef(recording.samples[:same], music.mean(axis=1)[:same])[0, 1] > 0.99


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_downmix_is_the_mean_of_the_channels(tmp_path: Path, channels: int) -> None:
    samples = noise(0.5, channels=channels)
    recording = decode(saved(tmp_path / "clip.wav", samples, subtype="FLOAT"), ALL)
    np.testing.assert_allclose(recording.samples, samples.mean(axis=1), atol=1e-6)


def test_blocks_join_without_a_seam(tmp_path: Path) -> None:
    samples = noise(2.5 * BLOCK_SECONDS, rate=8000)
    recording = decode(saved(tmp_path / "clip.wav", samples, 8000, "FLOAT"), ALL)
    np.testing.assert_array_equal(recording.samples, samples[:, 0])


@pytest.mark.parametrize("seconds", [0.5, 1.0, BLOCK_SECONDS + 0.5])
def test_decoding_stops_at_max_seconds(tmp_path: Path, seconds: float) -> None:
    samples = noise(2 * BLOCK_SECONDS, rate=8000)
    recording = decode(saved(tmp_path / "clip.wav", samples, 8000, "FLOAT"), seconds)
    np.testing.assert_array_equal(recording.samples, samples[: int(seconds * 8000), 0])


def test_what_lies_after_max_seconds_is_not_even_read(tmp_path: Path) -> None:
    path = cut(saved(tmp_path / "clip.flac", noise(8.0)), 0.5)
    assert decode(path, 2.0).seconds == 2.0
    with pytest.raises(AudioError, match="undecodable"):
        decode(path, ALL)


def test_a_stream_decodes_as_the_file_does(tmp_path: Path) -> None:
    path = saved(tmp_path / "clip.mp3", chord(2.0, RATE))
    with path.open("rb") as stream:
        np.testing.assert_array_equal(decode(stream, ALL).samples, decode(path, ALL).samples)


def test_a_whole_file_is_what_decoding_gives(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.flac", noise(3, channels=2))
    np.testing.assert_array_equal(decode_whole(path, 3).samples, decode(path, 99).samples)


def test_a_whole_file_that_is_too_long_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.wav", noise(3))

    def touched(*anything: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("music_genre.features.audio._mono_blocks", touched)
    with pytest.raises(AudioError, match=r"too_long: 3 s; at most 2 s"):
        decode_whole(path, 2)


@pytest.mark.parametrize(("channels", "rate"), [(9, 22_050), (1, 500), (2, 700_000)])
def test_what_no_recording_has_is_unsupported(tmp_path: Path, channels: int, rate: int) -> None:
    with pytest.raises(AudioError) as refused:
        decode_whole(saved(tmp_path / "a.wav", noise(0.1, rate, channels), rate), 10)
    assert refused.value.reason == "unsupported"


def test_many_channels_are_decoded_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.wav", noise(2, channels=8))
    whole = decode_whole(path, 10).samples
    monkeypatch.setattr("music_genre.features.audio.MOST_VALUES", 8 * 1000)
    np.testing.assert_array_equal(decode_whole(path, 10).samples, whole)


def test_a_file_of_zero_bytes_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    path.touch()
    for attempt in (decode, listen):
        with pytest.raises(AudioError) as caught:
            attempt(path, ALL)
        assert caught.value.reason == "empty"


def test_a_stream_of_zero_bytes_is_empty() -> None:
    with pytest.raises(AudioError) as caught:
        decode(io.BytesIO(), ALL)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize("suffix", ["", ".mp3", ".wav", ".flac", ".ogg", ".raw"])
def test_text_is_undecodable_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("To be, or not to be, that is the question.\n" * 200, encoding="utf-8")
    for attempt in (decode, listen):
        with pytest.raises(AudioError) as caught:
            attempt(path, ALL)
        assert caught.value.reason == "undecodable"


def test_a_header_without_audio_is_undecodable(tmp_path: Path) -> None:
    path = saved(tmp_path / "clip.wav", noise(0))
    with pytest.raises(AudioError) as caught:
        listen(path, ALL)
    assert caught.value.reason == "undecodable"


def test_damaged_files_decode_or_are_faults_never_anything_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for suffix in (".wav", ".flac", ".ogg", ".mp3", ".aiff"):
        path = saved(tmp_path / f"clip{suffix}", noise(0.5, rate=22_050), 22_050)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for reach in [100, len(whole)] * 10:
            damaged = whole.copy()
            damaged[random.integers(0, reach, 4)] = random.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                assert np.isfinite(decode(path, 5.0).samples).all()
            except AudioError as fault:
                assert fault.reason == "undecodable"


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_numbers_do_not_survive(tmp_path: Path, channels: int) -> None:
    samples = noise(0.5, channels=channels)
    samples[100, 0], samples[200, -1], samples[300, 0] = np.nan, np.inf, -np.inf
    path = saved(tmp_path / "clip.wav", samples, subtype="FLOAT")
    decoded = decode(path, ALL).samples
    assert (decoded[[100, 200, 300]] == 0).all()
    others = np.delete(np.arange(len(samples)), [100, 200, 300])
    np.testing.assert_allclose(decoded[others], samples.mean(axis=1)[others], atol=1e-6)
    facts = listen(path, ALL)
    assert np.isfinite(facts.peak)
    assert facts.lost_share == pytest.approx(3 / len(samples))


def test_listening_tells_length_rate_channels_peak_and_silence(tmp_path: Path) -> None:
    samples = noise(4.0, rate=16_000, channels=2)
    samples[16_000:] = 0
    samples[5000] = (0.9, 0.5)
    facts = listen(saved(tmp_path / "clip.wav", samples, 16_000, "FLOAT"), ALL)
    assert facts.seconds == 4.0
    assert facts.claimed_seconds == 4.0
    assert facts.sample_rate_hz == 16_000
    assert facts.channels == 2
    assert facts.peak == pytest.approx(0.7)
    assert facts.lost_share == 0
    assert facts.silent_share == pytest.approx(0.75)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".wav", ".aiff"])
@pytest.mark.parametrize(
    ("written", "heard"), [("Bj\u00f6rk", "Bj\u00f6rk"), ("  Abba ", "Abba"), ("   ", None), (None, None)]
)
def test_the_artist_is_the_one_that_the_tags_name(
    tmp_path: Path, suffix: str, written: str | None, heard: str | None
) -> None:
    path, subtype = tmp_path / f"clip{suffix}", "OPUS" if suffix == ".opus" else None
    form = "OGG" if suffix == ".opus" else None
    with soundfile.SoundFile(path, "w", 48_000, 1, subtype, format=form) as file:
        if written:
            file.artist = written
        file.write(noise(1.0, 48_000))
    assert listen(path, ALL).artist == heard


def test_a_format_without_tags_has_no_artist(tmp_path: Path) -> None:
    assert listen(saved(tmp_path / "clip.au", noise(1.0)), ALL).artist is None


@pytest.mark.parametrize(("dbfs", "share"), [(-66, 0.5), (-54, 0.0)])
def test_what_lies_under_minus_60_dbfs_counts_as_silence(tmp_path: Path, dbfs: float, share: float) -> None:
    samples = noise(4.0, rate=16_000)
    samples[32_000:] *= 10 * 10 ** (dbfs / 20)
    assert listen(saved(tmp_path / "clip.wav", samples, 16_000, "FLOAT"), ALL).silent_share == share


def test_listening_counts_silence_across_blocks(tmp_path: Path) -> None:
    samples = noise(2.5 * BLOCK_SECONDS, rate=8000)
    samples[: int(BLOCK_SECONDS * 8000)] = 0
    assert listen(saved(tmp_path / "clip.wav", samples, 8000), ALL).silent_share == pytest.approx(0.4)


def test_listening_stops_at_max_seconds(tmp_path: Path) -> None:
    facts = listen(saved(tmp_path / "clip.wav", noise(3.0)), 1.0)
    assert facts.seconds == 1.0
    assert facts.claimed_seconds == 3.0


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".aiff", ".au"])
def test_a_file_cut_in_the_middle_claims_more_than_it_holds(tmp_path: Path, suffix: str) -> None:
    facts = listen(cut(saved(tmp_path / f"clip{suffix}", noise(4.0, channels=2)), 0.5), ALL)
    assert facts.seconds == pytest.approx(2.0, abs=0.1)
    assert facts.claimed_seconds == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".flac", ".ogg", ".opus", ".aiff", ".au"])
def test_a_whole_file_claims_what_it_holds(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else RATE
    facts = listen(saved(tmp_path / f"clip{suffix}", chord(3.0, rate), rate), ALL)
    assert facts.claimed_seconds == pytest.approx(facts.seconds, abs=0.1)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_whose_writer_did_not_know_its_length_claims_no_more_than_it_holds(tmp_path: Path, size: int) -> None:
    # What programs write into a pipe: the length in the header is a stand-in for "until the end".
    path = saved(tmp_path / "clip.wav", noise(1.0))
    content = bytearray(path.read_bytes())
    start = content.index(b"data") + 4
    content[start : start + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", size)
    path.write_bytes(content)
    facts = listen(path, ALL)
    assert facts.seconds == pytest.approx(1.0)
    assert facts.claimed_seconds == pytest.approx(1.0)


def test_a_recording_knows_its_length() -> None:
    assert AudioSignal(np.zeros(11_025, np.float32), 22_050).seconds == 0.5


def test_silence_begins_below_minus_80_dbfs() -> None:
    threshold = 10 ** (SILENT_DBFS / 20)
    assert threshold == pytest.approx(1e-4)
    assert is_silent(0.99 * threshold)
    assert is_silent(0.0)
    assert not is_silent(1.01 * threshold)


def test_a_fault_crosses_process_boundaries_with_reason_and_detail() -> None:
    copy = pickle.loads(pickle.dumps(AudioError("silent", "peak 0.00 over 30.0 s")))
    assert isinstance(copy, AudioError)
    assert (copy.reason, copy.detail) == ("silent", "peak 0.00 over 30.0 s")
    assert str(copy) == "silent: peak 0.00 over 30.0 s"
