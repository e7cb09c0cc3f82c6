"""``music-genre predict --input-arrays FILE.npz --output FILE.csv``."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import ModelBundle
from music_genre.registry.versions import download_bundle, resolve
from music_genre.tracking import runs

Command = Callable[..., Any]

GENRES = ["Folk", "R&B", "Rock"]


@pytest.fixture(scope="module")
def clips(checkout: Path) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms (6, 64, 32) float32 dB and track ids (6,) of the test split."""
    test = SpectrogramStore.open(checkout / "data/spectrograms").split("test")
    return test.read(np.arange(len(test))), test.track_id


def champions_probabilities(folder: Path, mel: np.ndarray) -> np.ndarray:
    version = resolve(runs.connect(folder), "music-genre", "champion")
    return ModelBundle(download_bundle(version)).predict({SPECTROGRAMS: mel})


def test_table_has_ids_genres_and_probabilities(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    mel, track_id = clips
    np.savez(tmp_path / "test.npz", mel=mel, track_id=track_id)
    written = command("predict", "--input-arrays", tmp_path / "test.npz", "--output", tmp_path / "out.csv")
    assert (written.code, written.err) == (0, "")
    assert written.out == f"6 predictions written to {tmp_path / 'out.csv'}\n"
    with (tmp_path / "out.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["track_id", "genre", *GENRES]
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["track_id"].tolist() == track_id.tolist()
    np.testing.assert_allclose(table[GENRES], champions_probabilities(in_checkout, mel), atol=1e-5)
    assert table["genre"].tolist() == table[GENRES].idxmax(axis=1).tolist()


@pytest.mark.parametrize(
    "labels", [np.array([0, 0, 1, 1, 2, 2]), np.eye(3)[[0, 0, 1, 1, 2, 2]]], ids=["numbers", "one-hot"]
)
def test_labels_are_not_used(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray], labels: np.ndarray
) -> None:
    mel, track_id = clips
    np.savez(tmp_path / "without.npz", mel=mel, track_id=track_id)
    np.savez(tmp_path / "with.npz", mel=mel, track_id=track_id, label=labels)
    for name in ("without", "with"):
        written = command("predict", "--input-arrays", tmp_path / f"{name}.npz", "--output", tmp_path / f"{name}.csv")
        assert written.code == 0
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_ids_count_from_0_where_there_are_none(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez(tmp_path / "a.npz", clips[0])
    assert command("predict", "--input-arrays", tmp_path / "a.npz", "--output", tmp_path / "a.csv").code == 0
    assert pd.read_csv(tmp_path / "a.csv")["track_id"].tolist() == list(range(6))


def test_uint8_values_are_read_as_decibels(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    stored = np.round((np.clip(clips[0], -80, 0) + 80) * 255 / 80).astype(np.uint8)
    np.savez(tmp_path / "a.npz", mel=stored)
    assert command("predict", "--input-arrays", tmp_path / "a.npz", "--output", tmp_path / "a.csv").code == 0
    expected = champions_probabilities(in_checkout, stored.astype(np.float32) / 255 * 80 - 80)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "a.csv")[GENRES], expected, atol=1e-4)


def test_several_batches_keep_their_order(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez(tmp_path / "a.npz", mel=np.tile(clips[0], (25, 1, 1)), track_id=np.arange(150) * 3)
    assert command("predict", "--input-arrays", tmp_path / "a.npz", "--output", tmp_path / "a.csv").code == 0
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["track_id"].tolist() == list(range(0, 450, 3))
    expected = np.tile(champions_probabilities(in_checkout, clips[0]), (25, 1))
    np.testing.assert_allclose(table[GENRES], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 64, 31), (4, 32, 64), (64, 32), (0, 64, 32), (4, 64, 32, 1)])
def test_arrays_of_another_shape_are_refused(
    command: Command, in_checkout: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "a.npz", mel=np.zeros(shape, np.float32))
    reason = command("predict", "--input-arrays", tmp_path / "a.npz", "--output", tmp_path / "a.csv").reason
    assert str(tmp_path / "a.npz") in reason
    assert str(shape) in reason or str(shape[1:]) in reason
    assert not (tmp_path / "a.csv").exists()


def test_unreadable_archives_are_refused(command: Command, in_checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickled.npz", mel=np.array([{}], dtype=object))
    for name in ("missing.npz", "text.npz", "pickled.npz"):
        reason = command("predict", "--input-arrays", tmp_path / name, "--output", tmp_path / "a.csv").reason
        assert name in reason


def test_values_that_are_not_finite_are_refused(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    mel = clips[0].copy()
    mel[2, 5, 5] = np.nan
    np.savez(tmp_path / "a.npz", mel=mel)
    reason = command("predict", "--input-arrays", tmp_path / "a.npz", "--output", tmp_path / "a.csv").reason
    assert "not finite" in reason


def test_output_that_cannot_be_written_is_one_line(
    command: Command, in_checkout: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez(tmp_path / "a.npz", mel=clips[0])
    output = tmp_path / "nowhere/a.csv"
    assert str(output) in command("predict", "--input-arrays", tmp_path / "a.npz", "--output", output).reason


def test_section_with_the_scale_must_be_there(
    command: Command, writable_checkout: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    from dvc.utils.serialize import modify_yaml

    np.savez("a.npz", mel=clips[0])
    with modify_yaml("params.yaml") as params:
        del params["data"]["arrays"]
    assert "data.arrays" in command("predict", "--input-arrays", "a.npz", "--output", "a.csv").reason
