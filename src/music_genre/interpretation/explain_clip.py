"""What a packed model's answer to a recording rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.features.audio import decode
from music_genre.inference.predictor import clips_of
from music_genre.interpretation import activations as layers
from music_genre.interpretation import plots as pictures
from music_genre.interpretation import saliency
from music_genre.interpretation.plots import Scale, Shown
from music_genre.models.bundle import ModelBundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Explanation:
    """An answer and its reasons.

    Args:
        genre: the recording's.
        confidence: its probability.
        reason: one sentence: the part that is missed most.
        picture: of the stretch where the genre is surest.
    """

    genre: str
    confidence: float
    reason: str
    picture: Figure


def explain(folder: Path, recording: Path, max_seconds: float) -> Explanation:
    """Name a recording's genre and look at the clip of it that is most like that genre.

    Args:
        folder: a packed model, of networks.
        recording: audio.
        max_seconds: heard of it.

    Raises:
        AudioError: the recording cannot be heard, or the model hears no audio.
        MusicGenreError: the model has a member without gradients.
    """
    model = ModelBundle(folder)
    packing = model.manifest
    others = [member.name for member in packing.members if not member.file.endswith(".keras")]
    if others:
        raise MusicGenreError(f"{others[0]} is no network: only networks are explained")
    clips = clips_of(decode(recording, max_seconds), packing)
    probabilities = model.predict(clips.mel)
    whole = probabilities.mean(axis=0)
    label = int(whole.argmax())
    surest = int(probabilities[:, label].argmax())
    mel, scale = clips.mel[surest], Scale(packing.transform, float(clips.start_seconds[surest]))
    total = sum(member.weight for member in packing.members)
    networks = [(layers.load_network(folder / m.file), m.weight / total) for m in packing.members]
    cells = saliency.integrated_gradients(saliency.gradients(networks), mel, label)
    blocks = saliency.occlusion(model.predict, mel, label)
    genre = packing.genres[label]
    title = f"{genre} ({probabilities[surest, label]:.0%})"
    picture = pictures.saliency([Shown(title, mel, cells, blocks)], scale, recording.name)
    return Explanation(genre, float(whole[label]), _reason(blocks, mel.shape, scale, genre), picture)


def _reason(blocks: np.ndarray, shape: tuple[int, ...], scale: Scale, genre: str) -> str:
    """The block that the answer misses most, in seconds and hertz."""
    time, band = np.unravel_index(int(blocks.argmax()), blocks.shape)
    fall = blocks[time, band]
    if fall <= 0:
        return f"no single part speaks for {genre}: it is no less likely without any of them"
    numbers = saliency.block_numbers(shape) == time * blocks.shape[1] + band
    frames, bands = np.flatnonzero(numbers.any(axis=1)), np.flatnonzero(numbers.any(axis=0))
    hertz = scale.hertz(shape[1])
    edges = (bands[0], bands[-1] + 1) if hertz is None else (hertz[bands[0]], hertz[bands[-1] + 1])
    return (
        f"{scale.time(frames[0]):.1f} to {scale.time(frames[-1] + 1):.1f} {scale.unit}, {edges[0]:.0f} to"
        f" {edges[1]:.0f} {scale.bands} speaks most for {genre}: {fall:.2g} less likely without it"
    )
