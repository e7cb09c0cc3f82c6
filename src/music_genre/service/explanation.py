"""What a prediction depends on: how much its probability drops without each block of time and band of one clip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import numpy as np

from music_genre.features.mel import mel_band_borders_hz
from music_genre.inference.predictor import ClipBatch
from music_genre.interpretation.audio_occlusion import occlude_blocks
from music_genre.interpretation.saliency import block_index
from music_genre.models.bundle import Answer, BundleManifest
from music_genre.service.served_model import LoadedModel

N_TIMES, N_BANDS = 8, 4  # blocks: a request costs as much as this many clips more


@dataclass(frozen=True)
class Occlusion:
    """The clip of a recording that supports its genre most, without each of its blocks.

    Args:
        inputs: what the model takes of each, (times * bands, ...), counted along bands, then along time.
        label: position of the genre.
        probability: of the genre for the whole clip.
        time_edges_s: (times + 1,) of the blocks, in seconds of the recording.
        band_edges_hz: (bands + 1,).
    """

    inputs: dict[str, np.ndarray]
    label: int
    probability: float
    time_edges_s: np.ndarray
    band_edges_hz: np.ndarray

    def format(self, answer: Answer, genres: tuple[str, ...]) -> dict[str, Any]:
        """The explanation as the API returns it, by the model's answer about ``inputs``."""
        drops = self.probability - answer.probabilities[:, self.label].reshape(len(self.time_edges_s) - 1, -1)
        return {
            "genre": genres[self.label],
            "probability": self.probability,
            "time_edges_seconds": [round(float(edge), 3) for edge in self.time_edges_s],
            "band_edges_hz": [round(float(edge), 1) for edge in self.band_edges_hz],
            "drops": [[float(drop) for drop in bands] for bands in drops],
        }


class Explainer:
    """The explanations of one worker, one at a time: others wait.

    Args:
        run_in_thread: runs a function beside the event loop.
    """

    def __init__(self, run_in_thread: Callable[..., Awaitable[Any]]) -> None:
        self.run_in_thread = run_in_thread
        self.turn = anyio.Semaphore(1)

    async def explain(self, clips: ClipBatch, answer: Answer, model: LoadedModel) -> dict[str, Any]:
        """The field ``explanation`` of a response."""
        async with self.turn:
            return {"explanation": await self.run_in_thread(explain_clips, clips, answer, model)}


def explain_clips(clips: ClipBatch, answer: Answer, model: LoadedModel) -> dict[str, Any]:
    """The explanation of a model's answer about a recording's clips as the API returns it."""
    occlusion = occlude_deciding_clip(clips, answer, model.manifest)
    return occlusion.format(model.bundle.answer(occlusion.inputs), model.manifest.genres)


def occlude_deciding_clip(clips: ClipBatch, answer: Answer, manifest: BundleManifest) -> Occlusion:
    """The occlusion of a recording's clips with a model's answer about them; the model takes audio."""
    transform = manifest.transform
    if transform is None:
        raise ValueError(f"{manifest.name} takes no audio")
    label = int(answer.probabilities.mean(axis=0).argmax())
    number = int(answer.probabilities[:, label].argmax())
    mel, start_s = clips.mel[number], float(clips.start_seconds[number])
    frames_per_s = transform.sample_rate_hz / transform.hop_length
    n_frames, n_mels = min(len(mel), int(np.ceil((clips.end_seconds[number] - start_s) * frames_per_s))), mel.shape[1]
    index = np.full(mel.shape, -1)  # frames that pad a short clip are in no block
    index[:n_frames] = block_index((n_frames, n_mels), N_TIMES, N_BANDS)
    frame_edges, band_edges = _block_edges(n_frames, N_TIMES), _block_edges(n_mels, N_BANDS)
    edges_hz = mel_band_borders_hz(transform)[band_edges]
    edges_hz[0], edges_hz[-1] = 0.0, transform.sample_rate_hz / 2  # the outermost triangles reach so far
    inputs = {name: clip[[number]] for name, clip in clips.inputs(manifest).items()}
    return Occlusion(
        occlude_blocks(inputs, mel, index, transform, manifest.encoders),
        label,
        float(answer.probabilities[number, label]),
        start_s + frame_edges / frames_per_s,
        edges_hz,
    )


def _block_edges(size: int, n_blocks: int) -> np.ndarray:
    """(blocks + 1,) int borders of the blocks of ``block_index`` along an axis."""
    n_blocks = min(n_blocks, size)
    return -(-np.arange(n_blocks + 1) * size // n_blocks)
