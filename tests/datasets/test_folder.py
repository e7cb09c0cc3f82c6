"""Music in folders named after genres."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from music_genre.datasets.folder import UNSUPPORTED_SUFFIXES, FolderParams, download, load_tracks
from music_genre.errors import MusicGenreError
from music_genre.features.audio import SUPPORTED_SUFFIXES


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def fetch(raw: Path, path: Path | None) -> None:
    download(raw, FolderParams(path=path, artist_pattern=None), raw.with_name("cache"), seed=0)


def tracks(raw: Path, artist_pattern: str | None = None) -> pd.DataFrame:
    return load_tracks(raw, FolderParams(path=None, artist_pattern=artist_pattern))


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


def test_only_audio_in_genre_folders_is_copied(music: Path, tmp_path: Path) -> None:
    fetch(tmp_path / "raw", music)
    assert files(tmp_path / "raw") == set(AUDIO)
    assert (tmp_path / "raw/rock/b.wav").read_bytes() == b"rock/b.wav"


def test_tracks_are_numbered_by_path_and_have_their_folder_as_genre(music: Path) -> None:
    table = tracks(music)
    assert table.columns.tolist() == ["track_id", "path", "genre", "artist_id", "title", "license", "split"]
    assert table["path"].tolist() == AUDIO
    assert table["track_id"].tolist() == [1, 2, 3, 4, 5]
    assert table["genre"].tolist() == ["blues", "blues", "blues", "rock", "rock"]
    assert table["title"].tolist() == ["blues.00000", "c", "d", "a", "b"]
    assert table[["artist_id", "license", "split"]].isna().all(axis=None)


@pytest.mark.parametrize("suffix", sorted(SUPPORTED_SUFFIXES | UNSUPPORTED_SUFFIXES))
def test_unsupported_audio_is_listed_too(tmp_path: Path, suffix: str) -> None:
    # Inspection then reports it as undecodable.
    write(tmp_path / "music", f"rock/song{suffix}", f"rock/LOUD{suffix.upper()}")
    fetch(tmp_path / "raw", tmp_path / "music")
    assert tracks(tmp_path / "raw")["path"].tolist() == [f"rock/LOUD{suffix.upper()}", f"rock/song{suffix}"]


def test_links_out_of_the_folder_are_skipped_with_a_message(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "elsewhere", "secret.mp3", "jazz/other.mp3")
    (music / "rock/out.mp3").symlink_to(tmp_path / "elsewhere/secret.mp3")
    (music / "rock/up.mp3").symlink_to("../../elsewhere/secret.mp3")
    (music / "rock/album/out").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "jazz").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "rock/gone.mp3").symlink_to(tmp_path / "nothing.mp3")
    (music / "rock/inside.mp3").symlink_to(music / "blues/c.flac")
    fetch(tmp_path / "raw", music)
    assert files(tmp_path / "raw") == {*AUDIO, "rock/inside.mp3"}
    assert not (tmp_path / "raw/rock/inside.mp3").is_symlink()
    printed = capsys.readouterr().err
    assert all(f"skipped '{music}/{name}': leads out" in printed for name in ("rock/out.mp3", "rock/gone.mp3"))
    assert f"skipped '{music}/rock/album/out': a link to a folder" in printed
    assert "inside.mp3" not in printed


def test_names_that_are_not_utf8_are_skipped_with_a_message(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(music, "rock/caf\udce9.mp3", "rock/café.mp3")
    fetch(tmp_path / "raw", music)
    assert files(tmp_path / "raw") == {*AUDIO, "rock/café.mp3"}
    assert "caf\\udce9.mp3': a name that is not UTF-8" in capsys.readouterr().err


def test_unreadable_paths_are_skipped_with_a_message(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The user who runs the tests may be allowed to read everything.
    locked = {music / "rock/b.wav", music / "jazz"}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in locked)
    (music / "jazz").mkdir()
    fetch(tmp_path / "raw", music)
    assert files(tmp_path / "raw") == {*AUDIO} - {"rock/b.wav"}
    printed = capsys.readouterr().err
    assert "b.wav': a file that may not be read" in printed
    assert "jazz': a folder that may not be read" in printed


def test_nothing_is_copied_without_enough_space(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (music / "rock/b.wav").write_bytes(bytes(3_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(MusicGenreError, match=r"raw: needs 3\.00MB; .*has 2\.00MB free"):
        fetch(tmp_path / "raw", music)
    assert not (tmp_path / "raw").exists()


def test_hidden_files_and_folders_are_ignored(music: Path, tmp_path: Path) -> None:
    write(music, "rock/._b.wav", "rock/...and you.mp3", ".Trash-1000/files/old.mp3", "rock/album/._a.MP3")
    fetch(tmp_path / "raw", music)
    assert files(tmp_path / "raw") == {*AUDIO, "rock/...and you.mp3"}


def test_path_may_be_a_link(music: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(music)
    fetch(tmp_path / "raw", tmp_path / "link")
    assert files(tmp_path / "raw") == set(AUDIO)


def test_links_into_the_dvc_cache_are_listed(music: Path, tmp_path: Path) -> None:
    # With `cache.type = symlink` every file of data/raw is a link into .dvc/cache.
    raw = tmp_path / "data/raw"
    for number, name in enumerate(AUDIO):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "cache", f"{number:02d}")
        (raw / name).symlink_to(tmp_path / f"cache/{number:02d}")
    assert tracks(raw)["path"].tolist() == AUDIO


def test_artist_is_the_first_group_of_the_pattern(tmp_path: Path) -> None:
    write(tmp_path, "rock/Abba - One.mp3", "rock/Abba - Two.mp3", "rock/Beck - One.mp3", "rock/untitled.mp3")
    artists = tracks(tmp_path, r"^(.+?) - ")["artist_id"]
    assert artists.tolist()[:3] == ["Abba", "Abba", "Beck"]
    assert artists.isna().tolist() == [False, False, False, True]


def test_pattern_is_matched_against_the_stem(tmp_path: Path) -> None:
    write(tmp_path, "rock/seven.mp3")
    assert tracks(tmp_path, r"(rock)")["artist_id"].isna().all()
    assert tracks(tmp_path, r"(mp3)")["artist_id"].isna().all()
    assert tracks(tmp_path, r"(eve)")["artist_id"].tolist() == ["eve"]


@pytest.mark.parametrize("path", [None, Path("/no/such/folder")])
def test_missing_folder_is_reported_by_its_key(tmp_path: Path, path: Path | None) -> None:
    with pytest.raises(MusicGenreError, match=r"data\.folder\.path.*folder"):
        fetch(tmp_path / "raw", path)


def test_folder_without_audio_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "music", "rock/notes.txt", "song.mp3")
    with pytest.raises(MusicGenreError) as caught:
        fetch(tmp_path / "raw", tmp_path / "music")
    assert str(tmp_path / "music") in str(caught.value)
    assert ".flac" in str(caught.value)
