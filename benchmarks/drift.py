"""How often `music-genre drift` tells drift: of clips of the training data's own kind, and of changed ones.

Takes the spectrograms, the audio and the trained CRNN of the checkout: `dvc repro` makes them. In each draw, some clips
are requests and the others are the reference.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable
from itertools import chain

import numpy as np
import pandas as pd
import soundfile
import soxr
from timing import table, write

from music_genre.features.audio import AudioSignal, decode
from music_genre.features.mel import extract_first_clip
from music_genre.features.statistics import spectrogram_statistics
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import load_predictor, model_file
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.validation import drift

DRAWS, REQUESTS = 20, 60


def as_it_is(recording: AudioSignal) -> AudioSignal:
    return recording


def low_bitrate(recording: AudioSignal) -> AudioSignal:
    """mp3 at the lowest bit rate that the encoder has for 16 kHz."""
    file = io.BytesIO()
    samples = soxr.resample(recording.samples, recording.sample_rate_hz, 16_000).astype(np.float32)
    soundfile.write(file, samples, 16_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.99)
    file.seek(0)
    return decode(file, recording.duration_s + 1)


def telephone(recording: AudioSignal) -> AudioSignal:
    return AudioSignal(soxr.resample(recording.samples, recording.sample_rate_hz, 8_000).astype(np.float32), 8_000)


def padded(recording: AudioSignal) -> AudioSignal:
    samples = recording.samples.copy()
    samples[: len(samples) // 3] = 0
    return AudioSignal(samples, recording.sample_rate_hz)


KINDS: dict[str, Callable[[AudioSignal], AudioSignal]] = {
    "the same kind": as_it_is,
    "mp3 of 8 kbit/s": low_bitrate,
    "8 kHz": telephone,
    "a third silent": padded,
}


def heard(project: ProjectPaths, data: SpectrogramStore) -> dict[str, pd.DataFrame]:
    """Every clip of every kind as the request log describes it, with its true genre."""
    predict = load_predictor(model_file(project.models, "crnn"), "crnn").predict
    tracks = pd.read_parquet(project.tracks).set_index("track_id")
    if data.transform is None:
        sys.exit("benchmarks/drift.py: ready spectrograms have no audio to change")
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in KINDS}
    for track_id in data.index["track_id"]:
        recording = decode(project.raw / tracks.loc[track_id, "path"], data.transform.clip_duration_s + 1)
        for name, change in KINDS.items():
            mel = extract_first_clip(change(recording), data.transform).astype(np.float16)
            genre = data.genres[int(predict(mel[None].astype(np.float32))[0].argmax())]
            rows[name].append({"actual": tracks.loc[track_id, "genre"], drift.GENRE: genre, **spectrogram_statistics(mel)})
    return {name: pd.DataFrame(made) for name, made in rows.items()}


def main() -> None:
    project = ProjectPaths.find()
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    clips = heard(project, data)
    own, limits = clips["the same kind"], drift.Limits(params.drift.distance, params.drift.false_alarm)
    random = np.random.default_rng(params.seed)
    told: dict[str, list[list[str]]] = {}

    def draw(name: str, reference: pd.DataFrame, requests: pd.DataFrame) -> None:
        figures = drift.compare(reference, reference[drift.GENRE], requests, limits, params.seed)
        told.setdefault(name, []).append([figure.name for figure in figures if figure.drifted])

    for _ in range(DRAWS):
        order = random.permutation(len(own))
        for name in KINDS:
            draw(name, own.iloc[order[REQUESTS:]], clips[name].iloc[order[:REQUESTS]])
        for number in (1, 2):
            genres = random.choice(data.genres, number, replace=False)
            pool = own[own["actual"].isin(genres)]
            draw(
                f"{number} of {len(data.genres)} genres", own, pool.sample(REQUESTS, replace=True, random_state=random)
            )
    rows = [
        [
            name,
            f"{sum(map(bool, draws))} of {DRAWS}",
            ", ".join(f"{figure} {count}" for figure, count in Counter(chain(*draws)).most_common()),
        ]
        for name, draws in told.items()
    ]
    write(
        "drift",
        f"{REQUESTS} requests a draw against the other clips of {len(own)}, source {params.data.source}.",
        table(["requests", "drift told", "by"], rows),
    )


if __name__ == "__main__":
    main()
