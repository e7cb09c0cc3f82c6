"""Hostile recordings of the kinds that FFmpeg reads: each is answered soon and in little memory, and leaves nothing."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from hostile_files import FILES, LARGE, LIBRARY_WORDS, OK, encode, flac, of_track, song
from music_genre.audio.decoding import decode_all
from music_genre.audio.guard import GuardedFile
from music_genre.audio.kinds import MP4
from music_genre.datasets.identity import identify
from music_genre.errors import AudioError

MAX_SECONDS = 2.0  # to the answer
MAX_GROWTH_MB = 250  # of the peak of the memory; a recording of a quarter of an hour needs 400

LEADING_FAR_AWAY = [
    name for name in FILES if "2^63" in name or "2^62" in name or "2^55" in name or "leads back" in name
]


def peak_mb() -> float:
    """The peak of this process' memory since the one before was forgotten."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def n_open() -> int:
    """Files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Everything is imported."""
    assert decode_all(io.BytesIO(song()), 900).duration_s == pytest.approx(4, abs=0.01)
    assert decode_all(io.BytesIO(of_track()), 900).duration_s == pytest.approx(4, abs=0.01)


QUICK = [name for name in FILES if not name.startswith("another")]


@pytest.mark.parametrize(
    "name", QUICK + [pytest.param(name, marks=pytest.mark.slow) for name in (FILES | LARGE) if name not in QUICK]
)
def test_hostile_file_is_answered_soon_and_in_little_memory(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, expected = (FILES | LARGE)[name]
    content = make()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    peak_before, open_before = peak_mb(), n_open()
    begin, said = time.perf_counter(), OK
    try:
        decode_all(io.BytesIO(content), 900)
    except AudioError as error:
        said, detail = error.reason, error.detail
        assert len(detail) < 250 and not any(word in detail for word in LIBRARY_WORDS), detail
    assert time.perf_counter() - begin < MAX_SECONDS
    assert said in expected
    assert peak_mb() < peak_before + MAX_GROWTH_MB
    assert n_open() == open_before
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEADING_FAR_AWAY)
def test_file_on_a_disk_leads_nowhere(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, expected = FILES[name]
    path = tmp_path / "recording"
    path.write_bytes(make())
    try:
        decode_all(path, 900)
        said = OK
    except AudioError as error:
        said = error.reason
    assert said in expected
    assert identify(path).artist is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES | LARGE)
def test_hostile_file_has_an_identity_soon(name: str) -> None:
    content = (FILES | LARGE)[name][0]()
    begin = time.perf_counter()
    first = identify(io.BytesIO(content))
    assert time.perf_counter() - begin < 2 * MAX_SECONDS
    assert first == identify(io.BytesIO(content))


@pytest.mark.parametrize(("codec", "form"), [("aac", "ipod"), ("libopus", "webm"), ("wavpack", "wv"), ("flac", "flac")])
def test_eight_channels_are_decoded(codec: str, form: str) -> None:
    # PyAV's own list of a frame's channels has a ninth here, which lies nowhere.
    recording = decode_all(io.BytesIO(encode(codec, form, 48_000, "7.1", 1.0)), 900)
    assert recording.duration_s == pytest.approx(1.0, abs=0.1)
    assert 0.01 < recording.samples.std() < 0.1


def test_samples_beyond_gigabytes_are_refused_before_they_are_decoded() -> None:
    begin = time.perf_counter()
    with pytest.raises(AudioError, match=r"899 s are .* GB of samples; maximum is"):
        decode_all(io.BytesIO(flac(rate=384_000, channels=8, count=899 * 384_000)), 900)
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize(
    ("codec", "form"),
    [("flac", "flac"), ("libopus", "webm"), ("libopus", "ogg"), ("mp3", "mp3"), ("aac", "ipod"), ("pcm_s16le", "wav")],
)
def test_few_tags_are_kept(codec: str, form: str) -> None:
    assert identify(io.BytesIO(encode(codec, form, 48_000, artist="The Artist"))).artist == "The Artist"


class Failing(io.BytesIO):
    """A file that cannot be read beyond its first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 1000:
            raise OSError("the disk is gone")
        return super().read(size)


def test_error_of_a_disk_is_told_and_concerns_no_other_file(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            decode_all(Failing(song()), 900)
    assert decode_all(io.BytesIO(song()), 900).duration_s == pytest.approx(4, abs=0.01)
    assert capfd.readouterr() == ("", "")


def test_position_stays_in_the_file() -> None:
    guarded = GuardedFile(io.BytesIO(bytes(100)), MP4, 10)
    assert [guarded.seek(*to) for to in ((5,), (-9, 1), (2**63,), (-(2**63), 2), (0, 2))] == [5, 0, 90, 0, 90]
    assert guarded.read(1) == b""


def test_file_ends_for_a_reader_who_finds_nothing() -> None:
    guarded = GuardedFile(io.BytesIO(bytes(100)), MP4, 0)
    assert guarded.read(10) == bytes(10)
    guarded.deadline = time.perf_counter()
    assert guarded.read(10) == bytes(10)  # late, but not by this process' own doing
    guarded.deadline = time.thread_time()
    assert guarded.read(10) == b""
    guarded.finish_opening()
    assert guarded.limit(lambda: guarded.read(10), 0) == bytes(10)
    guarded.clock, guarded.reading_s = time.thread_time, 99.0
    assert guarded.limit(lambda: guarded.read(10), 100) == b""
    assert guarded.limit(lambda: guarded.read(10), 1000) == bytes(10)
