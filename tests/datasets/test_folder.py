"""Music in folders named after genres."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from music_genre.audio.kinds import AUDIO_SUFFIXES
from music_genre.datasets.copying import update_copy
from music_genre.datasets.folder import FolderParams, list_files, load_tracks
from music_genre.datasets.listing import SourceListing, stat_files
from music_genre.errors import MusicGenreError


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def params(*paths: Path, artist_pattern: str | None = None) -> FolderParams:
    return FolderParams(path=paths, artist_pattern=artist_pattern)


def listing(*paths: Path) -> SourceListing:
    return list_files(params(*paths))


def listed(*paths: Path) -> list[str]:
    return sorted(listing(*paths).files or {})


def copy(audio: Path, path: Path) -> None:
    """What the stages scan and fetch do."""
    update_copy(audio, stat_files(listing(path).files or {}), audio.with_name("cache"), list, [])


def tracks(audio: Path, artist_pattern: str | None = None) -> pd.DataFrame:
    return load_tracks(audio, params(artist_pattern=artist_pattern))


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


STRAY = "a file that lies in no genre's folder"
AUDIO = [
    f"music/{name}"
    for name in ("blues/blues.00000.au", "blues/c.flac", "blues/d.opus", "rock/album/side one/a.MP3", "rock/b.wav")
]


def test_only_audio_in_genre_folders_is_listed_by_the_folders_name(music: Path) -> None:
    found = listing(music)
    assert found.files == {name: music.parent / name for name in AUDIO}
    assert found.skipped == (STRAY,)


def test_tracks_are_in_order_of_their_paths_and_have_their_folder_as_genre(tmp_path: Path) -> None:
    write(tmp_path, *reversed(AUDIO))
    table = tracks(tmp_path)
    assert table.columns.tolist() == ["track_id", "path", "genre", "artist_id", "title", "license", "split"]
    assert table["path"].tolist() == AUDIO
    assert table["genre"].tolist() == ["blues", "blues", "blues", "rock", "rock"]
    assert table["title"].tolist() == ["blues.00000", "c", "d", "a", "b"]
    assert table[["track_id", "license", "split"]].isna().all(axis=None)


def test_several_folders_are_listed_under_their_names(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("one/music", "two/music", "more")]
    for root in roots:
        write(root, "rock/a.mp3")
    assert listed(*roots) == ["more/rock/a.mp3", "music-2/rock/a.mp3", "music/rock/a.mp3"]
    assert listing(*roots).files["music-2/rock/a.mp3"] == roots[1] / "rock/a.mp3"


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_unsupported_audio_is_listed_too(tmp_path: Path, suffix: str) -> None:
    # Inspection then reports it as undecodable.
    names = [f"music/rock/LOUD{suffix.upper()}", f"music/rock/song{suffix}"]
    write(tmp_path, *names)
    assert listed(tmp_path / "music") == names
    assert tracks(tmp_path)["path"].tolist() == names


def test_links_out_of_the_folder_are_left_out_and_noted(music: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "secret.mp3", "jazz/other.mp3")
    (music / "rock/out.mp3").symlink_to(tmp_path / "elsewhere/secret.mp3")
    (music / "rock/up.mp3").symlink_to("../../elsewhere/secret.mp3")
    (music / "rock/album/out").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "jazz").symlink_to(tmp_path / "elsewhere/jazz")
    (music / "rock/gone.mp3").symlink_to(tmp_path / "nothing.mp3")
    (music / "rock/inside.mp3").symlink_to(music / "blues/c.flac")
    assert listed(music) == sorted([*AUDIO, "music/rock/inside.mp3"])
    assert listing(music).skipped == (
        STRAY,
        "a link that leads out of the folder: 'jazz'",
        "a link to a folder: 'rock/album/out'",
        *(f"leads out of the folder, or nowhere: 'rock/{name}.mp3'" for name in ("gone", "out", "up")),
    )


def test_link_inside_the_folder_is_copied_as_a_file(music: Path, tmp_path: Path) -> None:
    (music / "rock/inside.mp3").symlink_to(music / "blues/c.flac")
    copy(tmp_path / "audio", music)
    copied = tmp_path / "audio/music/rock/inside.mp3"
    assert (copied.read_bytes(), copied.is_symlink()) == (b"blues/c.flac", False)


def test_genre_may_be_a_link_to_another_one(music: Path) -> None:
    (music / "heavy").symlink_to(music / "rock")
    assert {name for name in listed(music) if "/heavy/" in name} == {
        "music/heavy/album/side one/a.MP3",
        "music/heavy/b.wav",
    }


def test_names_that_are_not_utf8_are_left_out_and_noted(music: Path) -> None:
    write(music, "rock/caf\udce9.mp3", "rock/café.mp3")
    assert listed(music) == sorted([*AUDIO, "music/rock/café.mp3"])
    assert listing(music).skipped == (
        STRAY,
        "a name that is not UTF-8: 'rock/caf\\udce9.mp3'",
    )


def test_unreadable_paths_are_left_out_and_noted(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The user who runs the tests may be allowed to read everything.
    locked = {music / "rock/b.wav", music / "jazz"}
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in locked)
    (music / "jazz").mkdir()
    assert listed(music) == AUDIO[:-1]
    assert listing(music).skipped == (
        STRAY,
        "a file that may not be read: 'rock/b.wav'",
        "a folder that may not be read: 'jazz'",
    )


def test_nothing_is_copied_without_enough_space(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (music / "rock/b.wav").write_bytes(bytes(3_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(MusicGenreError, match=r"audio: needs 3\.00MB; .*has 2\.00MB free"):
        copy(tmp_path / "audio", music)
    assert {path.name for path in (tmp_path / "audio").iterdir()} == {"manifest.csv"}


def test_hidden_and_system_files_and_folders_are_left_out_and_noted(music: Path) -> None:
    write(music, "rock/._b.wav", "rock/...and you.mp3", ".Trash-1000/files/old.mp3", "rock/album/._a.MP3")
    write(music, "rock/@eaDir/b.wav/thumb.mp3", "blues/@eaDir/c.mp3")
    assert listed(music) == sorted([*AUDIO, "music/rock/...and you.mp3"])
    assert listing(music).skipped == (
        "a companion that macOS keeps beside a file (._name) (2)",
        STRAY,
        "a hidden or system folder: .Trash-1000",
        "a hidden or system folder: @eaDir (2)",
    )


def test_path_may_be_a_link(music: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(music)
    assert listed(tmp_path / "link") == AUDIO


def test_links_into_the_dvc_cache_are_tracks(tmp_path: Path) -> None:
    # With `cache.type = symlink` every file of data/audio is a link into .dvc/cache.
    audio = tmp_path / "data/audio/folder"
    for number, name in enumerate(AUDIO):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "cache", f"{number:02d}")
        (audio / name).symlink_to(tmp_path / f"cache/{number:02d}")
    assert tracks(audio)["path"].tolist() == AUDIO


def test_artist_is_the_first_group_of_the_pattern(tmp_path: Path) -> None:
    write(tmp_path / "music/rock", "Abba - One.mp3", "Abba - Two.mp3", "Beck - One.mp3", "untitled.mp3")
    artists = tracks(tmp_path, r"([^/]+?) - ")["artist_id"]
    assert artists.tolist()[:3] == ["Abba", "Abba", "Beck"]
    assert artists.isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(r"^(rock)/", "rock"), (r"(mp3)$", "mp3"), (r"/(\w+)/seven", "live"), (r"(music)", None), (r"(eve)", "eve")],
)
def test_pattern_is_searched_in_the_whole_path_below_the_folder(
    tmp_path: Path, pattern: str, expected: str | None
) -> None:
    # Below a folder of a disc no folder names an artist.
    write(tmp_path / "music/rock", "CD 1/live/seven.mp3")
    artist = tracks(tmp_path, pattern)["artist_id"].item()
    assert (None if pd.isna(artist) else artist) == expected


def test_folder_below_the_genre_is_the_artist_where_the_pattern_says_nothing(tmp_path: Path) -> None:
    write(tmp_path / "music/rock", "Abba/Arrival/CD 2/one.mp3", "Beck/Live - two.mp3", "CD1/three.mp3", "four.mp3")
    artists = dict(tracks(tmp_path, r"([^/]+) - ")[["title", "artist_id"]].itertuples(index=False))
    assert (artists["one"], artists["Live - two"]) == ("Abba", "Live")
    assert pd.isna(artists["three"]) and pd.isna(artists["four"])


@pytest.mark.parametrize("paths", [(), (Path("/no/such/folder"),)])
def test_missing_folder_is_reported_by_its_key(paths: tuple[Path, ...]) -> None:
    with pytest.raises(MusicGenreError, match=r"data\.folder\.path.*folder a genre"):
        listing(*paths)


def test_folder_without_audio_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "music", "rock/notes.txt")
    with pytest.raises(MusicGenreError) as caught:
        listing(tmp_path / "music")
    assert str(tmp_path / "music") in str(caught.value)
    assert ".flac" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["a.mp3", "b.mp3"], r"holds 2 audio files .*looks like one genre; name its parent, {parent}$"),
        (["genres/rock/a.mp3", "genres/pop/b.mp3"], r"in one folder, genres, .*pop, rock.*name {root}/genres$"),
        (["train/rock/a.mp3", "test/rock/b.mp3"], r"test, train, which are no genres.*: {root}/test, {root}/train$"),
    ],
    ids=["one genre", "a level above", "splits"],
)
def test_folder_that_holds_no_genres_is_refused_with_the_one_to_name(
    tmp_path: Path, names: list[str], cause: str
) -> None:
    root = tmp_path / "music"
    write(root, *names)
    with pytest.raises(MusicGenreError, match=cause.format(root=root, parent=tmp_path)):
        listing(root)
