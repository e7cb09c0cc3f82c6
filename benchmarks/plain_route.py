"""The route that anybody would write, with the champion's weights: ``python benchmarks/plain_route.py PORT``."""

import sys

import keras
import librosa
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile

from music_genre.cli._context import connect
from music_genre.models.bundle import read_manifest
from music_genre.paths import ProjectPaths
from music_genre.registry import versions as registry

client, name = connect(ProjectPaths.find())
folder = registry.download_bundle(registry.resolve(client, name, registry.CHAMPION))
packing = read_manifest(folder)
transform = packing.transform
members = [keras.models.load_model(folder / member.file) for member in packing.members]
samples = transform.n_frames * transform.hop_length
app = FastAPI()


@app.get("/readyz")
def ready() -> str:
    return "ready"


@app.post("/predict")
def predict(audio: UploadFile) -> dict[str, float]:
    y, rate = librosa.load(audio.file, sr=transform.sample_rate_hz)
    clips = np.stack([log_mel(y[start:], rate) for start in range(0, max(1, len(y) - samples // 2), samples // 2)])
    answers = [m.predict(clips.reshape(-1, *m.input_shape[1:]), verbose=0).mean(axis=0) for m in members]
    return {genre: float(p) for genre, p in zip(packing.genres, np.mean(answers, axis=0), strict=True)}


def log_mel(y: np.ndarray, rate: int) -> np.ndarray:
    """The first clip of some sound, (frames, n_mels) dB."""
    power = librosa.feature.melspectrogram(
        y=y[:samples], sr=rate, n_fft=transform.n_fft, hop_length=transform.hop_length, n_mels=transform.n_mels
    )
    mel = librosa.power_to_db(power, ref=np.max).T[: transform.n_frames]
    return np.pad(mel, ((0, transform.n_frames - len(mel)), (0, 0)), constant_values=-80)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
