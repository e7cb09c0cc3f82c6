"""What listening to a collection finds: one table of usable tracks, one of faults."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.datasets import inspection as indexing
from music_genre.datasets.inspection import (
    Fault,
    drop_leaking_copies,
    faults_table,
    hear,
    index_audio,
    index_spectrograms,
    refuse_too_many,
)
from music_genre.errors import MusicGenreError

RATE = 22_050
COLUMNS = ["track_id", "path", "genre", "artist_id", "title", "license", "split"]
FAULT_COLUMNS = ["track_id", "path", "severity", "reason", "detail"]
OF_EACH_FAULT = {
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


def listing(rows: list[tuple[int, str, str | None]]) -> pd.DataFrame:
    """A source's tracks from (track_id, path, split)."""
    table = pd.DataFrame(rows, columns=["track_id", "path", "split"])
    return table.assign(genre="Rock", artist_id="1", title="A song", license=None)[COLUMNS]


def faults_of(table: pd.DataFrame, track_id: int) -> list[tuple[str, str]]:
    rows = table[table["track_id"] == track_id]
    return list(zip(rows["severity"], rows["reason"], strict=True))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with every fault once, among sound clips."""
    folder = tmp_path_factory.mktemp("raw")
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
    """The collection as its source lists it, in no order."""
    rows: list[tuple[int, str, str | None]] = [
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
def indexed(raw: Path, listed: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return index_audio(listed, raw, min_duration_s=1.0)


Indexed = tuple[pd.DataFrame, pd.DataFrame]


def test_usable_tracks_come_in_order_with_what_was_heard(raw: Path, indexed: Indexed) -> None:
    tracks = indexed[0].set_index("track_id")
    assert tracks.index.tolist() == [1, 2, 3, 6, 7, 17, 18, 19, 21]
    assert tracks.loc[7, ["seconds", "sample_rate_hz", "channels"]].tolist() == [3.0, RATE, 2]
    assert tracks.loc[7, "sha256"] == hashlib.sha256((raw / "7.flac").read_bytes()).hexdigest()
    assert tracks.loc[18, "seconds"] == pytest.approx(4.0, abs=0.2)


def test_the_table_has_the_columns_of_the_contract(indexed: Indexed) -> None:
    tracks, faults = indexed
    assert tracks.columns.tolist() == [*COLUMNS, "seconds", "sample_rate_hz", "channels", "sha256"]
    assert tracks["track_id"].dtype == np.int64
    assert faults.columns.tolist() == FAULT_COLUMNS


@pytest.mark.parametrize("reason", OF_EACH_FAULT)
def test_a_fault_is_told_once_with_its_severity(indexed: Indexed, reason: str) -> None:
    tracks, faults = indexed
    track_id, severity = OF_EACH_FAULT[reason]
    assert faults_of(faults, track_id) == [(severity, reason)]
    assert (track_id in set(tracks["track_id"])) == (severity == "warned")
    assert faults.loc[faults["track_id"] == track_id, "detail"].str.len().min() > 0


def test_a_clip_all_of_which_is_no_number_is_dropped_for_that_not_for_silence(indexed: Indexed) -> None:
    assert faults_of(indexed[1], 20) == [("dropped", "not_finite")]
    assert "100.00%" in indexed[1].loc[indexed[1]["track_id"] == 20, "detail"].item()


def test_a_track_listed_twice_is_heard_as_first_listed_and_told(raw: Path) -> None:
    rows = listing([(21, "21.wav", "test"), (7, "7.flac", "training"), (21, "21.wav", "training")])
    tracks, faults = index_audio(rows.assign(genre=["Rock", "Pop", "Folk"]), raw, 1.0)
    assert tracks[["track_id", "genre", "split"]].to_numpy().tolist() == [[7, "Pop", "training"], [21, "Rock", "test"]]
    assert faults_of(faults, 21) == [("dropped", "duplicate")]


def test_clips_without_fault_are_in_no_row(indexed: Indexed) -> None:
    assert not set(indexed[1]["track_id"]) & {7, 21}


def test_copies_in_one_split_are_kept_and_told_once_under_the_lowest_id(indexed: Indexed) -> None:
    tracks, faults = indexed
    assert {1, 2} <= set(tracks["track_id"])
    assert faults_of(faults, 1) == [("warned", "duplicate")]
    assert faults_of(faults, 2) == []
    assert "2" in faults.loc[faults["track_id"] == 1, "detail"].item()


@pytest.mark.parametrize(("training", "held_out"), [(4, 3), (5, 6)])
def test_the_training_copy_of_a_held_out_clip_is_dropped(indexed: Indexed, training: int, held_out: int) -> None:
    tracks, faults = indexed
    assert held_out in set(tracks["track_id"])
    assert training not in set(tracks["track_id"])
    assert faults_of(faults, training) == [("dropped", "duplicate")]
    assert str(held_out) in faults.loc[faults["track_id"] == training, "detail"].item()


def test_faults_come_by_track_id(indexed: Indexed) -> None:
    assert indexed[1]["track_id"].is_monotonic_increasing


def test_the_listing_is_left_as_it_was(listed: pd.DataFrame, indexed: Indexed) -> None:
    assert listed.columns.tolist() == COLUMNS
    assert listed["track_id"].tolist()[:3] == [21, 7, 6]


def test_a_file_longer_than_any_song_is_dropped(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "MAX_SECONDS", 2.5)
    heard = hear(raw, "7.flac", min_duration_s=1.0)
    assert heard.fault is not None
    assert heard.fault[0] == "too_long"
    assert hear(raw, "1.wav", min_duration_s=1.0).fault is None


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


def artists(tagged: Path, listed: list[str | None], from_tags: bool) -> dict[str, object]:
    """Artist by path, where the source lists those of a, b and c."""
    paths = sorted(file.name for file in tagged.iterdir())
    table = listing([(number, path, None) for number, path in enumerate(paths, 1)])
    table["artist_id"] = pd.array([listed["abc".index(path[0])] for path in paths], dtype="string")
    tracks, faults = index_audio(table, tagged, 1.0, artists_from_tags=from_tags)
    assert faults.empty
    return {path: None if pd.isna(artist) else artist for path, artist in tracks[["path", "artist_id"]].to_numpy()}


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".wav"])
def test_the_artist_of_the_tags_beats_that_of_the_pattern_and_that_one_beats_nobody(tagged: Path, suffix: str) -> None:
    found = artists(tagged, ["Beck", "Beck", "Cher"], from_tags=True)
    assert [found[name + suffix] for name in "abc"] == ["Abba \u00c5", "Beck", "Cher"]


def test_without_tags_and_pattern_the_artist_is_not_known(tagged: Path) -> None:
    found = artists(tagged, [None, None, None], from_tags=True)
    assert found["a.mp3"] == "Abba \u00c5"
    assert found["b.mp3"] is found["c.flac"] is None


def test_tags_do_not_touch_the_artists_of_a_source_that_knows_them(tagged: Path) -> None:
    assert set(artists(tagged, ["1", "2", "3"], from_tags=False).values()) == {"1", "2", "3"}


def test_a_faulty_file_takes_no_artist_from_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "1.mp3").write_text("not music", encoding="utf-8")
    for number in (2, 3):
        with soundfile.SoundFile(tmp_path / f"{number}.flac", "w", RATE, 1) as file:
            file.artist = f"artist {number}"
            file.write(noise(2.0, number))
    rows = listing([(3, "3.flac", None), (1, "1.mp3", None), (2, "2.flac", None)])
    tracks, _ = index_audio(rows.set_index(pd.Index([7, 7, 9])), tmp_path, 1.0, artists_from_tags=True)
    assert dict(zip(tracks["track_id"], tracks["artist_id"], strict=True)) == {2: "artist 2", 3: "artist 3"}


def copies(*splits: str | None) -> pd.DataFrame:
    """Tracks 1, 2, ... that are one file, among two that are not."""
    sha256 = ["same"] * len(splits) + ["x", "y"]
    rows = [(number, f"{number}.mp3", split) for number, split in enumerate([*splits, "training", "test"], 1)]
    return listing(rows).assign(sha256=sha256)


def test_copies_whose_split_is_not_decided_are_kept() -> None:
    tracks, faults = drop_leaking_copies(copies(None, None, None))
    assert tracks["track_id"].tolist() == [1, 2, 3, 4, 5]
    assert [(fault.track_id, fault.severity, fault.reason) for fault in faults] == [(1, "warned", "duplicate")]


def test_every_training_copy_of_a_held_out_clip_is_dropped() -> None:
    tracks, faults = drop_leaking_copies(copies("training", "test", "training"))
    assert tracks["track_id"].tolist() == [2, 4, 5]
    assert [fault.track_id for fault in faults if fault.severity == "dropped"] == [1, 3]


def test_a_held_out_clip_whose_copies_are_dropped_is_not_told_itself() -> None:
    _, faults = drop_leaking_copies(copies("test", "training"))
    assert [(fault.track_id, fault.severity) for fault in faults] == [(2, "dropped")]


def test_copies_that_stay_together_are_told_under_the_lowest_id_of_those_that_stay() -> None:
    tracks, faults = drop_leaking_copies(copies("training", "test", "test"))
    assert tracks["track_id"].tolist() == [2, 3, 4, 5]
    assert [(fault.track_id, fault.severity) for fault in faults] == [(1, "dropped"), (2, "warned")]


@pytest.mark.parametrize(
    "splits", [("training", "validation"), ("test", "training"), ("validation", "test"), ("test", "validation")]
)
def test_no_file_is_left_in_two_splits(splits: tuple[str, str]) -> None:
    # The data checks refuse such a collection, and nobody but this step could mend it.
    tracks, faults = drop_leaking_copies(copies(*splits))
    assert tracks.groupby("sha256")["split"].nunique().max() == 1
    assert len(faults) >= 1


def dropped(count: int, warned: int = 0) -> pd.DataFrame:
    faults = [Fault(number, f"{number}.mp3", "dropped", "silent", "peak 0") for number in range(count)]
    faults += [Fault(100 + number, "w.mp3", "warned", "duplicate", "the same") for number in range(warned)]
    return faults_table(faults)


@pytest.mark.parametrize(("count", "share"), [(0, 0.0), (1, 0.1), (10, 0.5), (19, 1.0)])
def test_as_many_faults_as_allowed_go_through(count: int, share: float) -> None:
    refuse_too_many(dropped(count, warned=9), 10 if share < 0.5 else 20, share)


def test_more_faults_than_allowed_stop_with_the_count_and_the_first_few() -> None:
    with pytest.raises(MusicGenreError) as caught:
        refuse_too_many(dropped(6), 20, 0.1)
    message = str(caught.value)
    assert "6 of 20" in message
    assert "data.max_skipped_fraction" in message
    assert "10%" in message
    assert "0.mp3 silent; 1.mp3 silent; 2.mp3 silent" in message
    assert "data/faults.csv" in message


@pytest.mark.parametrize(("count", "listed"), [(5, 5), (0, 0)])
def test_a_collection_without_a_usable_track_stops_whatever_is_allowed(count: int, listed: int) -> None:
    with pytest.raises(MusicGenreError):
        refuse_too_many(dropped(count), listed, 1.0)


def test_a_collection_without_faults_has_an_empty_table_with_its_columns() -> None:
    assert faults_table([]).columns.tolist() == FAULT_COLUMNS
    assert faults_table([]).empty


def test_spectrograms_without_change_or_with_what_is_no_number_are_dropped() -> None:
    listed = listing([(number, "training.npz", "training") for number in (5, 4, 3, 2, 1)])
    spread = np.array([70.0, 0.0, np.nan, np.inf, 12.5])
    tracks, faults = index_spectrograms(listed, spread)
    assert tracks["track_id"].tolist() == [5, 1]
    assert tracks[["seconds", "sample_rate_hz", "channels", "sha256"]].isna().all(axis=None)
    assert tracks.columns.tolist() == [*COLUMNS, "seconds", "sample_rate_hz", "channels", "sha256"]
    assert list(zip(faults["track_id"], faults["severity"], faults["reason"], strict=True)) == [
        (2, "dropped", "not_finite"),
        (3, "dropped", "not_finite"),
        (4, "dropped", "silent"),
    ]
    assert set(faults["path"]) == {"training.npz"}
