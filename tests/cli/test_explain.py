"""``music-genre explain`` and ``music-genre visualize-filters``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

PNG = b"\x89PNG"


@pytest.mark.slow
def test_saliency_map_is_drawn_beside_the_file(in_checkout: Path, command: Command, song_wav: Path) -> None:
    network = ("--model", "parallel")
    predicted, explained = command("predict", song_wav, *network), command("explain", song_wav, *network)
    assert (explained.code, explained.err) == (0, "")
    assert explained.lines[0] == predicted.lines[0].replace(", low confidence", "")
    assert "Hz (mel)" in explained.lines[1]
    plot = song_wav.with_name("song.explained.png")
    assert explained.lines[-1] == f"  saliency map: {plot}"
    first = plot.read_bytes()
    assert first.startswith(PNG)
    assert command("explain", song_wav, *network).code == 0
    assert plot.read_bytes() == first
    plot.unlink()


def test_file_that_cannot_be_explained_is_one_line(in_checkout: Path, command: Command, tmp_path: Path) -> None:
    assert "no such file" in command("explain", tmp_path / "lost.mp3").reason
    (tmp_path / "noise.mp3").write_bytes(b"not audio at all" * 100)
    assert "undecodable" in command("explain", tmp_path / "noise.mp3").reason
    assert not list(tmp_path.glob("*.png"))


def test_plot_that_cannot_be_written_is_one_line(
    in_checkout: Path, command: Command, song_wav: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken.png").mkdir()
    for output in (tmp_path / "lost/a.png", tmp_path / "taken.png"):
        assert "cannot be written" in command("explain", song_wav, "--output", output).reason


def test_filters_of_any_convolution_are_drawn(in_checkout: Path, command: Command, tmp_path: Path) -> None:
    output = tmp_path / "third.png"
    drawn = command("visualize-filters", "parallel", "conv3", "--count", "2", "--output", output)
    assert drawn.code == 0
    assert "2 of the 64 filters of conv3 of parallel" in drawn.lines[0]
    assert output.read_bytes().startswith(PNG)


def test_wrong_network_or_layer_lists_the_right_ones(in_checkout: Path, command: Command) -> None:
    assert "there are conv1, conv2, conv3" in command("visualize-filters", "crnn", "conv9").reason
    assert "there are crnn, parallel" in command("visualize-filters", "baseline", "conv1").reason
