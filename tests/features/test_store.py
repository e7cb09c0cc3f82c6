"""Spectrograms on disk: what goes in comes out, in the order and under the labels it should."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.errors import AudioError
from music_genre.features import store as shards
from music_genre.features.mel import MelConfig
from music_genre.features.store import (
    MelDataset,
    SpectrogramStore,
    find_clips,
    is_stored,
    place_shard,
    plan_shards,
    read_clip,
    store_shard,
    write_index,
)

FRAMES, BANDS = 6, 4
TRANSFORM = MelConfig(
    sample_rate_hz=22_050, n_fft=2048, hop_length=1024, n_mels=BANDS, frames=FRAMES, clip_duration_s=31
)
CHOSEN = {"training": [30, 2, 17, 4, 9, 8, 21], "validation": [5, 1], "test": [40, 3]}
GENRES = {"Rock": [30, 2, 5, 40], "Blues": [17, 4, 1, 3], "Hip-Hop": [9, 8, 21]}
COLUMNS = [
    *("track_id", "split", "genre", "label", "shard", "row", "frames", "n_mels"),
    *("finite_share", "minimum_db", "maximum_db", "mean_db", "std_db", "silent_share"),
]


def clip(track_id: int) -> np.ndarray:
    """(FRAMES, BANDS) float32 dB of its own for each track."""
    return np.random.default_rng(track_id).uniform(-79, 0, (FRAMES, BANDS)).astype(np.float32)


def splits() -> pd.DataFrame:
    genre = {track_id: name for name, track_ids in GENRES.items() for track_id in track_ids}
    rows = [(track_id, genre[track_id], split) for split, ids in CHOSEN.items() for track_id in ids]
    return pd.DataFrame(rows, columns=["track_id", "genre", "split"]).sort_values("track_id")


def write_split(folder: Path, split: str, clips: list[tuple[int, np.ndarray]]) -> pd.DataFrame:
    """Store and place every clip of a split."""
    stored, mel, placed = folder / "stored", dict(clips), []
    stored.mkdir(exist_ok=True)
    for number, track_ids in enumerate(plan_shards(list(mel))):
        store_shard(stored, f"{split}{number}", [(track_id, mel[track_id]) for track_id in track_ids])
        placed.append(place_shard(stored, f"{split}{number}", folder / f"{split}-{number:05d}.npy")[0])
    return pd.concat(placed, ignore_index=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven clips in shards of three."""
    monkeypatch.setattr(shards, "CLIPS_PER_SHARD", 3)
    written = [write_split(tmp_path, split, [(i, clip(i)) for i in ids]) for split, ids in CHOSEN.items()]
    write_index(tmp_path, pd.concat(written, ignore_index=True), splits(), TRANSFORM, 10.0)
    return tmp_path


def test_a_shard_holds_512_clips() -> None:
    assert shards.CLIPS_PER_SHARD == 512


def test_shards_are_named_after_their_split_and_number(folder: Path) -> None:
    for split, track_ids in CHOSEN.items():
        planned = plan_shards(track_ids)
        names = sorted(path.name for path in folder.glob(f"{split}-*.npy"))
        assert names == [f"{split}-{number:05d}.npy" for number in range(len(planned))]
        sizes = [np.load(folder / name, mmap_mode="r").shape for name in names]
        assert sizes == [(len(shard), FRAMES, BANDS) for shard in planned]
    assert len(plan_shards(CHOSEN["training"])) > 1


@pytest.mark.parametrize("split", CHOSEN)
def test_clips_come_back_in_order_as_half_precision_keeps_them(folder: Path, split: str) -> None:
    arrays = SpectrogramStore.open(folder).split(split)
    assert arrays.track_id.tolist() == [track_id for shard in plan_shards(CHOSEN[split]) for track_id in shard]
    assert sorted(arrays.track_id) == sorted(CHOSEN[split])
    assert arrays.shape == (FRAMES, BANDS)
    mel = arrays.read(np.arange(len(arrays)))
    assert mel.dtype == np.float32
    expected = np.stack([clip(track_id) for track_id in arrays.track_id])
    np.testing.assert_array_equal(mel, expected.astype(np.float16))


