"""``music-genre artist-effect``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Command = Callable[..., Any]


@pytest.mark.slow
def test_difference_of_both_kinds_of_split_is_printed(command: Command, writable_checkout: Path) -> None:
    table = writable_checkout / "data/tracks.parquet"
    tracks = pd.read_parquet(table)
    artist = tracks.groupby("genre").cumcount() // 2
    tracks.assign(artist_id=tracks["genre"] + artist.astype(str)).to_parquet(table)
    measured = command("artist-effect", "--seeds", "3")
    assert measured.code == 0, measured.err
    assert re.fullmatch(
        r"no artist in two splits: accuracy ([\d.]+)% \(mean of 3 splits\)\n"
        r"random split:            accuracy ([\d.]+)%\n"
        r"A random split overestimates accuracy by (-?[\d.]+) points \(artist effect\);"
        r" 95 % interval -?[\d.]+ to -?[\d.]+\.\n",
        measured.out,
    )
    by_artist, random, difference = map(float, re.findall(r"(-?[\d.]+)(?:%| points)", measured.out))
    assert abs(random - by_artist - difference) < 0.11


@pytest.mark.slow
def test_unknown_artists_are_refused(command: Command, in_checkout: Path) -> None:
    assert "no track has a known artist" in command("artist-effect").reason
