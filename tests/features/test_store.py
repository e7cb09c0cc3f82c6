"""Stored spectrograms: clips, labels and statistics come back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.errors import MusicGenreError
from music_genre.features import cache
from music_genre.features.cache import plan_shards, publish_shard, write_shard
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.features.statistics import spectrogram_statistics
from music_genre.features.store import ClipDataset, SpectrogramStore, label_order, write_description, write_index

N_FRAMES, N_MELS = 6, 4
TRANSFORM = MelConfig(
    sample_rate_hz=22_050, n_fft=2048, hop_length=1024, n_mels=N_MELS, n_frames=N_FRAMES, clip_duration_s=31
)
TRACK_IDS = {"training": [30, 2, 17, 4, 9, 8, 21], "validation": [5, 1], "test": [40, 3]}
GENRES = {"Rock": [30, 2, 5, 40], "Blues": [17, 4, 1, 3], "Hip-Hop": [9, 8, 21]}
COLUMNS = [
    *("track_id", "split", "genre", "label", "shard", "row", "n_frames", "n_mels"),
    *("finite_fraction", "minimum_db", "maximum_db", "mean_db", "std_db", "silent_fraction", "upper_fraction"),
]


def clip(track_id: int) -> np.ndarray:
    """(N_FRAMES, N_MELS) float32 dB, different for each track."""
    return np.random.default_rng(track_id).uniform(-79, 0, (N_FRAMES, N_MELS)).astype(np.float32)


def splits() -> pd.DataFrame:
    genre = {track_id: name for name, track_ids in GENRES.items() for track_id in track_ids}
    rows = [(track_id, genre[track_id], split) for split, ids in TRACK_IDS.items() for track_id in ids]
    return pd.DataFrame(rows, columns=["track_id", "genre", "split"]).sort_values("track_id")


def write_split(folder: Path, split: str, track_ids: list[int]) -> pd.DataFrame:
    """Write and publish every shard of a split."""
    shards, tables = folder / "shards", []
    shards.mkdir(exist_ok=True)
    for number, ids in enumerate(plan_shards(track_ids)):
        write_shard(shards, f"{split}{number}", [(track_id, clip(track_id)) for track_id in ids])
        target = folder / f"{split}-{number:05d}.npy"
        tables.append(publish_shard(shards, f"{split}{number}", target, spectrogram_statistics)[0])
    return pd.concat(tables, ignore_index=True)


def write_store(folder: Path, transform: MelConfig | None) -> None:
    tables = [write_split(folder, split, ids) for split, ids in TRACK_IDS.items()]
    write_index(folder, pd.concat(tables, ignore_index=True), splits())
    write_description(folder, label_order(splits()), 10.0, transform)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven clips in shards of three."""
    monkeypatch.setattr(cache, "CLIPS_PER_SHARD", 3)
    write_store(tmp_path, TRANSFORM)
    return tmp_path


@pytest.mark.parametrize("split", TRACK_IDS)
def test_clips_come_back_in_half_precision(folder: Path, split: str) -> None:
    dataset = SpectrogramStore.open(folder).split(split)
    assert dataset.track_id.tolist() == [track_id for shard in plan_shards(TRACK_IDS[split]) for track_id in shard]
    assert sorted(dataset.track_id) == sorted(TRACK_IDS[split])
    assert dataset.shape == (N_FRAMES, N_MELS)
    mel = dataset.read(np.arange(len(dataset)))
    assert mel.dtype == np.float32
    expected = np.stack([clip(track_id) for track_id in dataset.track_id])
    np.testing.assert_array_equal(mel, expected.astype(np.float16))


