"""Track ids that follow from the audio."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from music_genre.datasets.identity import FIRST_ID, LAST_ID, identify, track_id_of
from music_genre.files import file_sha256

RATE = 22_050
GOLDEN_ID = 874822358211060


def write(path: Path, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).normal(0, 0.1, 2 * RATE)
    rate = 24_000 if path.suffix == ".opus" else RATE
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, noise, rate, **kind)
    return path


def tag(source: Path, target: Path, **tags: str) -> Path:
    """A copy of a file with other tags and the same packets."""
    with av.open(source) as reader, av.open(target, "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        writer.metadata.update(tags)
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav", "aiff", "opus"])
def test_renamed_file_is_the_same_recording(tmp_path: Path, suffix: str) -> None:
    song = write(tmp_path / f"song.{suffix}")
    moved = shutil.copy(song, tmp_path / f"other.{suffix}")
    assert identify(Path(moved)) == identify(song)
    assert identify(write(tmp_path / f"new.{suffix}", seed=1)).audio_sha256 != identify(song).audio_sha256


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_tags_do_not_change_the_recording(tmp_path: Path, suffix: str) -> None:
    song = write(tmp_path / f"song.{suffix}")
    tagged = tag(song, tmp_path / f"tagged.{suffix}", artist="The Ones", title="A song" * 50)
    assert tagged.read_bytes() != song.read_bytes()
    assert identify(tagged).audio_sha256 == identify(song).audio_sha256
    assert (identify(song).artist, identify(tagged).artist) == (None, "The Ones")


@pytest.mark.parametrize("content", [b"", b"not audio at all" * 100])
def test_file_without_audio_is_known_by_its_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    (tmp_path / "b.flac").write_bytes(content)
    assert identify(tmp_path / "a.mp3") == identify(tmp_path / "b.flac")


def test_id_has_at_most_15_digits_which_every_program_keeps() -> None:
    ids = [track_id_of(f"{number:016x}{0:048x}") for number in range(1000)]
    assert all(FIRST_ID <= track_id <= LAST_ID for track_id in ids)
    assert len(set(ids)) == len(ids)
    assert int(float(LAST_ID)) == LAST_ID


def test_id_of_a_recording_never_changes(tmp_path: Path) -> None:
    samples = (np.arange(RATE) % 100 / 200).astype(np.float32)
    soundfile.write(tmp_path / "saw.wav", samples, RATE, subtype="PCM_16")
    assert track_id_of(identify(tmp_path / "saw.wav").audio_sha256) == GOLDEN_ID


def test_playlist_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "song.wav")
    playlist = tmp_path / "list.mp3"
    playlist.write_text("ffconcat version 1.0\nfile song.wav\n", encoding="utf-8")
    assert identify(playlist).audio_sha256 == file_sha256(playlist)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".wav", ".aiff"])
@pytest.mark.parametrize(
    ("written", "expected"), [("Bj\u00f6rk", "Bj\u00f6rk"), ("  Abba ", "Abba"), ("   ", None), (None, None)]
)
def test_artist_is_read_from_tags(tmp_path: Path, suffix: str, written: str | None, expected: str | None) -> None:
    path, subtype = tmp_path / f"clip{suffix}", "OPUS" if suffix == ".opus" else None
    form = "OGG" if suffix == ".opus" else None
    with soundfile.SoundFile(path, "w", 48_000, 1, subtype, format=form) as file:
        if written:
            file.artist = written
        file.write(np.random.default_rng(0).normal(0, 0.1, 48_000))
    assert identify(path).artist == expected


def test_format_without_tags_has_no_artist(tmp_path: Path) -> None:
    assert identify(write(tmp_path / "clip.au")).artist is None
