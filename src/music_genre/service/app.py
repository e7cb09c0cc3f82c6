"""The service: an outer part decodes and makes features, an inner one batches clips and runs the model."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
from typing import Annotated, Any

import aiohttp
import anyio
import bentoml
import numpy as np
from anyio import to_thread
from bentoml import server_context
from bentoml.exceptions import ServiceUnavailable
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from music_genre.compute import THREAD_LIMITS, cores
from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.audio import AudioSignal, decode_whole
from music_genre.inference.predictor import Clips, answer, clips_of
from music_genre.pipeline import configure_libraries
from music_genre.service import schemas
from music_genre.service.middleware import OneShape, Patient, Places, authorised, describe_fault, refusal
from music_genre.service.model_runner import GenreModel
from music_genre.service.observability import Observed, log_as_json, metrics, observe, phase
from music_genre.service.request_log import open_log
from music_genre.service.served_model import Loaded, find, in_bento, rehearse
from music_genre.service.shadow_runner import Shadowing
from music_genre.service.uploads import Upload, open_upload
from music_genre.service.web import add_page

MAX_SECONDS = 900.0
"""Of a recording."""

WORK_SECONDS = 30.0
"""An answer that is not there after so long is given up: the service has more to do than it can."""

MAX_REQUESTS = 32
"""At work or waiting in one worker; two seconds of clips on two cores."""

WORKERS = max(2, min(4, cores()))
"""Processes that decode: while one of them starts anew, another answers."""

FOLLOW_SECONDS = 1.0
"""How often the inner service is asked which version answers."""

START_SECONDS = 20.0
"""So long a request waits in a worker that does not know its model yet: another one of them may have said ready."""

RETRY_SECONDS = 0.2
"""Between two tries to reach an inner service that is starting anew."""

UNREACHABLE = (aiohttp.ClientError, OSError, ServiceUnavailable)
"""What asking an inner service raises that is starting anew, or whose connection was cut."""

logger = logging.getLogger("bentoml.music_genre")

app = FastAPI(
    title="music-genre",
    description="Names the genre of a piece of music.",
    summary='Errors are `{"error": {"code": ..., "message": ...}}`.',
)
add_page(app)


@bentoml.service(name="music-genre", workers=WORKERS, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(app, path="/")
class MusicGenre:
    """Names the genre of a piece of music."""

    model = bentoml.depends(GenreModel)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # theirs
    @staticmethod
    def announce() -> None:
        """Before any worker starts: say what will answer, or why nothing can."""
        configure_libraries()
        # This process starts the workers. Each uses as many threads as it says, not as many again for every sum; and in
        # a container, too, one that was killed is started anew.
        os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        try:
            loaded, _ = find()
            rehearse(loaded)
        except MusicGenreError as error:
            sys.exit(f"bentoml serve: {error}")
        origin = "packed in this bento" if in_bento() else "champion of the registry"
        print(f"Serving {loaded.name} version {loaded.version}: {loaded.manifest.name}, {origin}", flush=True)

    def __init__(self) -> None:
        log_as_json()
        self.loaded: Loaded | None = None
        self.known = asyncio.Event()
        self.requests = open_log(server_context.worker_index or 0, WORKERS)
        self.places = Places(MAX_REQUESTS)
        self.threads = anyio.CapacityLimiter(cores())

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # theirs
    async def begin(self) -> None:
        """Follow the inner service, which follows the registry."""
        # BentoML's client closes its connections every hundred requests, and those at work with them.
        connections = self.model.to_async._session_manager
        connections.max_age = connections.max_requests = math.inf
        self.shadowing = Shadowing(self.model.to_async, self.in_thread)
        self.following = asyncio.create_task(self.follow())

    async def __is_ready__(self) -> bool:
        return self.loaded is not None

    @app.post(
        "/predict",
        summary="Name the genre of a recording",
        response_model=schemas.Answer,
        response_model_exclude_unset=True,
        responses=schemas.refusals(401, 408, 413, 415, 422, 503),
        openapi_extra=schemas.UPLOAD,
    )
    async def predict(self, request: Request, key: Annotated[None, Depends(authorised)]) -> Any:
        """A recording's genre, with every genre's probability; songs are heard in windows of the model's length."""
        with self.places.one():
            async with open_upload(request) as upload:
                try:
                    with anyio.fail_after(WORK_SECONDS):
                        with phase("decode"):
                            recording = await self.in_thread(decode, upload)
                        return JSONResponse(await self.answered(recording, upload.timeline))
                except TimeoutError as error:
                    raise AudioError("busy", f"no answer within {WORK_SECONDS:g} s") from error

    @app.get(
        "/model",
        summary="Describe the model that answers",
        response_model=schemas.Description,
        responses=schemas.refusals(401, 503),
    )
    async def describe(self, key: Annotated[None, Depends(authorised)]) -> Any:
        """Name, version, genres, transform and metrics."""
        loaded = await self.current()
        transform = loaded.manifest.transform
        return JSONResponse(
            {
                "name": loaded.name,
                "version": loaded.version,
                "genres": loaded.manifest.genres,
                "transform": transform.model_dump() if transform else None,
                "metrics": loaded.metrics,
            }
        )

    async def answered(self, recording: AudioSignal, timeline: bool) -> dict[str, Any]:
        """The answer to a recording; where the version changes meanwhile, by the new one."""
        while True:
            loaded = await self.current()
            with phase("features"):
                clips = await self.in_thread(clips_of, recording, loaded.manifest)
            with phase("forward") as forward:
                probabilities = await self.forward(clips, loaded)
            if probabilities is not None:
                result = finished(clips, probabilities, loaded, timeline)
                observe(result)
                self.shadowing.begin(recording, clips, loaded, result, forward.seconds)
                if self.requests:
                    await self.in_thread(self.requests.note, clips.mel, result)
                return result
            await self.refresh()

    async def forward(self, clips: Clips, loaded: Loaded) -> np.ndarray | None:
        """(clips, classes) probabilities of the version that the clips were made for; None where it is gone. An inner
        service that is starting anew is waited for.
        """
        asked = [(loaded.version, mel) for mel in clips.mel]
        while True:
            try:
                rows = await self.model.to_async.predict(asked)
                return None if any(row is None for row in rows) else np.stack(rows)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_SECONDS)

    async def current(self) -> Loaded:
        """The version that answers.

        Raises:
            AudioError: ``busy`` where none does after ``START_SECONDS``.
        """
        with anyio.move_on_after(START_SECONDS):
            await self.known.wait()
        if self.loaded is None:
            raise AudioError("busy", "the model is being loaded")
        return self.loaded

    async def follow(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS if self.loaded else RETRY_SECONDS)
            try:
                await self.refresh()
                told = ""
            except UNREACHABLE:
                pass  # it is starting anew
            except Exception as error:  # nothing may end this task
                if repr(error) != told:
                    logger.exception("The inner service cannot be followed")
                told = repr(error)

    async def refresh(self) -> None:
        """Ask the inner service which version answers."""
        told = await self.model.to_async.describe()
        self.shadowing.challenger = Loaded(**told["challenger"]) if told["challenger"] else None
        loaded = Loaded(**told["champion"])
        if loaded != self.loaded:
            await self.in_thread(rehearse, loaded)
            self.loaded = loaded
            self.known.set()
            metrics().serve(loaded.version)

    async def in_thread(self, work: Any, *arguments: Any) -> Any:
        """What ``work`` returns; as many at a time as there are cores."""
        return await to_thread.run_sync(work, *arguments, limiter=self.threads)


