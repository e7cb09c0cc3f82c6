"""How often `music-genre drift` detects drift: for clips like the training data, and for changed ones.

Takes the spectrograms, the audio and the trained CRNN of the checkout: `dvc repro` makes them. In each draw, some clips
are the requests and the others the reference.
"""

from __future__ import annotations

import argparse
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

from music_genre.audio.decoding import decode
from music_genre.audio.signal import AudioSignal
from music_genre.features.mel import extract_first_clip
from music_genre.features.statistics import spectrogram_statistics
from music_genre.features.store import SpectrogramStore
from music_genre.models.packing import model_file
from music_genre.models.predictors import load_predictor
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.settings import load_settings
from music_genre.validation.drift import GENRE, DriftThresholds, compare

N_DRAWS, N_REQUESTS = 20, 60
MODEL = "crnn"
UNCHANGED = "unchanged"


def low_bitrate(recording: AudioSignal) -> AudioSignal:
    """mp3 at the lowest bit rate that the encoder has for 16 kHz."""
    file = io.BytesIO()
    samples = soxr.resample(recording.samples, recording.sample_rate_hz, 16_000).astype(np.float32)
    soundfile.write(file, samples, 16_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.99)
    file.seek(0)
    return decode(file, recording.duration_s + 1)


def telephone(recording: AudioSignal) -> AudioSignal:
    return AudioSignal(soxr.resample(recording.samples, recording.sample_rate_hz, 8_000).astype(np.float32), 8_000)


def partly_silent(recording: AudioSignal) -> AudioSignal:
    samples = recording.samples.copy()
    samples[: len(samples) // 3] = 0
    return AudioSignal(samples, recording.sample_rate_hz)


CHANGES: dict[str, Callable[[AudioSignal], AudioSignal]] = {
    UNCHANGED: lambda recording: recording,
    "mp3 of 8 kbit/s": low_bitrate,
    "8 kHz": telephone,
    "a third silent": partly_silent,
}


def logged_clips(project: ProjectPaths, data: SpectrogramStore) -> dict[str, pd.DataFrame]:
    """By change, every clip as the request log describes it, with its true genre as ``actual``."""
    predict = load_predictor(model_file(project.models, MODEL), MODEL).predict
    tracks = pd.read_parquet(project.tracks).set_index("track_id")
    if data.transform is None:
        sys.exit("benchmarks/drift.py: ready spectrograms have no audio to change")
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in CHANGES}
    for track_id in data.index["track_id"]:
        recording = decode(project.audio / tracks.loc[track_id, "path"], data.transform.clip_duration_s + 1)
        for name, change in CHANGES.items():
            mel = extract_first_clip(change(recording), data.transform).astype(np.float16)
            genre = data.genres[int(predict(mel[None].astype(np.float32))[0].argmax())]
            row = {"actual": tracks.loc[track_id, "genre"], GENRE: genre}
            rows[name].append(row | spectrogram_statistics(mel))
    return {name: pd.DataFrame(table_rows) for name, table_rows in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one draw of few requests; writes nothing")
    quick = parser.parse_args().quick
    n_draws, n_requests = (1, 10) if quick else (N_DRAWS, N_REQUESTS)
    project = ProjectPaths.find()
    params, settings = load_params(project.params), load_settings(project.root)
    data = SpectrogramStore.open(project.spectrograms)
    thresholds = DriftThresholds(settings.drift_js_threshold, settings.drift_alpha)
    clips = logged_clips(project, data)
    unchanged, rng = clips[UNCHANGED], np.random.default_rng(params.seed)
    drifted: dict[str, list[list[str]]] = {}

    def draw(name: str, reference: pd.DataFrame, requests: pd.DataFrame) -> None:
        results = compare(reference, reference[GENRE], requests, thresholds, params.seed)
        drifted.setdefault(name, []).append([result.name for result in results if result.drifted])

    for _ in range(n_draws):
        order = rng.permutation(len(unchanged))
        for name, changed in clips.items():
            draw(name, unchanged.iloc[order[n_requests:]], changed.iloc[order[:n_requests]])
        for number in (1, 2):
            genres = rng.choice(data.genres, number, replace=False)
            pool = unchanged[unchanged["actual"].isin(genres)]
            requests = pool.sample(n_requests, replace=True, random_state=rng)
            draw(f"{number} of {len(data.genres)} genres", unchanged, requests)
    rows = [
        [
            name,
            f"{sum(map(bool, draws))} of {n_draws}",
            ", ".join(f"{feature} {count}" for feature, count in Counter(chain(*draws)).most_common()),
        ]
        for name, draws in drifted.items()
    ]
    setting = (
        f"{n_requests} requests a draw against the other clips of {len(unchanged)}, source {params.data.source_name}."
    )
    write("drift", setting, table(["requests", "drift detected", "in"], rows), quick=quick)


if __name__ == "__main__":
    main()
