"""Inspecting a collection: a table of usable tracks, and one of issues."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.audio.folder import AudioFolder
from music_genre.datasets import inspection
from music_genre.datasets.duplicates import drop_leaked_duplicates
from music_genre.datasets.identity import identify, track_id_of
from music_genre.datasets.inspection import (
    AUDIO_COLUMNS,
    check_genres,
    inspect_audio,
    inspect_spectrograms,
)
from music_genre.datasets.issues import issue_table
from music_genre.datasets.recordings import InspectionCache, inspect_files
from music_genre.errors import MusicGenreError

RATE = 22_050
COLUMNS = ["track_id", "path", "genre", "artist_id", "title", "license", "split"]
ISSUE_COLUMNS = ["track_id", "path", "severity", "reason", "detail"]
ISSUES = {
    "missing": (12, "dropped"),
    "empty": (13, "dropped"),
    "undecodable": (14, "dropped"),
    "short": (15, "dropped"),
    "silent": (16, "dropped"),
    "mostly_silent": (17, "warned"),
    "truncated": (18, "warned"),
    "not_finite": (19, "warned"),
}


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def kept(folder: Path) -> InspectionCache:
    """A cache without spectrograms."""
    return InspectionCache(folder)


def listing(rows: list[tuple[int | None, str, str | None]]) -> pd.DataFrame:
    """A data set's tracks from (track_id, path, split)."""
    table = pd.DataFrame(rows, columns=["track_id", "path", "split"])
    return table.assign(genre="Rock", artist_id="1", title="A song", license=None)[COLUMNS]


