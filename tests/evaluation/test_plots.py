"""Pictures show every name as it is: formulas and scripts of the world, the same on every machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from music_genre.evaluation.plots import (
    plot_agreement,
    plot_calibration,
    plot_confusion_matrix,
    plot_risk_coverage,
    plot_top_errors,
    save_figure,
)

NO_FORMULAS = ("A$AP", "$\\x$", "$$", "a^b_c", "50 %", "_indie", "{}", "R&B \\ Soul")
SCRIPTS = ("音乐", "演歌ロック", "케이팝", "موسيقى", "מוזיקה", "हिन्दी", "ไทย", "தமிழ்", "Đặng Жанр", "ქართული")
GENRES = (*NO_FORMULAS, *SCRIPTS)


def confusion_matrix() -> Figure:
    return plot_confusion_matrix(np.eye(len(GENRES), dtype=int), GENRES, f"{GENRES[0]}, test: {GENRES[8]}")


def agreement() -> Figure:
    counts = dict.fromkeys(("both", "a_only", "b_only", "neither"), 1)
    return plot_agreement(pd.DataFrame({"genre": GENRES, **counts}), "a", "b", "Test")


def top_errors() -> Figure:
    table = pd.DataFrame({"track_id": range(len(GENRES)), "actual": GENRES, "predicted": GENRES, "confidence": 0.5})
    return plot_top_errors(np.zeros((len(GENRES), 8, 4)), table, " ".join(GENRES))


def calibration() -> Figure:
    return plot_calibration({name: pd.DataFrame({"confidence": [0.5], "accuracy": [0.4]}) for name in GENRES}, "Test")


def risk_coverage() -> Figure:
    return plot_risk_coverage({name: pd.DataFrame({"coverage": [1], "accuracy": [0.4]}) for name in GENRES}, "Test")


@pytest.mark.parametrize("figure", [confusion_matrix, agreement, top_errors, calibration, risk_coverage])
def test_every_name_has_its_glyphs(figure: Callable[[], Figure], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each missing glyph
        save_figure(figure(), tmp_path / "figure.png")


def drawn(text: str, path: Path) -> np.ndarray:
    """The columns of pixels that a text fills; (pixels, 60)."""
    figure = Figure(figsize=(3, 0.6))
    figure.text(0.05, 0.3, text, size=20)
    save_figure(figure, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return pixels[:, (pixels < 128).any(axis=0)]


@pytest.mark.parametrize("names", [("音", "乐"), ("케", "팝"), ("ไ", "ท"), ("ह", "न")])
def test_each_letter_has_a_form_of_its_own(names: tuple[str, str], tmp_path: Path) -> None:
    first, second = (drawn(name, tmp_path / "text.png") for name in names)
    assert first.size
    assert not np.array_equal(first, second)


def test_arabic_letters_join_and_run_from_right_to_left(tmp_path: Path) -> None:
    apart = drawn("\u200c".join("سلام"), tmp_path / "apart.png")
    joined = drawn("سلام", tmp_path / "joined.png")
    assert joined.shape[1] < apart.shape[1]
    first_letter = drawn("אב", tmp_path / "hebrew.png")
    np.testing.assert_array_equal(first_letter[:, -8:], drawn("א", tmp_path / "alef.png")[:, -8:])


def test_dollar_signs_are_drawn(tmp_path: Path) -> None:
    assert drawn("$x$", tmp_path / "dollars.png").shape[1] > drawn("x", tmp_path / "letter.png").shape[1] + 10


def test_fonts_for_other_scripts_leave_plain_names_as_they_were(tmp_path: Path) -> None:
    first, second = (
        plot_confusion_matrix(np.eye(2, dtype=int), ("Hip-Hop", "Rock"), "crnn, test: 50 %") for _ in range(2)
    )
    first.savefig(tmp_path / "plain.png", dpi=100, metadata={"Software": None})
    save_figure(second, tmp_path / "saved.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "saved.png").read_bytes()
