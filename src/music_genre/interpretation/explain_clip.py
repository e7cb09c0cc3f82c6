"""The saliency of a bundle's prediction for a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.audio.decoding import decode_all
from music_genre.errors import MusicGenreError
from music_genre.inference.predictor import extract_clip_batch, top_tags
from music_genre.interpretation.activations import load_network
from music_genre.interpretation.audio_occlusion import occlude_clip
from music_genre.interpretation.plots import SpectrogramAxes, plot_saliency
from music_genre.interpretation.saliency import SaliencyExample, block_index, integrated_gradients, make_gradient_fn
from music_genre.models.bundle import BundleManifest, ModelBundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TITLE_CHARS = 100  # of the recording's name, in the title of its plot


@dataclass(frozen=True)
class Explanation:
    """A prediction with its saliency.

    Args:
        genre: predicted for the recording.
        confidence: its probability.
        reason: one sentence: the block of time and band whose occlusion lowers the probability most.
        plot: saliency of the clip for which the genre is most probable.
        tags: the likeliest of the encoders' own, of the recording.
    """

    genre: str
    confidence: float
    reason: str
    plot: Figure
    tags: list[tuple[str, float]]


def explain_recording(bundle_dir: Path, recording: Path, max_duration_s: float) -> Explanation:
    """Predict a recording's genre, and compute the saliency of the clip that supports it most.

    Args:
        bundle_dir: a bundle.
        recording: an audio file.
        max_duration_s: the longest recording accepted.

    Raises:
        AudioError: the recording cannot be used, or the model takes no audio.
    """
    bundle = ModelBundle(bundle_dir)
    manifest = bundle.manifest
    clips = extract_clip_batch(decode_all(recording, max_duration_s), manifest)
    answer = bundle.answer(clips.inputs(manifest))
    probabilities = answer.probabilities
    mean_probabilities = probabilities.mean(axis=0)
    label = int(mean_probabilities.argmax())
    most_confident = int(probabilities[:, label].argmax())
    mel = clips.mel[most_confident]
    inputs = {name: clip[[most_confident]] for name, clip in clips.inputs(manifest).items()}
    if manifest.transform is None:
        raise MusicGenreError("the model takes no audio")  # which ``extract_clip_batch`` has refused already
    example = SaliencyExample(
        None,
        label,
        float(probabilities[most_confident, label]),
        mel,
        _gradients(bundle_dir, manifest, mel, label),
        occlude_clip(bundle, inputs, mel, manifest.transform, label),
    )
    axes = SpectrogramAxes(manifest.transform, float(clips.start_seconds[most_confident]))
    reason = _top_region_text(example.occlusion, mel.shape, axes, manifest.genres[label])
    # File names may be bytes that are not text, which matplotlib cannot draw.
    title = recording.name.encode(errors="backslashreplace").decode()[:MAX_TITLE_CHARS]
    plot = plot_saliency([example], manifest.genres, axes, title)
    tags = top_tags(manifest, answer.tags)
    return Explanation(manifest.genres[label], float(mean_probabilities[label]), reason, plot, tags)


def _gradients(bundle_dir: Path, manifest: BundleManifest, mel: np.ndarray, label: int) -> np.ndarray | None:
    """Integrated gradients of the members' weighted mean; None where a member is no network."""
    if not all(member.network for member in manifest.members):
        return None
    total_weight = sum(member.weight for member in manifest.members)
    networks = [(load_network(bundle_dir / m.network), m.weight / total_weight) for m in manifest.members]
    return integrated_gradients(make_gradient_fn(networks), mel, label)


def _top_region_text(blocks: np.ndarray, shape: tuple[int, ...], axes: SpectrogramAxes, genre: str) -> str:
    """The block whose occlusion lowers the probability most, in seconds and hertz."""
    time, band = np.unravel_index(int(blocks.argmax()), blocks.shape)
    drop = blocks[time, band]
    if drop <= 0:
        return f"no single region supports {genre}: occluding none of them lowers its probability"
    region = block_index(shape) == time * blocks.shape[1] + band
    frames, bands = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    edges_hz = axes.band_edges_hz()
    low, high = bands[0], bands[-1] + 1
    if edges_hz is not None:
        low, high = edges_hz[low], edges_hz[high]
    return (
        f"{genre} is supported most by {axes.time(frames[0]):.1f} to {axes.time(frames[-1] + 1):.1f} {axes.time_unit},"
        f" {low:.0f} to {high:.0f} {axes.band_unit}: without it the probability drops by {drop:.2g}"
    )
