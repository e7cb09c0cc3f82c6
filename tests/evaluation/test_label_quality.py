"""Labels that look wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.audio.folder import AudioFolder
from music_genre.datasets.fma import load_subset
from music_genre.datasets.sample import generate
from music_genre.evaluation.label_quality import find_label_issues, out_of_fold_probabilities, recording_digest
from music_genre.features.extraction import SpectrogramExtractor, extract_files
from music_genre.features.params import MelConfig
from music_genre.models.baseline import clip_statistics

GENRES = ("Folk", "Pop", "Rock")


def clips(n: int = 120) -> tuple[np.ndarray, pd.DataFrame]:
    """Features around a centre for each genre, four clips an artist."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    artist = pd.array([f"{label} {number // 12}" for number, label in enumerate(labels)], "string")
    genre = pd.array([GENRES[label] for label in labels], "string")
    features = rng.normal(0, 0.4, (n, 3)) + 3 * np.eye(3)[labels]
    return features, pd.DataFrame({"track_id": np.arange(n) + 100, "genre": genre, "artist_id": artist})


def issues_of(features: np.ndarray, tracks: pd.DataFrame, recordings: list[str] | None = None) -> pd.DataFrame:
    names = recordings or [str(number) for number in range(len(tracks))]
    return find_label_issues(features, tracks, names, GENRES, seed=7)


def test_flipped_labels_come_first_with_what_is_believed_instead() -> None:
    features, tracks = clips()
    flipped = [3, 40, 77, 101, 110, 118]  # 5 %
    truth = tracks.loc[flipped, "genre"].tolist()
    tracks.loc[flipped, "genre"] = [GENRES[(GENRES.index(genre) + 1) % 3] for genre in truth]
    first = issues_of(features, tracks).head(len(flipped))
    assert set(first["track_id"]) == {100 + position for position in flipped}
    assert first.set_index("track_id").loc[[100 + p for p in flipped], "suggested"].tolist() == truth
    assert (first["self_confidence"] < first["suggested_confidence"]).all()


def test_right_labels_are_no_issues() -> None:
    assert issues_of(*clips()).empty


def test_copies_under_two_labels_come_before_everything() -> None:
    features, tracks = clips()
    recordings = [str(number) for number in range(len(tracks))]
    recordings[4] = recordings[0] = "the same"  # Pop and Folk
    tracks.loc[7, "genre"] = "Rock"
    table = issues_of(features, tracks, recordings)
    assert set(table["track_id"][:2]) == {100, 104}
    assert set(table["note"][:2]) == {"the same recording is 104 as Pop", "the same recording is 100 as Folk"}
    assert table["note"][2:].eq("").all()


def test_model_saw_no_clip_of_the_artist_that_it_judges() -> None:
    # Every artist has a sign of its own and a label at random: whoever saw the artist would know the label.
    rng = np.random.default_rng(1)
    artists = np.repeat(np.arange(40), 5)
    labels = rng.integers(0, 2, 40)[artists]
    features = 10 * np.eye(40)[artists] + rng.normal(0, 0.1, (200, 40))
    probabilities = out_of_fold_probabilities(features, labels, artists, 2, seed=0)
    assert np.mean(probabilities.argmax(axis=1) == labels) < 0.7


def test_genre_of_a_single_artist_is_not_judged() -> None:
    features, tracks = clips()
    tracks.loc[tracks["genre"] == "Rock", "artist_id"] = "The Ones"
    probabilities = out_of_fold_probabilities(
        features, np.arange(120) % 3, pd.factorize(tracks["artist_id"])[0], 3, seed=0
    )
    assert np.isnan(probabilities[2::3]).all()
    assert not np.isnan(probabilities[0::3]).any()


def test_same_clips_give_the_same_table() -> None:
    features, tracks = clips()
    features += np.random.default_rng(2).normal(0, 1.5, features.shape)
    assert issues_of(features, tracks).equals(issues_of(features, tracks))


def test_equal_spectrograms_are_one_recording() -> None:
    mel = np.random.default_rng(0).normal(-40, 10, (8, 4))
    assert recording_digest(mel) == recording_digest(mel.astype(np.float16))
    assert recording_digest(mel) != recording_digest(mel + 1)


@pytest.mark.slow
def test_flipped_labels_of_the_sample_come_first(tmp_path: Path) -> None:
    transform = MelConfig(
        sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=128, n_frames=160, clip_duration_s=8
    )
    generate(tmp_path, 10, 8.0, seed=7)
    tracks = load_subset(tmp_path, "small").astype({"artist_id": "string"})
    mel = np.stack(
        list(extract_files(AudioFolder(tmp_path), tracks["path"].tolist(), SpectrogramExtractor(transform)))
    ).astype(np.float32)
    genres = sorted(tracks["genre"].unique())
    flipped = np.random.default_rng(0).choice(len(tracks), round(0.05 * len(tracks)), replace=False)
    for position in flipped:
        tracks.loc[position, "genre"] = genres[(genres.index(tracks.loc[position, "genre"]) + 3) % len(genres)]
    recordings = [recording_digest(clip) for clip in mel]
    first = find_label_issues(clip_statistics(mel), tracks, recordings, genres, seed=7).head(len(flipped))
    assert set(first["track_id"]) == set(tracks.loc[flipped, "track_id"])
