"""The synthetic collection: its layout, its splits, its sound."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile
from scipy import signal

from music_genre.datasets.fma import METADATA
from music_genre.datasets.instruments import SAMPLE_RATE_HZ
from music_genre.datasets.sample import SampleParams, TrackSpec, download, generate, load_tracks, plan_collection
from music_genre.datasets.synthesis import STYLES, synthesize

SECONDS = 1.0
SEED = 7
SPLITS = {"training", "validation", "test"}


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The smallest collection, written twice."""
    roots = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for root in roots:
        generate(root, tracks_per_genre=3, duration_s=SECONDS, seed=SEED)
    return roots


def clip_paths(root: Path) -> list[Path]:
    """Every file under `fma_small`, relative to the collection, sorted."""
    files = (path for path in (root / "fma_small").rglob("*") if path.is_file())
    return sorted(path.relative_to(root) for path in files)


def read_table(root: Path) -> pd.DataFrame:
    """The metadata as users of FMA read it."""
    return pd.read_csv(root / METADATA, index_col=0, header=[0, 1])


def mean_log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Mean spectrum of a clip (n,) up to 11 kHz, in dB around its own mean: (40 bands,)."""
    frequencies_hz, _, power = signal.spectrogram(samples, fs=SAMPLE_RATE_HZ, nperseg=4096, noverlap=2048)
    mels = 2595.0 * np.log10(1.0 + frequencies_hz / 700.0)
    edges = np.searchsorted(mels, np.linspace(50.0, mels[frequencies_hz <= 11_025].max(), 41))
    bands = np.add.reduceat(power, edges, axis=0)[:-1]
    level_db = (10.0 * np.log10(np.maximum(bands, 1e-8 * bands.max()))).mean(axis=1)
    return np.asarray(level_db - level_db.mean())


def test_same_seed_gives_the_same_audio(collections: list[Path]) -> None:
    first, second = collections
    assert clip_paths(first) == clip_paths(second)
    for path in clip_paths(first):
        ours, theirs = (soundfile.read(root / path)[0] for root in (first, second))
        np.testing.assert_array_equal(ours, theirs)


def test_same_seed_gives_the_same_table(collections: list[Path]) -> None:
    first, second = collections
    assert (first / METADATA).read_bytes() == (second / METADATA).read_bytes()


def test_files_hold_the_synthesised_audio(collections: list[Path]) -> None:
    for clip in plan_collection(3, SEED)[: len(STYLES)]:
        decoded, rate = soundfile.read(collections[0] / clip.path)
        source = synthesize(clip.genre, clip.artist, clip.track, SECONDS, SEED)
        assert rate == SAMPLE_RATE_HZ
        assert decoded.shape == source.shape == (int(SECONDS * SAMPLE_RATE_HZ),)
        assert np.corrcoef(decoded.ravel(), source.ravel())[0, 1] > 0.95, clip


def test_download_names_every_file_of_the_collection(tmp_path: Path) -> None:
    section = SampleParams(tracks_per_genre=3, duration_s=0.1)
    names = download(tmp_path / "audio", section, tmp_path / "cache", seed=SEED)
    written = [path for path in (tmp_path / "audio").rglob("*") if path.is_file()]
    assert sorted(names) == sorted(path.relative_to(tmp_path / "audio").as_posix() for path in written)
    tracks = load_tracks(tmp_path / "audio", section)
    assert {METADATA.as_posix(), *tracks["path"]} == set(names)
    assert tracks["artist"].str.fullmatch(r".+ Machine \d+").all()


def test_table_lists_exactly_the_files(collections: list[Path]) -> None:
    ids = read_table(collections[0]).index
    listed = [Path("fma_small", f"{n // 1000:03d}", f"{n:06d}.mp3") for n in ids]
    assert clip_paths(collections[0]) == listed


def test_metadata_has_the_three_header_lines_of_fma(collections: list[Path]) -> None:
    with (collections[0] / METADATA).open(encoding="utf-8") as file:
        levels, names, index = (next(file).rstrip("\n").split(",") for _ in range(3))
    assert len(levels) == len(names) == len(index) == 53
    assert levels == ["", *["album"] * 13, *["artist"] * 17, *["set"] * 2, *["track"] * 20]
    assert (names[0], names[1], names[-1]) == ("", "comments", "title")
    assert index == ["track_id", *[""] * 52]


def test_metadata_can_be_read_like_that_of_fma(collections: list[Path]) -> None:
    table = read_table(collections[0])
    assert len(table) == 3 * len(STYLES)
    assert set(table["track", "genre_top"]) == set(STYLES)
    assert set(table["set", "split"]) == SPLITS
    assert set(table["set", "subset"]) == {"small"}
    assert set(table["track", "license"]) == {"CC0 1.0"}
    assert (table["track", "duration"] == SECONDS).all()
    assert table["track", "title"].is_unique
    artists = table["artist"][["id", "name"]].drop_duplicates()
    assert artists["id"].is_unique and artists["name"].is_unique


@pytest.mark.parametrize("tracks_per_genre", [3, 4, 6, 20])
def test_no_artist_spans_two_splits(tracks_per_genre: int) -> None:
    splits = defaultdict(set)
    for clip in plan_collection(tracks_per_genre, SEED):
        splits[clip.genre, clip.artist].add(clip.split)
    assert all(len(names) == 1 for names in splits.values())


@pytest.mark.parametrize("tracks_per_genre", [3, 4, 6, 20])
def test_every_split_has_every_genre(tracks_per_genre: int) -> None:
    clips = plan_collection(tracks_per_genre, SEED)
    assert {(clip.genre, clip.split) for clip in clips} == {(g, s) for g in STYLES for s in SPLITS}


@pytest.mark.parametrize("tracks_per_genre", [6, 20])
def test_training_has_several_artists_per_genre(tracks_per_genre: int) -> None:
    clips = plan_collection(tracks_per_genre, SEED)
    for genre in STYLES:
        training = [clip for clip in clips if (clip.genre, clip.split) == (genre, "training")]
        assert len({clip.artist for clip in training}) >= 2
        assert 0.6 <= len(training) / tracks_per_genre <= 0.8


def test_every_track_has_its_own_music() -> None:
    clips = plan_collection(20, SEED)
    assert len({(clip.genre, clip.artist, clip.track) for clip in clips}) == len(clips)


def test_ids_increase_from_2_and_genres_are_mixed() -> None:
    clips = plan_collection(6, SEED)
    ids = [clip.track_id for clip in clips]
    assert ids[0] == 2
    assert ids == sorted(set(ids))
    for start in range(0, len(clips), len(STYLES)):
        assert {clip.genre for clip in clips[start : start + len(STYLES)]} == set(STYLES)


def test_path_is_that_of_fma() -> None:
    clip = TrackSpec(track_id=57371, genre="Rock", artist=0, track=0, split="training")
    assert clip.path == Path("fma_small/057/057371.mp3")


def test_fewer_than_three_tracks_per_genre_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 tracks a genre"):
        generate(tmp_path, tracks_per_genre=2, duration_s=SECONDS, seed=SEED)
    assert not any(tmp_path.iterdir())


def test_unknown_genre_is_refused() -> None:
    with pytest.raises(ValueError, match="no style for genre 'Polka'"):
        synthesize("Polka", 0, 0, SECONDS, SEED)


def test_clips_are_audible_and_not_clipped(collections: list[Path]) -> None:
    for path in clip_paths(collections[0]):
        audio = soundfile.read(collections[0] / path)[0]
        assert np.isfinite(audio).all(), path
        assert np.abs(audio).max() < 1.0, path
        loudness = [np.sqrt(np.mean(part**2)) for part in np.array_split(audio, 4)]
        assert min(loudness) > 0.01, path


@pytest.mark.parametrize("genre", STYLES)
def test_seed_artist_and_track_change_the_music(genre: str) -> None:
    numbers = [(0, 0, SEED), (1, 0, SEED), (0, 1, SEED), (0, 0, SEED + 1)]
    clips = {synthesize(genre, artist, track, SECONDS, seed).tobytes() for artist, track, seed in numbers}
    assert len(clips) == len(numbers)


def test_nearest_centroid_classifier_separates_the_styles() -> None:
    artists = range(4)
    spectra = np.stack(
        [[mean_log_mel(synthesize(genre, artist, 0, 3.0, SEED)) for artist in artists] for genre in STYLES]
    )
    hits = []
    for left_out in artists:
        centroids = np.delete(spectra, left_out, axis=1).mean(axis=1)
        gaps = np.linalg.norm(spectra[:, left_out, None] - centroids, axis=2)
        hits += list(gaps.argmin(axis=1) == np.arange(len(STYLES)))
    assert np.mean(hits) > 0.7  # chance is 1 in 8
