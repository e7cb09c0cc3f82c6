"""Measurements of a model as it will be served: its size, its features, its latency."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from music_genre.audio.decoding import decode
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import MelConfig
from music_genre.features.store import ClipDataset
from music_genre.models.bundle import ModelBundle, example_inputs, read_manifest
from music_genre.models.predictors import PREDICT_BATCH_SIZE, load_predictor

N_FEATURE_CLIPS = 8  # clips whose features are computed again
N_LATENCY_RUNS = 15  # timed forward passes


def bundle_size_mb(folder: Path) -> float:
    """The size of a model's bundle in MB (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def feature_positions(clips: ClipDataset) -> np.ndarray:
    """Positions of up to ``N_FEATURE_CLIPS`` clips, evenly spread over the data set."""
    return np.unique(np.linspace(0, len(clips) - 1, N_FEATURE_CLIPS).astype(int))


def feature_skew_db(transform: MelConfig, audio: Sequence[Path], stored: np.ndarray) -> float:
    """The training-serving skew: the largest difference in dB between features that the model's own transform makes of
    audio, and the stored features that it was trained on.

    Args:
        transform: of the model's bundle.
        audio: (n,) files.
        stored: (n, frames, n_mels) dB of the same clips; stored in float16, which alone differs by up to 0.03 dB.
    """
    differences = [
        np.abs(extract_first_clip(decode(path, transform.clip_duration_s + 1), transform) - clip).max()
        for path, clip in zip(audio, stored, strict=True)
    ]
    return float(max(differences))


def export_difference_ppm(bundle: Path, clips: ClipDataset) -> float | None:
    """The largest difference in parts per million, over genres and a batch of clips, between the probabilities of a
    member's ONNX, which answers, and those of the model as it was trained; None where a bundle has no such member.

    Args:
        bundle: the model's folder.
        clips: of the spectrograms that it takes.
    """
    mel = clips.read(np.arange(min(len(clips), PREDICT_BATCH_SIZE)))
    differences = [
        np.abs(
            load_predictor(bundle / member.file, member.name).predict(mel)
            - load_predictor(bundle / member.trained, member.name).predict(mel)
        ).max()
        for member in read_manifest(bundle).members
        if member.trained
    ]
    return 1e6 * float(max(differences)) if differences else None


def latency_ms(model: ModelBundle) -> float:
    """The fastest of ``N_LATENCY_RUNS`` forward passes of one clip, from what the model takes to probabilities: the
    fastest, because whatever else the machine does only adds time.
    """
    clip_s = model.manifest.transform.frames_duration_s if model.manifest.transform else 0.0
    clip = example_inputs(model.manifest, max([1, *(e.n_windows(clip_s) for e in model.manifest.encoders.values())]))
    model.predict(clip)
    durations = []
    for _ in range(N_LATENCY_RUNS):
        start = time.perf_counter()
        model.predict(clip)
        durations.append(time.perf_counter() - start)
    return 1000 * min(durations)
