"""The route that anybody would write, with the champion's weights, for comparison:
``uvicorn --app-dir benchmarks plain_route:app``.
"""

import librosa
import numpy as np
from fastapi import FastAPI, UploadFile

from music_genre.cli._context import bundle_dir
from music_genre.models.bundle import read_manifest
from music_genre.models.predictors import load_predictor

with bundle_dir("champion") as (folder, _):
    manifest = read_manifest(folder)
    members = [load_predictor(folder / member.file, member.name) for member in manifest.members]
transform = manifest.transform
n_samples = transform.n_frames * transform.hop_length
app = FastAPI()


@app.get("/readyz")
def ready() -> str:
    """200 once the models are loaded."""
    return "ready"


@app.post("/predict")
def predict(audio: UploadFile) -> dict[str, float]:
    """Probabilities by genre: the mean over half-overlapping clips and over the members."""
    y, rate = librosa.load(audio.file, sr=transform.sample_rate_hz)
    starts = range(0, max(1, len(y) - n_samples // 2), n_samples // 2)
    clips = np.stack([log_mel(y[start:], rate) for start in starts])
    rows = [model.predict(clips).mean(axis=0) for model in members]
    return {genre: float(p) for genre, p in zip(manifest.genres, np.mean(rows, axis=0), strict=True)}


def log_mel(y: np.ndarray, rate: int) -> np.ndarray:
    """(frames, n_mels) dB of the first clip of some audio, (samples,)."""
    power = librosa.feature.melspectrogram(
        y=y[:n_samples], sr=rate, n_fft=transform.n_fft, hop_length=transform.hop_length, n_mels=transform.n_mels
    )
    mel = librosa.power_to_db(power, ref=np.max).T[: transform.n_frames]
    return np.pad(mel, ((0, transform.n_frames - len(mel)), (0, 0)), constant_values=-80)
