"""The cache of spectrograms: what is finished is reused, what is not does not look finished."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.features.cache import (
    CLIPS_PER_SHARD,
    FailedClip,
    build_store,
    cached_clips,
    plan_shards,
    publish_shard,
    read_clip,
    shard_exists,
    write_shard,
)
from music_genre.features.extraction import ClipResult, ClipSource
from music_genre.features.statistics import spectrogram_statistics
from music_genre.features.store import SpectrogramStore

SILENT = AudioError(IssueReason.SILENT, "no sound")
SPLITS = ("training", "test")


def clip(track_id: int) -> np.ndarray:
    """(6, 4) float32 dB, different for each track."""
    return np.random.default_rng(track_id).uniform(-79, 0, (6, 4)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 512, 513, 3000])
def test_every_clip_is_in_one_shard_of_at_most_512(count: int) -> None:
    shards = plan_shards(range(count))
    assert sorted(track_id for shard in shards for track_id in shard) == list(range(count))
    assert all(0 < len(shard) <= 512 == CLIPS_PER_SHARD for shard in shards)


def test_added_clip_changes_its_own_shard_only() -> None:
    before, after = plan_shards(range(0, 6000, 2)), plan_shards([*range(0, 6000, 2), 4001])
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert 4001 in changed[0]


def test_interrupted_shard_does_not_look_finished(tmp_path: Path) -> None:
    def clips() -> Iterator[tuple[int, np.ndarray]]:
        yield 1, clip(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, "shard", clips())
    assert not shard_exists(tmp_path, "shard")


def test_shard_is_what_numpy_saves(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard", [(1, clip(1)), (2, clip(2))])
    np.save(tmp_path / "numpy.npy", np.stack([clip(1), clip(2)]).astype(np.float16))
    assert (tmp_path / "shard.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_full_disk_is_an_error_with_a_number(tmp_path: Path) -> None:
    code = f"""
import pathlib, resource, signal
import numpy as np
from music_genre.features.cache import write_shard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
write_shard(pathlib.Path({str(tmp_path)!r}), "shard", [(1, np.zeros((100, 100)))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert not shard_exists(tmp_path, "shard")


def test_clips_are_found_by_their_cache_keys(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard", [(1, clip(1)), (2, SILENT), (3, clip(3))], {1: "one", 2: "two", 3: "three"})
    cached = cached_clips(tmp_path)
    assert set(cached) == {"one", "three"}
    np.testing.assert_array_equal(read_clip(*cached["three"]), clip(3).astype(np.float16))


def test_failed_clip_is_reported_and_others_are_stored(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard", [(1, clip(1)), (2, SILENT), (3, clip(3))])
    rows, failed = publish_shard(tmp_path, "shard", tmp_path / "training-00000.npy", spectrogram_statistics)
    assert rows["track_id"].tolist() == [1, 3]
    assert failed == [FailedClip(2, IssueReason.SILENT, "no sound")]


def test_shard_without_good_clips_is_not_published(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard", [(2, SILENT)])
    rows, failed = publish_shard(tmp_path, "shard", tmp_path / "training-00000.npy", spectrogram_statistics)
    assert (len(rows), len(failed)) == (0, 1)
    assert not (tmp_path / "training-00000.npy").exists()


class Source:
    """Clips in memory; it counts which of them are extracted."""

    def __init__(self, files: dict[int, str]) -> None:
        self.files, self.extracted = files, list[int]()

    def clips(self) -> ClipSource:
        return ClipSource(self.files, self.extract, made_by=None)

    def extract(self, track_ids: Sequence[int]) -> Iterator[ClipResult]:
        for track_id in track_ids:
            self.extracted.append(track_id)
            yield SILENT if self.files[track_id] == "silent" else clip(int(self.files[track_id]))


def build(folder: Path, source: Source) -> list[FailedClip]:
    """The store of a source whose tracks are test from id 100 on."""
    rows = [(track_id, "Rock", "test" if track_id >= 100 else "training") for track_id in sorted(source.files)]
    splits = pd.DataFrame(rows, columns=["track_id", "genre", "split"])
    return build_store(folder / "store", folder / "cache", splits, SPLITS, source.clips(), 1.0)


def stored(folder: Path) -> dict[int, np.ndarray]:
    store = SpectrogramStore.open(folder / "store")
    datasets = [store.split(split) for split in SPLITS]
    return {i: mel for data in datasets for i, mel in zip(data.track_id, data.read(np.arange(len(data))), strict=True)}


def test_second_build_extracts_nothing(tmp_path: Path) -> None:
    files = {1: "11", 2: "silent", 3: "13", 100: "14"}
    first, second = Source(files), Source(files)
    assert build(tmp_path, first) == build(tmp_path, second) == [FailedClip(2, IssueReason.SILENT, "no sound")]
    assert sorted(first.extracted) == [1, 2, 3, 100]
    assert second.extracted == []
    assert sorted(stored(tmp_path)) == [1, 3, 100]


def test_known_file_under_another_id_and_split_is_not_extracted_again(tmp_path: Path) -> None:
    build(tmp_path, Source({1: "11", 2: "12", 100: "13"}))
    changed = Source({5: "12", 6: "20", 101: "11"})
    build(tmp_path, changed)
    assert changed.extracted == [6]
    assert {i: mel.tolist() for i, mel in stored(tmp_path).items()} == {
        i: clip(seed).astype(np.float16).astype(np.float32).tolist() for i, seed in {5: 12, 6: 20, 101: 11}.items()
    }


def test_collection_without_a_good_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match="no clip"):
        build(tmp_path, Source({1: "silent"}))


def test_shards_that_are_not_needed_any_more_are_removed(tmp_path: Path) -> None:
    build(tmp_path, Source({1: "11", 100: "13"}))
    before = {file.stem for file in (tmp_path / "cache").iterdir()}
    (tmp_path / "cache/interrupted.npy.part").touch()
    build(tmp_path, Source({1: "12", 100: "13"}))
    after = {file.stem for file in (tmp_path / "cache").iterdir()}
    assert len(before) == len(after) == 2
    assert len(before & after) == 1


def test_index_is_in_the_order_of_splits_and_shards_are_named_after_them(tmp_path: Path) -> None:
    build(tmp_path, Source({1: "11", 2: "12", 100: "13"}))
    index = pd.read_parquet(tmp_path / "store/index.parquet")
    assert index[["track_id", "shard"]].to_numpy().tolist() == [
        [1, "training-00000.npy"],
        [2, "training-00000.npy"],
        [100, "test-00000.npy"],
    ]
