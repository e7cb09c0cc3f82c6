"""The service: an outer part decodes and makes features, an inner one batches clips and runs the model."""

from __future__ import annotations

import sys
from typing import Any

import bentoml
import numpy as np
from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from music_genre.audio import decode
from music_genre.errors import AudioFault, MusicGenreError
from music_genre.packed import Packing
from music_genre.prediction import Clips, answer, clips_of
from music_genre.service.loading import Loaded, load
from music_genre.service.uploads import Upload, read_upload
from music_genre.service.web import add_page

MAX_SECONDS = 900.0
STATUS = {"unauthorized": 401, "too_large": 413, "too_long": 413, "unsupported": 415, "busy": 503}
"""HTTP status of each error code; 422 for what is wrong with the audio itself."""

app = FastAPI(title="music-genre")
add_page(app)


@bentoml.service(name="music-genre-model", workers=1, traffic={"timeout": 60})
class GenreModel:
    """Clips in, probabilities out; waiting requests are answered in one forward pass."""

    def __init__(self) -> None:
        from music_genre.packed import PackedModel

        self.loaded: Loaded = load()
        self.model = PackedModel(self.loaded.folder)
        self.model.predict(np.zeros((1, *self.model.packing.shape), np.float32))

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)  # type: ignore[untyped-decorator]  # theirs
    def predict(self, mel: np.ndarray) -> np.ndarray:
        return self.model.predict(mel)


@bentoml.service(name="music-genre", workers=1, traffic={"timeout": 60})
@bentoml.asgi_app(app, path="/")
class MusicGenre:
    """Names the genre of a piece of music."""

    model = bentoml.depends(GenreModel)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # theirs
    @staticmethod
    def announce() -> None:
        """Before any worker starts: say what will answer, or why nothing can."""
        try:
            found = load()
        except MusicGenreError as error:
            sys.exit(f"bentoml serve: {error}")
        print(f"Serving {found.name} version {found.version}: {found.packing.name}", flush=True)

    def __init__(self) -> None:
        self.loaded: Loaded = load()

    @app.post("/predict")
    async def predict(self, request: Request) -> Any:
        upload = await read_upload(request)
        clips = await to_thread.run_sync(listen, upload, self.loaded.packing)
        probabilities = await self.model.to_async.predict(clips.mel)
        result = answer(clips, np.asarray(probabilities), self.loaded.packing.genres, upload.timeline)
        return {**result, "model": {"name": self.loaded.name, "version": self.loaded.version}}

    @app.get("/model")
    async def describe(self) -> Any:
        packing = self.loaded.packing
        return {
            "name": self.loaded.name,
            "version": self.loaded.version,
            "genres": packing.genres,
            "transform": packing.transform.model_dump() if packing.transform else None,
            "metrics": self.loaded.metrics,
        }


@app.exception_handler(AudioFault)
async def refuse(request: Request, fault: AudioFault) -> JSONResponse:
    """A fault as the API tells it."""
    code = {"short": "too_short"}.get(fault.reason, fault.reason)
    return JSONResponse({"error": {"code": code, "message": fault.detail}}, STATUS.get(code, 422))


@app.exception_handler(ClientDisconnect)
async def forget(request: Request, gone: ClientDisconnect) -> Response:
    """A client that went away in the middle of its upload is told nothing; the log says 499, as nginx does."""
    return Response(status_code=499)


def listen(upload: Upload, packing: Packing) -> Clips:
    """Decode an upload and make its features."""
    recording = decode(upload.audio, MAX_SECONDS + 1)
    if recording.seconds > MAX_SECONDS:
        raise AudioFault("too_long", f"more than {MAX_SECONDS:.0f} s")
    return clips_of(recording, packing)
