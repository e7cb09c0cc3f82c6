"""A recording's saliency is that of the clip that supports its genre most."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.errors import AudioError
from music_genre.evaluation.plots import save_figure
from music_genre.features.store import SpectrogramStore
from music_genre.inference.predictor import extract_clip_batch
from music_genre.interpretation.explain_clip import explain_recording
from music_genre.models.bundle import ModelBundle
from music_genre.models.packing import temporary_bundle

pytest.importorskip("keras")


@pytest.fixture
def recording(tmp_path: Path, synth_tone: Callable[..., np.ndarray]) -> Path:
    """A song of three clips, the last of another genre. Its name is neither text nor short."""
    file = tmp_path / os.fsdecode(b"s\xffng $\\x$ " + b"x" * 200 + b".wav")
    with file.open("wb") as song:
        samples = np.concatenate([synth_tone("Folk", 1, 6.0), synth_tone("Rock", 1, 3.0)])
        soundfile.write(song, samples, 22_050, format="WAV")
    return file


@pytest.mark.slow
def test_most_confident_clip_is_explained_in_seconds_and_hertz(
    trained_checkout: Path, data: SpectrogramStore, recording: Path, tmp_path: Path
) -> None:
    with temporary_bundle(trained_checkout / "models", "ensemble", data) as folder:
        explanation = explain_recording(folder, recording, 60)
        bundle = ModelBundle(folder)
        clips = extract_clip_batch(decode(recording, 60), bundle.manifest)
        probabilities = bundle.predict(clips.inputs(bundle.manifest))
    label = int(probabilities.mean(axis=0).argmax())
    best = int(probabilities[:, label].argmax())
    assert explanation.genre == data.genres[label]
    assert explanation.confidence == pytest.approx(probabilities.mean(axis=0)[label])
    titles = [axes.get_title() for axes in explanation.plot.axes]
    assert titles[0] == f"predicted: {explanation.genre} ({probabilities[best, label]:.0%})"
    start, end = explanation.plot.axes[0].get_xlim()
    assert (start, end) == pytest.approx((clips.start_seconds[best], clips.end_seconds[best]), abs=0.05)
    low, high = re.findall(r"([\d.]+) to ([\d.]+) s", explanation.reason)[0]
    assert start - 0.05 <= float(low) < float(high) <= end + 0.05
    save_figure(explanation.plot, tmp_path / "plot.png")


def test_classical_baseline_is_explained_by_occlusion_alone(
    trained_checkout: Path, data: SpectrogramStore, recording: Path
) -> None:
    with temporary_bundle(trained_checkout / "models", "baseline", data) as folder:
        explanation = explain_recording(folder, recording, 60)
    assert explanation.genre in data.genres
    assert "region" in explanation.reason or "supported most by" in explanation.reason


def test_too_long_recording_is_refused(trained_checkout: Path, data: SpectrogramStore, recording: Path) -> None:
    with (
        temporary_bundle(trained_checkout / "models", "parallel", data) as folder,
        pytest.raises(AudioError) as error,
    ):
        explain_recording(folder, recording, 5)
    assert error.value.reason == "too_long"