def issues_of(table: pd.DataFrame, track_id: int) -> list[tuple[str, str]]:
    rows = table[table["track_id"] == track_id]
    return list(zip(rows["severity"], rows["reason"], strict=True))


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with every issue once, among good clips."""
    folder = tmp_path_factory.mktemp("audio")
    for track_id in (1, 3, 5, 21):
        soundfile.write(folder / f"{track_id}.wav", noise(2.0, track_id), RATE)
    soundfile.write(folder / "7.flac", np.stack([noise(3.0, 7), noise(3.0, 8)], axis=1), RATE)
    for copy, original in ((2, 1), (4, 3), (6, 5)):
        shutil.copyfile(folder / f"{original}.wav", folder / f"{copy}.wav")
    (folder / "13.mp3").touch()
    (folder / "14.mp3").write_text("not music\n" * 500, encoding="utf-8")
    soundfile.write(folder / "15.wav", noise(0.9, 15), RATE)
    soundfile.write(folder / "16.wav", np.zeros(2 * RATE, np.float32), RATE)
    soundfile.write(folder / "17.wav", np.concatenate([noise(0.8, 17), np.zeros(2 * RATE, np.float32)]), RATE)
    soundfile.write(folder / "18.mp3", noise(6.0, 18), RATE)
    for track_id, lost in ((19, slice(500, 900)), (20, slice(None))):
        samples = noise(2.0, track_id)
        samples[lost] = np.nan
        soundfile.write(folder / f"{track_id}.wav", samples, RATE, "FLOAT")
    content = (folder / "18.mp3").read_bytes()
    (folder / "18.mp3").write_bytes(content[: len(content) * 2 // 3])
    return folder


@pytest.fixture(scope="module")
def listed() -> pd.DataFrame:
    """The collection as its data set lists it, in no order."""
    rows: list[tuple[int | None, str, str | None]] = [
        (21, "21.wav", "test"),
        (7, "7.flac", "training"),
        (6, "6.wav", "test"),
        (5, "5.wav", "training"),
        (4, "4.wav", "training"),
        (3, "3.wav", "validation"),
        (2, "2.wav", "training"),
        (1, "1.wav", "training"),
        (12, "12.mp3", "training"),
        (19, "19.wav", "training"),
        (20, "20.wav", "training"),
        *((track_id, f"{track_id}.mp3", "training") for track_id in (13, 14, 18)),
        *((track_id, f"{track_id}.wav", "training") for track_id in (15, 16, 17)),
    ]
    return listing(rows)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def inspected(audio: Path, listed: pd.DataFrame, cache: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return inspect_audio(listed, AudioFolder(audio), 1.0, kept(cache))


Inspected = tuple[pd.DataFrame, pd.DataFrame]


def test_usable_tracks_are_in_order_with_audio_columns(audio: Path, inspected: Inspected) -> None:
    tracks = inspected[0].set_index("track_id")
    assert tracks.index.tolist() == [1, 2, 3, 4, 5, 6, 7, 17, 18, 19, 21]
    assert tracks.loc[7, ["duration_s", "sample_rate_hz", "channels"]].tolist() == [3.0, RATE, 2]
    assert tracks.loc[7, "sha256"] == hashlib.sha256((audio / "7.flac").read_bytes()).hexdigest()
    assert tracks.loc[7, "audio_sha256"] == identify(audio / "7.flac").audio_sha256
    assert tracks.loc[1, "audio_sha256"] == tracks.loc[2, "audio_sha256"]
    assert tracks["audio_sha256"].nunique() == 8
    assert tracks.loc[18, "duration_s"] == pytest.approx(4.0, abs=0.2)


def test_tables_have_the_columns_of_the_contract(inspected: Inspected) -> None:
    tracks, issues = inspected
    assert tracks.columns.tolist() == [*COLUMNS, *AUDIO_COLUMNS]
    assert tracks["track_id"].dtype == np.int64
    assert issues.columns.tolist() == ISSUE_COLUMNS


@pytest.mark.parametrize("reason", ISSUES)
def test_issue_is_reported_once_with_its_severity(inspected: Inspected, reason: str) -> None:
    tracks, issues = inspected
    track_id, severity = ISSUES[reason]
    assert issues_of(issues, track_id) == [(severity, reason)]
    assert (track_id in set(tracks["track_id"])) == (severity == "warned")
    assert issues.loc[issues["track_id"] == track_id, "detail"].str.len().min() > 0


def test_clip_of_nan_is_not_finite_rather_than_silent(inspected: Inspected) -> None:
    assert issues_of(inspected[1], 20) == [("dropped", "not_finite")]
    assert "100.00%" in inspected[1].loc[inspected[1]["track_id"] == 20, "detail"].item()


def test_duplicate_id_keeps_the_first_row_and_is_reported(audio: Path, cache: Path) -> None:
    rows = listing([(21, "21.wav", "test"), (7, "7.flac", "training"), (21, "21.wav", "training")])
    tracks, issues = inspect_audio(rows.assign(genre=["Rock", "Pop", "Folk"]), AudioFolder(audio), 1.0, kept(cache))
    assert tracks[["track_id", "genre", "split"]].to_numpy().tolist() == [[7, "Pop", "training"], [21, "Rock", "test"]]
    assert issues_of(issues, 21) == [("dropped", "duplicate")]


def test_good_clips_have_no_issue(inspected: Inspected) -> None:
    assert not set(inspected[1]["track_id"]) & {7, 21}


def test_track_without_an_id_is_numbered_by_its_audio(audio: Path, cache: Path) -> None:
    rows: list[tuple[int | None, str, str | None]] = [(None, name, None) for name in ("7.flac", "1.wav", "2.wav")]
    table = listing([*rows, (21, "21.wav", None), (None, "13.mp3", None)]).astype({"track_id": "Int64"})
    tracks, issues = inspect_audio(table, AudioFolder(audio), 1.0, kept(cache))
    expected = {name: track_id_of(identify(audio / name).audio_sha256) for name in ("7.flac", "1.wav", "2.wav")}
    assert dict(zip(tracks["path"], tracks["track_id"], strict=True)) == expected | {"21.wav": 21}
    assert expected["1.wav"] == expected["2.wav"] != expected["7.flac"]
    assert tracks["track_id"].dtype == np.int64
    empty = track_id_of(hashlib.sha256().hexdigest())
    assert issues[["track_id", "reason"]].to_numpy().tolist() == [[empty, "empty"]]


def test_recording_is_decoded_once_however_often_it_is_listed_renamed_or_tagged(tmp_path: Path) -> None:
    def write(name: str, seed: int, artist: str = "Nobody") -> None:
        with soundfile.SoundFile(tmp_path / name, "w", RATE, 1) as file:
            file.artist = artist
            file.write(noise(2.0, seed))

    def decoded() -> int:
        (kept,) = (tmp_path / "cache").glob("recordings-*.jsonl")
        return sum(line != "" for line in kept.read_text(encoding="utf-8").splitlines())

    for name, seed in (("a.flac", 1), ("copy.flac", 1), ("b.flac", 2)):
        write(name, seed)
    plain, _, other = inspect_files(AudioFolder(tmp_path), ["a.flac", "copy.flac", "b.flac"], kept(tmp_path / "cache"))
    assert decoded() == 2
    write("a.flac", 1, "Abba")
    (tmp_path / "b.flac").rename(tmp_path / "c.flac")
    tagged, renamed = inspect_files(AudioFolder(tmp_path), ["a.flac", "c.flac"], kept(tmp_path / "cache"))
    assert decoded() == 2
    assert (tagged.artist, tagged.info, tagged.audio_sha256) == ("Abba", plain.info, plain.audio_sha256)
    assert tagged.sha256 != plain.sha256
    assert renamed == other


def test_copies_in_one_split_are_kept_with_one_warning(inspected: Inspected) -> None:
    tracks, found = drop_leaked_duplicates(inspected[0])
    issues = issue_table(found)
    assert {1, 2} <= set(tracks["track_id"])
    assert issues_of(issues, 1) == [("warned", "duplicate")]
    assert issues_of(issues, 2) == []
    assert "2" in issues.loc[issues["track_id"] == 1, "detail"].item()


@pytest.mark.parametrize(("training", "held_out"), [(4, 3), (5, 6)])
def test_training_copy_of_a_held_out_clip_is_dropped(inspected: Inspected, training: int, held_out: int) -> None:
    tracks, found = drop_leaked_duplicates(inspected[0])
    issues = issue_table(found)
    assert held_out in set(tracks["track_id"])
    assert training not in set(tracks["track_id"])
    assert issues_of(issues, training) == [("dropped", "duplicate")]
    assert str(held_out) in issues.loc[issues["track_id"] == training, "detail"].item()


def test_issues_are_in_order_of_track_id(inspected: Inspected) -> None:
    assert inspected[1]["track_id"].is_monotonic_increasing


def test_listed_tracks_are_not_modified(listed: pd.DataFrame, inspected: Inspected) -> None:
    assert listed.columns.tolist() == COLUMNS
    assert listed["track_id"].tolist()[:3] == [21, 7, 6]


def test_file_above_the_maximum_duration_is_dropped(audio: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_DURATION_S", 2.5)
    tracks, issues = inspect_audio(
        listing([(7, "7.flac", None), (1, "1.wav", None)]), AudioFolder(audio), 1.0, kept(cache)
    )
    assert tracks["track_id"].tolist() == [1]
    assert issues_of(issues, 7) == [("dropped", "too_long")]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of every format that holds tags: a.* name Abba, b.* nobody, c.* spaces."""
    folder = tmp_path_factory.mktemp("tagged")
    for name, artist in (("a", "Abba \u00c5"), ("b", None), ("c", "  ")):
        for number, suffix in enumerate((".mp3", ".flac", ".ogg", ".wav")):
            with soundfile.SoundFile(folder / f"{name}{suffix}", "w", RATE, 1) as file:
                if artist:
                    file.artist = artist
                file.write(noise(2.0, 100 + 10 * ord(name) + number))
    return folder