@app.exception_handler(AudioError)
async def refuse(request: Request, fault: AudioError) -> JSONResponse:
    return describe_fault(fault)


@app.exception_handler(ClientDisconnect)
async def forget(request: Request, gone: ClientDisconnect) -> Response:
    """A client that went away in the middle of its upload is told nothing; the log says 499, as nginx does."""
    return Response(status_code=499)


@app.exception_handler(Exception)
async def apologise(request: Request, error: Exception) -> JSONResponse:
    """What nobody foresaw is in the log, not in the answer."""
    return refusal("failed", "the service failed; its log says how")


MIDDLEWARES = (Patient, Observed, OneShape)
"""From the outside in."""

for middleware in MIDDLEWARES:
    MusicGenre.add_asgi_middleware(middleware)  # type: ignore[attr-defined]  # the decorator made a service of it


def decode(upload: Upload) -> AudioSignal:
    """An upload as sound."""
    return decode_whole(upload.audio, MAX_SECONDS)


def finished(clips: Clips, probabilities: np.ndarray, loaded: Loaded, timeline: bool) -> dict[str, Any]:
    """The answer as it is sent."""
    result = answer(clips, probabilities, loaded.manifest.genres, loaded.sure_from, timeline)
    return {**result, "model": {"name": loaded.name, "version": loaded.version}}