def test_clips_are_read_in_the_order_asked_for(folder: Path) -> None:
    arrays = SpectrogramStore.open(folder).split("training")
    positions = np.array([6, 0, 3, 3, 5])
    expected = np.stack([clip(arrays.track_id[position]) for position in positions]).astype(np.float16)
    np.testing.assert_array_equal(arrays.read(positions), expected)
    assert arrays.read(np.array([], dtype=int)).shape == (0, FRAMES, BANDS)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_batches_give_every_clip_once(folder: Path, size: int) -> None:
    arrays = SpectrogramStore.open(folder).split("training")
    batches = list(arrays.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    np.testing.assert_array_equal(np.concatenate(batches), arrays.read(np.arange(7)))


def test_shards_are_mapped_not_loaded(folder: Path) -> None:
    arrays = SpectrogramStore.open(folder).split("training")
    assert len(arrays.shards) == len(plan_shards(CHOSEN["training"]))
    assert all(isinstance(shard, np.memmap) and shard.dtype == np.float16 for shard in arrays.shards)
    assert not any(shard.flags.writeable for shard in arrays.shards)


def test_labels_are_positions_in_the_genres_sorted_by_name(folder: Path) -> None:
    stored = SpectrogramStore.open(folder)
    assert stored.genres == ("Blues", "Hip-Hop", "Rock")
    training = stored.split("training")
    labels = dict(zip(training.track_id.tolist(), training.label.tolist(), strict=True))
    assert labels == {30: 2, 2: 2, 17: 0, 4: 0, 9: 1, 8: 1, 21: 1}
    for row in stored.index.itertuples():
        assert row.track_id in GENRES[row.genre]
        assert stored.genres[row.label] == row.genre


def test_the_index_has_exactly_the_columns_of_the_contract(folder: Path) -> None:
    index = pd.read_parquet(folder / "index.parquet")
    assert index.columns.tolist() == COLUMNS
    assert len(index) == 11
    assert index["track_id"].dtype == index["label"].dtype == index["row"].dtype == np.int64


def test_the_index_says_where_each_clip_lies(folder: Path) -> None:
    index = pd.read_parquet(folder / "index.parquet")
    for row in index.itertuples():
        stored = np.load(folder / row.shard, mmap_mode="r")[row.row]
        np.testing.assert_array_equal(stored, clip(row.track_id).astype(np.float16))
        assert row.split == row.shard.split("-")[0]


def test_the_index_describes_the_stored_clip(folder: Path) -> None:
    row = pd.read_parquet(folder / "index.parquet").set_index("track_id").loc[17]
    stored = clip(17).astype(np.float16).astype(np.float32)
    assert (row["frames"], row["n_mels"], row["finite_share"], row["silent_share"]) == (FRAMES, BANDS, 1.0, 0.0)
    assert row["minimum_db"] == stored.min()
    assert row["maximum_db"] == stored.max()
    assert row["mean_db"] == pytest.approx(stored.mean())
    assert row["std_db"] == pytest.approx(stored.std())


def test_what_is_not_finite_is_counted_and_left_out_of_the_figures(tmp_path: Path) -> None:
    broken, hopeless = clip(1), np.full((FRAMES, BANDS), np.nan, np.float32)
    broken[0, :3] = np.nan, np.inf, -np.inf
    table = write_split(tmp_path, "training", [(1, broken), (2, hopeless)]).set_index("track_id")
    assert table.loc[1, "finite_share"] == 1 - 3 / (FRAMES * BANDS)
    assert -80 <= table.loc[1, "minimum_db"] <= table.loc[1, "maximum_db"] <= 0
    assert table.loc[2, "finite_share"] == 0
    assert np.isnan(table.loc[2, "maximum_db"])


def test_silence_is_the_share_of_frames_at_the_floor(tmp_path: Path) -> None:
    half, almost = clip(1), clip(2)
    half[3:] = -80
    almost[0, 1:] = -80
    table = write_split(tmp_path, "training", [(1, half), (2, almost)])
    assert table["silent_share"].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("count", [0, 1, 512, 513, 3000])
def test_every_clip_is_in_one_shard_of_at_most_512(count: int) -> None:
    planned = plan_shards(range(count))
    assert sorted(track_id for shard in planned for track_id in shard) == list(range(count))
    assert all(0 < len(shard) <= 512 for shard in planned)


def test_a_clip_that_comes_or_goes_changes_its_own_shard_only() -> None:
    before, after = plan_shards(range(0, 6000, 2)), plan_shards([*range(0, 6000, 2), 4001])
    assert len(before) == len(after)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert 4001 in changed[0]


def test_an_interrupted_shard_does_not_look_finished(tmp_path: Path) -> None:
    def clips() -> Iterator[tuple[int, np.ndarray]]:
        yield 1, clip(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_shard(tmp_path, "shard", clips())
    assert not is_stored(tmp_path, "shard")


def test_a_shard_is_what_numpy_would_save(tmp_path: Path) -> None:
    store_shard(tmp_path, "shard", [(1, clip(1)), (2, clip(2))])
    np.save(tmp_path / "numpy.npy", np.stack([clip(1), clip(2)]).astype(np.float16))
    assert (tmp_path / "shard.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    code = f"""
import pathlib, resource, signal
import numpy as np
from music_genre.shards import store_shard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
store_shard(pathlib.Path({str(tmp_path)!r}), "shard", [(1, np.zeros((100, 100)))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert not is_stored(tmp_path, "shard")


def test_clips_are_found_by_what_they_were_made_of(tmp_path: Path) -> None:
    origin = {1: "one", 2: "two", 3: "three"}
    clips = [(1, clip(1)), (2, AudioError("silent", "no sound")), (3, clip(3))]
    store_shard(tmp_path, "shard", clips, origin)
    found = find_clips(tmp_path)
    assert set(found) == {"one", "three"}
    np.testing.assert_array_equal(read_clip(*found["three"]), clip(3).astype(np.float16))


def test_a_faulty_clip_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    store_shard(tmp_path, "shard", [(1, clip(1)), (2, AudioError("silent", "no sound")), (3, clip(3))])
    rows, faults = place_shard(tmp_path, "shard", tmp_path / "training-00000.npy")
    assert rows["track_id"].tolist() == [1, 3]
    assert faults == [(2, "silent", "no sound")]


def test_a_shard_of_faulty_clips_alone_is_no_file(tmp_path: Path) -> None:
    store_shard(tmp_path, "shard", [(2, AudioError("silent", "no sound"))])
    rows, faults = place_shard(tmp_path, "shard", tmp_path / "training-00000.npy")
    assert (len(rows), len(faults)) == (0, 1)
    assert not (tmp_path / "training-00000.npy").exists()


def test_the_transform_and_the_shortest_clip_come_back(folder: Path) -> None:
    stored = SpectrogramStore.open(folder)
    assert stored.transform == TRANSFORM
    assert stored.min_duration_s == 10.0
    assert stored.shape == (FRAMES, BANDS)


def test_ready_spectrograms_have_no_transform(tmp_path: Path) -> None:
    written = write_split(tmp_path, "training", [(track_id, clip(track_id)) for track_id in CHOSEN["training"]])
    write_index(tmp_path, written, splits(), None, 10.0)
    assert SpectrogramStore.open(tmp_path).transform is None


def test_a_share_of_the_clips_has_that_share_of_every_genre_and_is_part_of_every_larger_one() -> None:
    label = np.repeat([0, 1, 2], [100, 40, 1])
    every = MelDataset(np.arange(141), label, (), np.zeros(141, int), np.arange(141))
    parts = {share: every.part(share) for share in (0.1, 0.25, 0.5, 1.0)}
    assert np.bincount(parts[0.1].label).tolist() == [10, 4, 1]
    assert np.bincount(parts[0.25].label).tolist() == [25, 10, 1]
    assert set(parts[0.1].track_id) < set(parts[0.25].track_id) < set(parts[0.5].track_id)
    np.testing.assert_array_equal(parts[1.0].track_id, every.track_id)
    assert set(parts[0.5].track_id) != set(range(50)) | set(range(100, 120)) | {140}
