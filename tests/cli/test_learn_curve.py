"""``music-genre learn-curve``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.features.store import INDEX, SpectrogramStore, write_description
from transfer_projects import ENCODER, add_transfer

Command = Callable[..., Any]

ROOT = Path(__file__).parents[2]
CELL = r"[ \d]+\.\d \(\d+\.\d-\d+\.\d\)"
ANSWER = r"[\d.]+ points: {} to {} clips a genre \(95 % interval -?[\d.]+ to -?[\d.]+\)\."


def test_curve_is_printed_and_drawn(in_checkout: Path, command: Command, tmp_path: Path) -> None:
    output = tmp_path / "curve.png"
    options = ("learn-curve", "--models", "baseline", "--repeats", "2", "--output", output)
    measured = command(*options, "--sizes", "4,2,4,500")
    assert measured.code == 0, measured.err
    heading, names, *rows, _, calibration, left_out, picture, answer = measured.lines
    assert max(map(len, (heading, names, *rows))) <= 80
    assert names.split() == ["clips", "baseline"]
    assert [re.fullmatch(rf" +(\d) +{CELL} *", row)[1] for row in rows] == ["2", "4"]  # type: ignore[index]
    assert re.fullmatch(r"  baseline 0\.\d{3} \(0\.\d{3}-0\.\d{3}\)", calibration)
    assert re.fullmatch(r"Left out: 500; (Folk|R&B|Rock) has \d clips in the smallest training fold\.", left_out)
    assert picture == f"Picture: {output}"
    assert re.fullmatch(r"Twice as many labels (gained|lost) baseline " + ANSWER.format(2, 4), answer)
    drawn = output.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert command(*options, "--sizes", "2,4,500").out == measured.out
    assert output.read_bytes() == drawn
    every = command(*options, "--sizes", "2,all").lines
    assert every[3].startswith("  all ")
    assert re.fullmatch(
        r"All labels (gained|lost) baseline [\d.]+ points: instead of 2 clips a genre \(.*\)\.", every[-1]
    )
    alone = command(*options, "--sizes", "2").lines
    assert alone[2].rstrip() == rows[0].rstrip()
    assert alone[-1].startswith("One size alone does not tell")


@pytest.fixture
def embedded_checkout(writable_checkout: Path) -> Path:
    """A checkout with embeddings that tell the genres apart; those of test are no numbers."""
    add_transfer(writable_checkout)
    data = SpectrogramStore.open(writable_checkout / "data/spectrograms")
    folder = remove_embeddings(writable_checkout) / "musicnn"
    folder.mkdir(parents=True)
    index = data.index.assign(shard="all.npy", row=range(len(data.index)))
    x = np.random.default_rng(0).normal(0, 0.1, (len(index), 2, 6)).astype(np.float32)
    x[np.arange(len(index)), :, index["label"]] += 3
    x[(index["split"] == "test").to_numpy()] = np.nan
    np.save(folder / "all.npy", x)
    index.to_parquet(folder / INDEX, index=False)
    write_description(folder, data.genres, data.min_duration_s, ENCODER)
    return writable_checkout


def remove_embeddings(checkout: Path) -> Path:
    """The folder where embeddings would be."""
    shutil.rmtree(checkout / "data/embeddings", ignore_errors=True)
    return checkout / "data/embeddings"


def test_models_with_embeddings_are_measured_by_default(embedded_checkout: Path, command: Command) -> None:
    measured = command("learn-curve", "--repeats", "1", "--sizes", "2,5")
    assert measured.code == 0, measured.err
    assert measured.lines[1].split() == ["clips", "baseline", "transfer"]
    assert measured.lines[2].endswith("100.0 (100.0-100.0)")
    assert (embedded_checkout / "learning_curve.png").is_file()


def test_no_artist_is_trained_on_and_held_out(writable_checkout: Path, command: Command) -> None:
    table = writable_checkout / "data/splits.parquet"
    splits = pd.read_parquet(table)
    splits.assign(artist_id=splits["genre"] + (splits["track_id"] % 2).astype(str)).to_parquet(table)
    measured = command("learn-curve", "--models", "baseline", "--repeats", "1", "--sizes", "2,5")
    assert measured.code == 0, measured.err
    splits.assign(artist_id=splits["genre"]).to_parquet(table)
    assert "Folk has fewer than two artists" in command("learn-curve", "--models", "baseline").reason
    splits.iloc[1:].to_parquet(table)
    assert "hold other clips" in command("learn-curve", "--models", "baseline").reason
    table.unlink()
    assert "there is no " in command("learn-curve", "--models", "baseline").reason


@pytest.mark.slow
def test_named_network_is_trained_by_its_recipe(in_checkout: Path, command: Command, tmp_path: Path) -> None:
    output = tmp_path / "curve.png"
    measured = command("learn-curve", "--models", "crnn", "--repeats", "1", "--sizes", "3", "--output", output)
    assert measured.code == 0, measured.err
    assert measured.lines[1].split() == ["clips", "crnn"]
    assert re.fullmatch(rf" +3 +{CELL} *", measured.lines[2])
    assert "Epoch 2/2" in measured.err


@pytest.mark.parametrize("sizes", ["", "0,3", "-2", "3,four", "2.5"])
def test_sizes_are_positive_integers(in_clone: Path, command: Command, sizes: str) -> None:
    refused = command("learn-curve", f"--sizes={sizes}")
    assert (refused.code, refused.out) == (2, "")
    assert "positive integers" in refused.err


def test_missing_spectrograms_or_embeddings_are_one_line(
    in_clone: Path, writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_embeddings(writable_checkout)
    add_transfer(writable_checkout)
    assert "holds no embeddings" in command("learn-curve", "--models", "transfer").reason
    by_default = command("learn-curve", "--repeats", "1", "--sizes", "2")
    assert by_default.lines[1].split() == ["clips", "baseline"]
    monkeypatch.chdir(in_clone)
    assert "holds no spectrograms" in command("learn-curve").reason


def test_wrong_models_sizes_and_output_are_one_line(in_checkout: Path, command: Command, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "curve.png")
    assert "no model 'ensemble' to train; there are" in command("learn-curve", "--models", "ensemble", *output).reason
    assert "no size of --sizes is that small" in command("learn-curve", "--sizes", "99", *output).reason
    one = command("learn-curve", "--models", "baseline", "--sizes", "1,2", *output)
    assert "baseline needs at least two clips" in one.reason
    assert "is not a folder" in command("learn-curve", "--output", tmp_path / "lost/curve.png").reason
    assert not list(tmp_path.iterdir())