def artists(tagged: Path, cache: Path, listed: list[str | None], from_tags: bool) -> dict[str, object]:
    """Artist by path, where the data set lists those of a, b and c."""
    paths = sorted(file.name for file in tagged.iterdir())
    table = listing([(number, path, None) for number, path in enumerate(paths, 1)])
    table["artist_id"] = pd.array([listed["abc".index(path[0])] for path in paths], dtype="string")
    tracks, issues = inspect_audio(table, AudioFolder(tagged), 1.0, kept(cache), from_tags)
    assert issues.empty
    return {path: None if pd.isna(artist) else artist for path, artist in tracks[["path", "artist_id"]].to_numpy()}


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".wav"])
def test_artist_of_tags_precedes_the_listed_one(tagged: Path, cache: Path, suffix: str) -> None:
    by_path = artists(tagged, cache, ["Beck", "Beck", "Cher"], from_tags=True)
    assert [by_path[name + suffix] for name in "abc"] == ["Abba \u00c5", "Beck", "Cher"]


def test_artist_is_null_without_tags_and_pattern(tagged: Path, cache: Path) -> None:
    by_path = artists(tagged, cache, [None, None, None], from_tags=True)
    assert by_path["a.mp3"] == "Abba \u00c5"
    assert by_path["b.mp3"] is by_path["c.flac"] is None


def test_tags_are_ignored_by_default(tagged: Path, cache: Path) -> None:
    assert set(artists(tagged, cache, ["1", "2", "3"], from_tags=False).values()) == {"1", "2", "3"}


def test_artists_stay_with_their_files_when_one_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "1.mp3").write_text("not music", encoding="utf-8")
    for number in (2, 3):
        with soundfile.SoundFile(tmp_path / f"{number}.flac", "w", RATE, 1) as file:
            file.artist = f"artist {number}"
            file.write(noise(2.0, number))
    rows = listing([(3, "3.flac", None), (1, "1.mp3", None), (2, "2.flac", None)])
    tracks, _ = inspect_audio(
        rows.set_index(pd.Index([7, 7, 9])), AudioFolder(tmp_path), 1.0, kept(tmp_path / "cache"), True
    )
    assert dict(zip(tracks["track_id"], tracks["artist_id"], strict=True)) == {2: "artist 2", 3: "artist 3"}


