"""Recordings that wait for feedback, and those that have it."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from music_genre.datasets.folder import FolderParams, list_files
from music_genre.service import recordings
from music_genre.service.observability import RequestContext, request_context
from music_genre.service.recordings import DAY_S, PENDING_S, RecordingStore, is_folder_name, remove_oldest

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(100)
FLAC = b"fLaC" + bytes(100)


@pytest.fixture
def request_id() -> Iterator[str]:
    """The id of the request that the test works on."""
    token = request_context.set(RequestContext("r.1"))
    yield "r.1"
    request_context.reset(token)


@pytest.fixture
def store(tmp_path: Path) -> RecordingStore:
    return RecordingStore(tmp_path / "log", keep_audio=True, keep_days=90)


def keep(store: RecordingStore, content: bytes, error: Exception | None = None) -> None:
    """Keep an upload while a block predicts it, or fails."""

    async def predict() -> None:
        with io.BytesIO(content) as upload:
            async with store.keep(upload):
                await anyio.sleep(0)
                if error:
                    raise error

    anyio.run(predict)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_upload_waits_under_its_request_and_its_kind(store: RecordingStore, request_id: str) -> None:
    keep(store, WAV)
    assert files(store.folder) == {"pending/r.1.wav": WAV}
    keep(store, FLAC)
    assert files(store.folder) == {"pending/r.1.flac": FLAC}


def test_upload_of_a_request_that_failed_is_not_kept(store: RecordingStore, request_id: str) -> None:
    keep(store, WAV)
    with pytest.raises(RuntimeError, match="no prediction"):
        keep(store, FLAC, RuntimeError("no prediction"))
    assert files(store.folder) == {"pending/r.1.wav": WAV}


def test_upload_of_a_request_that_took_too_long_is_not_kept(store: RecordingStore, request_id: str) -> None:
    async def predict() -> None:
        with io.BytesIO(WAV) as upload, anyio.move_on_after(0.05):
            async with store.keep(upload):
                await anyio.sleep(10)

    anyio.run(predict)
    assert files(store.folder) == {}


def test_nothing_is_kept_without_the_setting(tmp_path: Path, request_id: str) -> None:
    store = RecordingStore(tmp_path, keep_audio=False, keep_days=90)
    keep(store, WAV)
    store.label(request_id, "Rock")
    assert files(tmp_path) == {}


def test_folder_that_cannot_be_written_fails_no_request(tmp_path: Path, request_id: str) -> None:
    (tmp_path / "file").touch()
    store = RecordingStore(tmp_path / "file", keep_audio=True, keep_days=90)
    keep(store, WAV)
    store.label(request_id, "Rock")


def test_feedback_moves_the_recording_and_later_feedback_moves_it_again(store: RecordingStore, request_id: str) -> None:
    keep(store, WAV)
    store.label(request_id, "Rock")
    store.label("another", "Rock")
    assert files(store.folder) == {"audio/Rock/r.1.wav": WAV}
    store.label(request_id, "R&B")
    assert files(store.folder) == {"audio/R&B/r.1.wav": WAV}
    keep(store, FLAC)  # a later request with the same id
    assert files(store.folder) == {"pending/r.1.flac": FLAC, "audio/R&B/r.1.wav": WAV}
    store.label(request_id, "Folk")
    assert files(store.folder) == {"audio/Folk/r.1.flac": FLAC}
    keep(store, FLAC[:-1])
    store.label(request_id, "Folk")
    assert files(store.folder) == {"audio/Folk/r.1.flac": FLAC[:-1]}


@pytest.mark.parametrize(
    "genre",
    ["AC/DC", ".", "..", "", "../../Rock", ".hidden", "a\0b", "@eaDir", " Rock", "x" * 256, "\ud800", "Cafe\u0301"],
)
def test_genre_that_no_folder_can_have_is_not_kept(store: RecordingStore, request_id: str, genre: str) -> None:
    assert not is_folder_name(genre)
    keep(store, WAV)
    store.label(request_id, "Rock")
    keep(store, FLAC)
    store.label(request_id, genre)
    assert files(store.folder.parent) == {}


@pytest.mark.parametrize("genre", ["Rock", "R&B", "Hip-Hop", "Ö \\ % ö", "right", "$x", "x" * 255])
def test_folder_of_a_genre_is_read_as_that_genre(store: RecordingStore, genre: str) -> None:
    for request_id in ("a", "..", "._companion"):
        token = request_context.set(RequestContext(request_id))
        keep(store, WAV)
        store.label(request_id, genre)
        request_context.reset(token)
    listing = list_files(FolderParams(path=(store.audio,), artist_pattern=None))
    assert sorted(listing.files) == [f"audio/{genre}/{name}" for name in ("%2E..wav", "%2E_companion.wav", "a.wav")]


def test_recordings_are_deleted_after_their_time_and_not_before(store: RecordingStore, request_id: str) -> None:
    now = time.time()
    ages = {"pending/new.wav": PENDING_S - 60, "pending/old.wav": PENDING_S + 60, "pending/.torn.wav": PENDING_S + 60}
    ages |= {"audio/Rock/new.wav": 90 * DAY_S - 60, "audio/Rock/old.wav": 90 * DAY_S + 60}
    for name, age in ages.items():
        path = store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(WAV)
        os.utime(path, (now - age, now - age))
    store.remove_expired()
    assert set(files(store.folder)) == {"pending/new.wav", "audio/Rock/new.wav"}
    store.label("new", "Folk")
    assert time.time() - (store.folder / "audio/Folk/new.wav").stat().st_mtime < 60


def test_service_looks_for_expired_recordings_again_and_again(
    store: RecordingStore, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "CLEANUP_INTERVAL_S", 0.01)
    path = store.audio / f"Folk/{request_id}.wav"
    path.parent.mkdir(parents=True)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(store.remove_expired_forever)
            for _ in range(2):
                path.touch()
                os.utime(path, (0, 0))
                with anyio.fail_after(10):
                    while path.exists():
                        await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(run)


def test_oldest_recordings_go_first_where_there_are_too_many(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_PENDING_BYTES", 3 * len(WAV))
    for number in range(6):
        token = request_context.set(RequestContext(str(number)))
        keep(store, WAV)
        request_context.reset(token)
        os.utime(store.pending / f"{number}.wav", (time.time() - 100 + number,) * 2)
    store.remove_expired()
    assert set(files(store.pending)) == {"3.wav", "4.wav", "5.wav"}


def test_uploads_that_wait_are_bounded_between_two_cleanups(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_PENDING_BYTES", 3 * len(WAV))
    monkeypatch.setattr(recordings, "PENDING_STEP_BYTES", 2 * len(WAV))
    for number in range(20):
        token = request_context.set(RequestContext(str(number)))
        keep(store, WAV)
        request_context.reset(token)
        assert len(files(store.pending)) <= 3 + 2


def test_what_is_outside_of_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/song.wav").write_bytes(WAV)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/link").symlink_to(tmp_path / "outside")
    remove_oldest(tmp_path / "inside", 0, 0)
    assert (tmp_path / "outside/song.wav").exists()
