"""What a prediction depends on, by occlusion of one clip."""

from __future__ import annotations

from typing import Any

import anyio
import numpy as np
import pytest

from music_genre.encoders.description import EncoderConfig
from music_genre.features.params import SPECTROGRAMS, MelConfig
from music_genre.inference.predictor import ClipBatch
from music_genre.models.bundle import Answer, BundledMember, BundleManifest
from music_genre.service.explanation import N_BANDS, N_TIMES, Explainer, occlude_deciding_clip

TRANSFORM = MelConfig(sample_rate_hz=8000, n_fft=512, hop_length=400, n_mels=16, n_frames=40, clip_duration_s=2.0)
GENRES = ("Folk", "Rock")
ENCODER = EncoderConfig(
    name="test",
    sample_rate_hz=8000,
    window_length=4000,
    hop_length=4000,
    dimension=6,
    level_dbfs=None,
    license="none",
    trained_on="nothing",
    source="here",
    sha256="0" * 64,
)


def manifest(input_name: str = SPECTROGRAMS) -> BundleManifest:
    encoders = {} if input_name == SPECTROGRAMS else {input_name: ENCODER}
    members = (BundledMember("m", 1.0, 1.0, "m.onnx", input_name),)
    return BundleManifest("m", members, 1.0, GENRES, (40, 16), TRANSFORM, 1, 1.0, encoders)


def clips(n: int, seconds: float = 2.0) -> ClipBatch:
    """Clips of a recording, of which the last may be shorter."""
    starts = np.arange(n) * 2.0
    mel = np.random.default_rng(0).uniform(-60, 0, (n, 40, 16)).astype(np.float32)
    audio = np.random.default_rng(1).normal(0, 0.1, (n, 4, 4000)).astype(np.float32)
    return ClipBatch(mel, starts, np.minimum(starts + 2, seconds * n), seconds * n, windows={"test": audio})


def answer(*rock: float) -> Answer:
    rows = np.array([[1 - p, p] for p in rock], np.float32)
    return Answer(rows, np.empty((len(rows), 0), np.float32))


def test_clip_that_supports_the_genre_most_is_occluded_block_by_block() -> None:
    batch = clips(3)
    occlusion = occlude_deciding_clip(batch, answer(0.6, 0.9, 0.7), manifest())
    assert (occlusion.label, occlusion.probability) == (1, pytest.approx(0.9))
    occluded = occlusion.inputs[SPECTROGRAMS]
    assert (occluded.shape, occluded.dtype) == ((N_TIMES * N_BANDS, 40, 16), np.float32)
    changed = occluded != batch.mel[1]
    assert (changed.sum(axis=0) == 1).all(), "each cell is in one block"
    assert changed.reshape(len(changed), -1).sum(axis=1).tolist() == [5 * 4] * len(changed)
    assert changed[N_BANDS + 2, 5:10, 8:12].all(), "counted along bands, then along time"
    np.testing.assert_allclose(occlusion.time_edges_s, 2 + np.arange(N_TIMES + 1) * 0.25)
    assert occlusion.band_edges_hz[[0, -1]].tolist() == [0, 4000]
    assert (np.diff(occlusion.band_edges_hz) > 0).all()


def test_padding_of_a_short_clip_is_in_no_block() -> None:
    occlusion = occlude_deciding_clip(clips(1, 1.0), answer(0.9), manifest())
    changed = (occlusion.inputs[SPECTROGRAMS] != clips(1).mel[0]).any(axis=(0, 2))
    assert changed.tolist() == [True] * 20 + [False] * 20
    assert occlusion.time_edges_s[-1] == pytest.approx(1.0)


def test_block_of_audio_is_silent_in_its_band_and_time() -> None:
    batch = clips(1)
    occlusion = occlude_deciding_clip(batch, answer(0.9), manifest("test"))
    windows = occlusion.inputs["test"]
    assert (windows.shape, windows.dtype) == ((N_TIMES * N_BANDS, 4, 4000), np.float32)
    first = windows[:N_BANDS]  # without 0 to 0.25 s, which is in the first of four windows of 0.5 s
    assert (first[:, 1:] == batch.windows["test"][0, 1:]).all()
    energy = (first[:, 0, :1500] ** 2).sum(axis=1) / (batch.windows["test"][0, 0, :1500] ** 2).sum()
    assert (energy < 0.97).all()
    assert energy.sum() == pytest.approx(N_BANDS - 1, abs=0.15), "together the bands are all of the sound"
    np.testing.assert_allclose(first[:, 0, 2600:], np.tile(batch.windows["test"][0, 0, 2600:], (N_BANDS, 1)), atol=1e-5)


def test_drops_are_by_time_then_by_band() -> None:
    occlusion = occlude_deciding_clip(clips(1), answer(0.9), manifest())
    rock = np.full(N_TIMES * N_BANDS, 0.9)
    rock[N_BANDS * 3 + 1] = 0.4
    explanation = occlusion.format(answer(*rock), GENRES)
    assert (explanation["genre"], explanation["probability"]) == ("Rock", pytest.approx(0.9))
    drops = np.array(explanation["drops"])
    assert drops.shape == (len(explanation["time_edges_seconds"]) - 1, len(explanation["band_edges_hz"]) - 1)
    assert drops[3, 1] == pytest.approx(0.5)
    assert np.delete(drops.ravel(), N_BANDS * 3 + 1) == pytest.approx(0, abs=1e-6)


def test_explanations_wait_for_each_other() -> None:
    class Bundle:
        def answer(self, inputs: Any) -> Answer:
            return answer(*[0.5] * len(inputs[SPECTROGRAMS]))

    class Model:
        manifest = manifest()
        bundle = Bundle()

    running, most = 0, 0

    async def run_in_thread(function: Any, *arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1
        return function(*arguments)

    results: list[dict[str, Any]] = []

    async def explain(explainer: Explainer) -> None:
        results.append(await explainer.explain(clips(1), answer(0.9), Model()))  # type: ignore[arg-type]

    async def run() -> None:
        explainer = Explainer(run_in_thread)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(explain, explainer)

    anyio.run(run)
    assert most == 1
    assert [set(result) for result in results] == [{"explanation"}] * 3