def copies(*splits: str | None) -> pd.DataFrame:
    """Tracks 1, 2, ... that are one file, among two that are not."""
    recordings = ["same"] * len(splits) + ["x", "y"]
    rows = [(number, f"{number}.mp3", split) for number, split in enumerate([*splits, "training", "test"], 1)]
    return listing(list(rows)).assign(audio_sha256=recordings)


def test_copies_without_split_are_kept() -> None:
    tracks, issues = drop_leaked_duplicates(copies(None, None, None))
    assert tracks["track_id"].tolist() == [1, 2, 3, 4, 5]
    assert [(issue.track_id, issue.severity, issue.reason) for issue in issues] == [(1, "warned", "duplicate")]


def test_every_training_copy_of_a_held_out_clip_is_dropped() -> None:
    tracks, issues = drop_leaked_duplicates(copies("training", "test", "training"))
    assert tracks["track_id"].tolist() == [2, 4, 5]
    assert [issue.track_id for issue in issues if issue.severity == "dropped"] == [1, 3]


def test_held_out_clip_has_no_issue_when_its_copies_are_dropped() -> None:
    _, issues = drop_leaked_duplicates(copies("test", "training"))
    assert [(issue.track_id, issue.severity) for issue in issues] == [(2, "dropped")]


def test_kept_copies_have_one_warning_under_their_lowest_id() -> None:
    tracks, issues = drop_leaked_duplicates(copies("training", "test", "test"))
    assert tracks["track_id"].tolist() == [2, 3, 4, 5]
    assert [(issue.track_id, issue.severity) for issue in issues] == [(1, "dropped"), (2, "warned")]


@pytest.mark.parametrize(
    "splits", [("training", "validation"), ("test", "training"), ("validation", "test"), ("test", "validation")]
)
def test_no_recording_remains_in_two_splits(splits: tuple[str, str]) -> None:
    # The data checks refuse such a collection, and only this step can repair it.
    tracks, issues = drop_leaked_duplicates(copies(*splits))
    assert tracks.groupby("audio_sha256")["split"].nunique().max() == 1
    assert len(issues) >= 1


def test_constant_and_invalid_spectrograms_are_dropped() -> None:
    listed = listing([(number, "training.npz", "training") for number in (5, 4, 3, 2, 1)])
    value_range = np.array([70.0, 0.0, np.nan, np.inf, 12.5])
    tracks, issues = inspect_spectrograms(listed, value_range)
    assert tracks["track_id"].tolist() == [5, 1]
    assert tracks[[*AUDIO_COLUMNS]].isna().all(axis=None)
    assert tracks.columns.tolist() == [*COLUMNS, *AUDIO_COLUMNS]
    assert list(zip(issues["track_id"], issues["severity"], issues["reason"], strict=True)) == [
        (2, "dropped", "not_finite"),
        (3, "dropped", "not_finite"),
        (4, "dropped", "silent"),
    ]
    assert set(issues["path"]) == {"training.npz"}


def of_genres(*pairs: tuple[str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["genre", "artist_id"]).astype("string")


@pytest.mark.parametrize(
    ("tracks", "found"),
    [(of_genres(("Rock", "a"), ("Rock", "b")), "one genre only, Rock"), (of_genres(), "no genre")],
)
def test_fewer_than_two_genres_are_refused(tracks: pd.DataFrame, found: str) -> None:
    with pytest.raises(MusicGenreError, match=f"usable tracks are of {found}; two or more are needed"):
        check_genres(tracks)


def test_folders_of_artists_are_not_taken_for_genres() -> None:
    tracks = of_genres(*[("ABBA", "Abba"), ("Beck", "beck ")] * 5, ("Cher", "Various Artists"), ("Cher", None))
    with pytest.raises(MusicGenreError, match=r"\(ABBA, Beck, Cher\): data\.folder\.path is one level too deep"):
        check_genres(tracks)


@pytest.mark.parametrize("n_other", [5, 1])
def test_genre_may_be_named_as_some_artist(n_other: int) -> None:
    same = [("Blues", "Blues")] * (20 if n_other == 5 else 4)
    check_genres(of_genres(*same, *[("Rock", "Abba")] * n_other))
