"""Music in folders named after genres."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from music_genre.datasets.folder import DECODED, NOT_DECODED, FolderParams, fetch, tracks
from music_genre.errors import MusicGenreError


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def params(path: Path | None) -> FolderParams:
    return FolderParams(path=path, artist_pattern=None)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    write(
        root,
        "rock/b.wav",
        "rock/album/side one/a.MP3",
        "blues/blues.00000.au",
        "blues/c.flac",
        "blues/d.opus",
        "blues/cover.jpg",
        "blues/notes.txt",
        "stray.mp3",
    )
    return root


AUDIO = ["blues/blues.00000.au", "blues/c.flac", "blues/d.opus", "rock/album/side one/a.MP3", "rock/b.wav"]


def test_audio_in_genre_folders_is_copied_and_nothing_else(music: Path, tmp_path: Path) -> None:
    fetch(tmp_path / "raw", params(music))
    assert files(tmp_path / "raw") == set(AUDIO)
    assert (tmp_path / "raw/rock/b.wav").read_bytes() == b"rock/b.wav"


def test_tracks_are_numbered_by_path_and_named_after_their_folder(music: Path) -> None:
    table = tracks(music, None)
    assert table.columns.tolist() == ["track_id", "path", "genre", "artist_id", "title", "license", "split"]
    assert table["path"].tolist() == AUDIO
    assert table["track_id"].tolist() == [1, 2, 3, 4, 5]
    assert table["genre"].tolist() == ["blues", "blues", "blues", "rock", "rock"]
    assert table["title"].tolist() == ["blues.00000", "c", "d", "a", "b"]
    assert table[["artist_id", "license", "split"]].isna().all(axis=None)


@pytest.mark.parametrize("suffix", sorted(DECODED | NOT_DECODED))
def test_every_audio_file_is_listed_whether_it_can_be_decoded_or_not(tmp_path: Path, suffix: str) -> None:
    # What cannot be decoded is a fault that people are told of; left out here, nobody would ever hear of it.
    write(tmp_path / "music", f"rock/song{suffix}", f"rock/LOUD{suffix.upper()}")
    fetch(tmp_path / "raw", params(tmp_path / "music"))
    assert tracks(tmp_path / "raw", None)["path"].tolist() == [f"rock/LOUD{suffix.upper()}", f"rock/song{suffix}"]


def test_links_that_lead_out_are_left_behind_and_told(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "elsewhere", "secret.mp3", "jazz/other.mp3")
    (music / "rock/out.mp3").symlink_to(tmp_path / "elsewhere/secret.mp3")
    (music / "rock/up.mp3").symlink_to("../../elsewhere/secret.mp3")
    (music / "rock/album/out").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "jazz").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "rock/gone.mp3").symlink_to(tmp_path / "nothing.mp3")
    (music / "rock/inside.mp3").symlink_to(music / "blues/c.flac")
    fetch(tmp_path / "raw", params(music))
    assert files(tmp_path / "raw") == {*AUDIO, "rock/inside.mp3"}
    assert not (tmp_path / "raw/rock/inside.mp3").is_symlink()
    told = capsys.readouterr().err
    assert all(f"{music}/{name}' is left behind: leads out" in told for name in ("rock/out.mp3", "rock/gone.mp3"))
    assert f"{music}/rock/album/out' is left behind: a link to a folder" in told
    assert "inside.mp3" not in told


def test_a_name_that_no_table_can_hold_is_left_behind_and_told(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(music, "rock/caf\udce9.mp3", "rock/café.mp3")
    fetch(tmp_path / "raw", params(music))
    assert files(tmp_path / "raw") == {*AUDIO, "rock/café.mp3"}
    assert "caf\\udce9.mp3' is left behind: a name that is not UTF-8" in capsys.readouterr().err


def test_what_may_not_be_read_is_left_behind_and_told(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who runs the tests may be allowed to read everything.
    locked = {music / "rock/b.wav", music / "jazz"}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in locked)
    (music / "jazz").mkdir()
    fetch(tmp_path / "raw", params(music))
    assert files(tmp_path / "raw") == {*AUDIO} - {"rock/b.wav"}
    told = capsys.readouterr().err
    assert "b.wav' is left behind: a file that may not be read" in told
    assert "jazz' is left behind: a folder that may not be read" in told


def test_a_collection_that_does_not_fit_on_the_disk_is_not_begun(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (music / "rock/b.wav").write_bytes(bytes(3_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(MusicGenreError, match=r"raw: needs 3\.00MB; .*has 2\.00MB free"):
        fetch(tmp_path / "raw", params(music))
    assert not (tmp_path / "raw").exists()


def test_what_systems_hide_is_neither_song_nor_genre(music: Path, tmp_path: Path) -> None:
    write(music, "rock/._b.wav", "rock/...and you.mp3", ".Trash-1000/files/old.mp3", "rock/album/._a.MP3")
    fetch(tmp_path / "raw", params(music))
    assert files(tmp_path / "raw") == {*AUDIO, "rock/...and you.mp3"}


def test_a_collection_may_itself_be_reached_by_a_link(music: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(music)
    fetch(tmp_path / "raw", params(tmp_path / "link"))
    assert files(tmp_path / "raw") == set(AUDIO)


def test_clips_that_dvc_links_from_its_cache_are_listed(music: Path, tmp_path: Path) -> None:
    # With `cache.type = symlink` every file of data/raw is a link into .dvc/cache.
    raw = tmp_path / "data/raw"
    for number, name in enumerate(AUDIO):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "cache", f"{number:02d}")
        (raw / name).symlink_to(tmp_path / f"cache/{number:02d}")
    assert tracks(raw, None)["path"].tolist() == AUDIO


def test_the_artist_is_the_patterns_first_group(tmp_path: Path) -> None:
    write(tmp_path, "rock/Abba - One.mp3", "rock/Abba - Two.mp3", "rock/Beck - One.mp3", "rock/untitled.mp3")
    artists = tracks(tmp_path, r"^(.+?) - ")["artist_id"]
    assert artists.tolist()[:3] == ["Abba", "Abba", "Beck"]
    assert artists.isna().tolist() == [False, False, False, True]


def test_the_pattern_sees_the_name_without_folder_and_suffix(tmp_path: Path) -> None:
    write(tmp_path, "rock/seven.mp3")
    assert tracks(tmp_path, r"(rock)")["artist_id"].isna().all()
    assert tracks(tmp_path, r"(mp3)")["artist_id"].isna().all()
    assert tracks(tmp_path, r"(eve)")["artist_id"].tolist() == ["eve"]


@pytest.mark.parametrize("path", [None, Path("/no/such/folder")])
def test_a_folder_that_is_none_is_told_by_its_key(tmp_path: Path, path: Path | None) -> None:
    with pytest.raises(MusicGenreError, match=r"data\.folder\.path.*folder"):
        fetch(tmp_path / "raw", params(path))


def test_a_folder_without_audio_is_told(tmp_path: Path) -> None:
    write(tmp_path / "music", "rock/notes.txt", "song.mp3")
    with pytest.raises(MusicGenreError) as caught:
        fetch(tmp_path / "raw", params(tmp_path / "music"))
    assert str(tmp_path / "music") in str(caught.value)
    assert ".flac" in str(caught.value)