def test_clips_are_read_in_the_order_of_positions(folder: Path) -> None:
    dataset = SpectrogramStore.open(folder).split("training")
    positions = np.array([6, 0, 3, 3, 5])
    expected = np.stack([clip(dataset.track_id[position]) for position in positions]).astype(np.float16)
    np.testing.assert_array_equal(dataset.read(positions), expected)
    assert dataset.read(np.array([], dtype=int)).shape == (0, N_FRAMES, N_MELS)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_batches_give_every_clip_once(folder: Path, size: int) -> None:
    dataset = SpectrogramStore.open(folder).split("training")
    batches = list(dataset.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    np.testing.assert_array_equal(np.concatenate(batches), dataset.read(np.arange(7)))


def test_shards_are_memory_mapped_read_only(folder: Path) -> None:
    dataset = SpectrogramStore.open(folder).split("training")
    assert len(dataset.shards) == len(plan_shards(TRACK_IDS["training"])) > 1
    assert all(isinstance(shard, np.memmap) and shard.dtype == np.float16 for shard in dataset.shards)
    assert not any(shard.flags.writeable for shard in dataset.shards)


def test_labels_are_positions_in_genres_sorted_by_name(folder: Path) -> None:
    store = SpectrogramStore.open(folder)
    assert store.genres == ("Blues", "Hip-Hop", "Rock")
    training = store.split("training")
    labels = dict(zip(training.track_id.tolist(), training.label.tolist(), strict=True))
    assert labels == {30: 2, 2: 2, 17: 0, 4: 0, 9: 1, 8: 1, 21: 1}
    for row in store.index.itertuples():
        assert row.track_id in GENRES[row.genre]
        assert store.genres[row.label] == row.genre


def test_index_has_the_columns_of_the_contract(folder: Path) -> None:
    index = pd.read_parquet(folder / "index.parquet")
    assert index.columns.tolist() == COLUMNS
    assert len(index) == 11
    assert index["track_id"].dtype == index["label"].dtype == index["row"].dtype == np.int64


def test_index_gives_the_shard_and_row_of_each_clip(folder: Path) -> None:
    for row in pd.read_parquet(folder / "index.parquet").itertuples():
        stored = np.load(folder / row.shard, mmap_mode="r")[row.row]
        np.testing.assert_array_equal(stored, clip(row.track_id).astype(np.float16))
        assert row.split == row.shard.split("-")[0]


def test_index_has_statistics_of_the_stored_clip(folder: Path) -> None:
    row = pd.read_parquet(folder / "index.parquet").set_index("track_id").loc[17]
    stored = clip(17).astype(np.float16).astype(np.float32)
    assert (row["n_frames"], row["n_mels"]) == (N_FRAMES, N_MELS)
    assert (row["finite_fraction"], row["silent_fraction"]) == (1.0, 0.0)
    assert row["minimum_db"] == stored.min()
    assert row["maximum_db"] == stored.max()
    assert row["mean_db"] == pytest.approx(stored.mean())
    assert row["std_db"] == pytest.approx(stored.std())


def test_description_comes_back(folder: Path) -> None:
    store = SpectrogramStore.open(folder)
    assert store.transform == TRANSFORM
    assert store.features_version == FEATURES_VERSION
    assert store.min_duration_s == 10.0
    assert store.shape == (N_FRAMES, N_MELS)


def test_ready_spectrograms_have_no_transform_and_their_most_frequent_shape(tmp_path: Path) -> None:
    write_store(tmp_path, None)
    index = pd.read_parquet(tmp_path / "index.parquet")
    index.loc[0, "n_frames"] = N_FRAMES + 1
    index.to_parquet(tmp_path / "index.parquet")
    store = SpectrogramStore.open(tmp_path)
    assert store.transform is None
    assert store.shape == (N_FRAMES, N_MELS)


def test_folder_without_spectrograms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=f"{tmp_path} holds no spectrograms"):
        SpectrogramStore.open(tmp_path)


def test_subsample_is_stratified_and_part_of_every_larger_one() -> None:
    label = np.repeat([0, 1, 2], [100, 40, 1])
    dataset = ClipDataset(np.arange(141), label, (), np.zeros(141, int), np.arange(141))
    samples = {fraction: dataset.subsample(fraction) for fraction in (0.1, 0.25, 0.5, 1.0)}
    assert np.bincount(samples[0.1].label).tolist() == [10, 4, 1]
    assert np.bincount(samples[0.25].label).tolist() == [25, 10, 1]
    assert set(samples[0.1].track_id) < set(samples[0.25].track_id) < set(samples[0.5].track_id)
    np.testing.assert_array_equal(samples[1.0].track_id, dataset.track_id)
    assert set(samples[0.5].track_id) != set(range(50)) | set(range(100, 120)) | {140}
