"""The challenger's prediction beside the champion's."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import numpy as np
import pytest

from music_genre.audio.signal import AudioSignal
from music_genre.features.params import MelConfig
from music_genre.inference.predictor import ClipBatch, extract_clip_batch
from music_genre.service import shadow
from music_genre.service.served_model import LoadedModel, ServedModel
from music_genre.service.shadow import ShadowRunner

TRANSFORM = MelConfig(sample_rate_hz=8000, n_fft=512, hop_length=400, n_mels=16, n_frames=40, clip_duration_s=2.0)
RECORDING = AudioSignal(np.random.default_rng(0).normal(0, 0.1, 5 * 8000).astype(np.float32), 8000)


def served(version: str, n_mels: int = 16) -> ServedModel:
    manifest = {
        "name": "crnn",
        "members": [{"name": "crnn", "weight": 1.0, "temperature": 1.0, "file": "crnn.onnx"}],
        "temperature": 1.0,
        "genres": ["Folk", "Rock"],
        "shape": [40, n_mels],
        "transform": TRANSFORM.model_copy(update={"n_mels": n_mels}).model_dump(),
        "min_duration_s": 1.0,
    }
    return ServedModel("music-genre", version, json.dumps(manifest), {}, 0.5)


class Bundle:
    """Says Rock with 0.75 about each clip."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, inputs: Any) -> np.ndarray:
        self.shapes.append(inputs["spectrograms"].shape)
        return np.tile(np.array([0.25, 0.75], np.float32), (len(inputs["spectrograms"]), 1))


class BrokenBundle(Bundle):
    def predict(self, inputs: Any) -> np.ndarray:
        raise RuntimeError("broken")


def ask(challenger: ServedModel | None, bundle: Bundle, seconds: float = 0.0) -> dict[str, Any]:
    async def run_in_thread(function: Any, *arguments: Any) -> Any:
        await anyio.sleep(seconds)
        return function(*arguments)

    runner = ShadowRunner(None, run_in_thread, None)
    runner.challenger = challenger and LoadedModel(challenger, bundle)  # type: ignore[arg-type]
    clips: ClipBatch = extract_clip_batch(RECORDING, served("1").manifest)
    return anyio.run(runner.answer, RECORDING, clips, served("1"))


@pytest.mark.parametrize("n_mels", [16, 8])
def test_challenger_predicts_from_features_of_its_own_transform(n_mels: int) -> None:
    bundle = Bundle()
    answer = ask(served("2", n_mels), bundle)["challenger"]
    assert answer == {
        "version": "2",
        "genre": "Rock",
        "confidence": 0.75,
        "probabilities": {"Folk": 0.25, "Rock": 0.75},
    }
    assert json.loads(json.dumps(answer)) == answer
    assert [shape[1:] for shape in bundle.shapes] == [(40, n_mels)]


@pytest.mark.parametrize("version", [None, "1"])
def test_no_answer_where_there_is_no_other_version(version: str | None) -> None:
    assert ask(version and served(version), Bundle()) == {}


def test_challenger_that_fails_gives_no_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert ask(served("2"), BrokenBundle()) == {}
    assert "Version 2 failed in shadow mode" in caplog.text


def test_nobody_waits_long_for_a_challenger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "ANSWER_TIMEOUT_S", 0.05)
    assert ask(served("2"), Bundle(), seconds=30) == {}
