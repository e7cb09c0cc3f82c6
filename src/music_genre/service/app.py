"""The outer service: decodes uploads and makes features; the inner one, ``ModelRunner``, predicts them in batches."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import aiohttp
import anyio
import bentoml
import numpy as np
from anyio import to_thread
from bentoml import server_context
from bentoml.exceptions import ServiceUnavailable
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from music_genre.audio.decoding import decode_all
from music_genre.audio.signal import AudioSignal
from music_genre.errors import MusicGenreError
from music_genre.inference.batch import MAX_DURATION_S
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import Answer, ClipInputs
from music_genre.runtime import THREAD_LIMITS, configure_libraries, cores
from music_genre.service import schemas
from music_genre.service.environment import in_bento, service_settings, share_settings_dir
from music_genre.service.errors import ApiError, ErrorCode, add_error_handlers
from music_genre.service.explanation import Explainer
from music_genre.service.feedback import FeedbackRecorder
from music_genre.service.limits import concurrency_slot
from music_genre.service.middleware import ErrorFormatMiddleware, LingeringCloseMiddleware, RequestLoggingMiddleware
from music_genre.service.model_info import ModelInfo, build_model_info
from music_genre.service.model_runner import ModelRunner, unstack
from music_genre.service.observability import configure_json_logging, metrics, phase, record_prediction
from music_genre.service.request_log import RequestLog, shadow_log
from music_genre.service.schemas import build_response, error_responses
from music_genre.service.security import require_api_key
from music_genre.service.served_model import ServedModel, resolve_model, warm_up_features
from music_genre.service.shadow import ShadowRunner
from music_genre.service.uploads import Upload, open_upload
from music_genre.service.web import add_page

MAX_CONCURRENCY = 32  # requests in progress in one worker: two seconds of clips on two cores
REQUEST_TIMEOUT_S = 30.0  # from the end of the upload to the prediction
N_WORKERS = max(2, min(4, cores()))  # processes that decode; while one restarts, another serves
STARTUP_TIMEOUT_S = 20.0  # a worker's wait for its model; another worker may have reported readiness already
POLL_INTERVAL_S = 1.0  # between two requests for the version that is served
RETRY_INTERVAL_S = 0.2  # between two tries to reach the inner service while it restarts
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, ServiceUnavailable)  # of an inner service that restarts

logger = logging.getLogger("bentoml.music_genre")

app = FastAPI(
    title="music-genre",
    description="Predicts the genre of a recording.",
    summary='Errors are `{"error": {"code": ..., "message": ...}}`.',
    docs_url=None,  # `add_page` has one that needs nothing from elsewhere
    redoc_url=None,
)
add_page(app)
add_error_handlers(app)


@bentoml.service(
    name="music-genre", workers=N_WORKERS, traffic={"timeout": 120}, logging={"access": {"enabled": False}}
)
@bentoml.asgi_app(app, path="/")
class MusicGenre:
    """Predicts the genre of a recording."""

    model = bentoml.depends(ModelRunner)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # BentoML has no types
    @staticmethod
    def on_deployment() -> None:
        """Before any worker starts: print what will be served, or end with the reason why nothing can be."""
        configure_libraries()
        # The workers inherit this environment. Several of them share the cores, so each library gets one thread; and
        # BentoML restarts workers that were killed only where it does not believe to run in a container.
        os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        try:
            share_settings_dir()
            service_settings()
            served, _ = resolve_model()
            warm_up_features(served)
        except MusicGenreError as error:
            sys.exit(f"bentoml serve: {error}")
        origin = "included in this bento" if in_bento() else "champion of the registry"
        print(f"Serving {served.name} version {served.version}: {served.manifest.name}, {origin}", flush=True)

    def __init__(self) -> None:
        configure_json_logging()
        self.served: ServedModel | None = None
        self.model_ready = asyncio.Event()
        settings, worker = service_settings(), server_context.worker_index or 0
        log_dir = settings.request_log
        self.request_log = RequestLog(log_dir, worker, N_WORKERS) if log_dir else None
        self.shadow_log = shadow_log(log_dir, worker, N_WORKERS) if log_dir else None
        self.feedback = FeedbackRecorder(log_dir, worker, N_WORKERS, settings) if log_dir else None
        self.limiter = anyio.CapacityLimiter(MAX_CONCURRENCY)
        self.threads = anyio.CapacityLimiter(cores())
        self.explainer = Explainer(self.run_in_thread, self.run_model)

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # BentoML has no types
    async def on_startup(self) -> None:
        """Start to follow the inner service, which follows the registry."""
        # BentoML's client closes its connections every hundred requests or five minutes, and with them the requests
        # in progress. It has no public setting for that.
        session_manager = self.model.to_async._session_manager
        session_manager.max_age = session_manager.max_requests = math.inf
        self.shadow = ShadowRunner(self.model.to_async, self.run_in_thread, self.shadow_log)
        self.tasks = [asyncio.create_task(self.poll_model())]
        if self.feedback:
            self.tasks.append(asyncio.create_task(self.feedback.show_accuracy()))
            self.tasks.append(asyncio.create_task(self.feedback.recordings.remove_expired_forever()))

    async def __is_ready__(self) -> bool:
        return self.served is not None

    @app.post(
        "/predict",
        summary="Predict the genre of a recording",
        response_model=schemas.Prediction,
        response_model_exclude_unset=True,
        responses=error_responses(
            ErrorCode.UNAUTHORIZED,
            ErrorCode.TOO_SLOW,
            ErrorCode.TOO_LONG,
            ErrorCode.UNSUPPORTED,
            ErrorCode.SILENT,
            ErrorCode.BUSY,
        ),
        openapi_extra=schemas.UPLOAD,
    )
    async def predict(self, request: Request, key: Annotated[None, Depends(require_api_key)]) -> Any:
        """The genre with the probabilities of all genres: the mean over clips of the length that the model takes."""
        with concurrency_slot(self.limiter), self.log_failures():
            async with open_upload(request) as upload:
                try:
                    with anyio.fail_after(REQUEST_TIMEOUT_S):
                        with phase("decode"):
                            recording = await self.run_in_thread(decode, upload)
                        async with self.feedback.recordings.keep(upload.audio) if self.feedback else nullcontext():
                            return JSONResponse(await self.predict_recording(recording, upload))
                except TimeoutError as error:
                    message = f"server busy: no prediction within {REQUEST_TIMEOUT_S:g} s"
                    raise ApiError(ErrorCode.BUSY, message) from error

    @app.post(
        "/feedback",
        summary="Tell the right genre of a recording that was predicted",
        response_model=schemas.Feedback,
        responses=error_responses(
            ErrorCode.UNAUTHORIZED,
            ErrorCode.NOT_FOUND,
            ErrorCode.TOO_SLOW,
            ErrorCode.TOO_LARGE,
            ErrorCode.INVALID,
            ErrorCode.RATE_LIMITED,
            ErrorCode.FAILED,
            ErrorCode.BUSY,
        ),
        openapi_extra=schemas.FEEDBACK,
    )
    async def give_feedback(self, request: Request, key: Annotated[None, Depends(require_api_key)]) -> Any:
        """Feedback is kept beside the request log; the model learns nothing from it by itself."""
        if self.feedback is None:
            raise ApiError(ErrorCode.DISABLED, "this service takes no feedback: it has no request log")
        feedback = await self.feedback.receive(request)
        genres = (await self.get_model()).manifest.genres
        return JSONResponse(await self.run_in_thread(self.feedback.record, feedback, genres))

    @app.get(
        "/model",
        summary="Describe the model that is served",
        response_model=ModelInfo,
        responses=error_responses(ErrorCode.UNAUTHORIZED, ErrorCode.BUSY),
    )
    async def get_model_info(self, key: Annotated[None, Depends(require_api_key)]) -> Any:
        """Name, version, genres, transform, metrics and limits; whether the service takes feedback."""
        served = await self.get_model()
        return JSONResponse(build_model_info(served, self.feedback is not None, self.shadow.beside(served)))

    @app.get(
        "/model/card",
        summary="The card of the model that is served",
        response_class=PlainTextResponse,
        responses=error_responses(ErrorCode.UNAUTHORIZED, ErrorCode.NOT_FOUND, ErrorCode.BUSY),
    )
    async def get_model_card(self, key: Annotated[None, Depends(require_api_key)]) -> Any:
        """Markdown: what it was trained on, how well it does, what it is not for."""
        served = await self.get_model()
        if not served.card:
            raise ApiError(ErrorCode.NOT_FOUND, f"version {served.version} has no model card")
        return PlainTextResponse(served.card)

    async def predict_recording(self, recording: AudioSignal, upload: Upload) -> dict[str, Any]:
        """The prediction as the API returns it; where the version changes meanwhile, by the new one."""
        while True:
            served = await self.get_model()
            with phase("features"):
                clips = await self.run_in_thread(extract_clip_batch, recording, served.manifest, upload.timeline)
            with phase("forward") as forward:
                answer = await self.run_model(clips.inputs(served.manifest), served)
                spans = await self.run_model(clips.timeline.inputs, served) if clips.timeline else None
            if answer is not None and (clips.timeline is None or spans is not None):
                prediction = build_response(clips, answer, spans, served, upload.timeline)
                record_prediction(prediction)
                self.shadow.submit(recording, clips, served, prediction["genre"], forward.seconds)
                if self.request_log:
                    await self.run_in_thread(self.request_log.write, clips.mel, prediction)
                if upload.compare:
                    prediction |= await self.shadow.answer(recording, clips, served)
                if upload.explain:
                    prediction |= await self.explainer.explain(clips, answer, served)
                return prediction
            await self.refresh()

    def log_failures(self) -> AbstractContextManager[None]:
        """Give the request log a line where the block fails by a fault of the service."""
        log = self.request_log
        return log.failures(lambda: self.served.version if self.served else "") if log else nullcontext()

    async def run_model(self, inputs: ClipInputs, served: ServedModel) -> Answer | None:
        """What the version says whose manifest made the inputs.

        Returns None where that version is no longer loaded, and waits for an inner service that restarts.
        """
        clips = unstack(served.version, inputs)
        while True:
            try:
                rows = await self.model.to_async.predict(clips)
                if any(row is None for row in rows):
                    return None
                return Answer(*(np.stack(part) for part in zip(*rows, strict=True)))
            except CONNECTION_ERRORS:
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def get_model(self) -> ServedModel:
        """The version that is served.

        Raises:
            ApiError: ``busy`` where there is none after ``STARTUP_TIMEOUT_S``.
        """
        with anyio.move_on_after(STARTUP_TIMEOUT_S):
            await self.model_ready.wait()
        if self.served is None:
            raise ApiError(ErrorCode.BUSY, "server busy: the model is being loaded")
        return self.served

    async def poll_model(self) -> None:
        """Follow the inner service for ever, and log each reason once why that fails."""
        last_error = ""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S if self.served else RETRY_INTERVAL_S)
            try:
                await self.refresh()
                last_error = ""
            except CONNECTION_ERRORS:
                pass  # it restarts
            except Exception as error:  # nothing may end this task
                if repr(error) != last_error:
                    logger.exception("The inner service cannot be followed")
                last_error = repr(error)

    async def refresh(self) -> None:
        """Ask the inner service for the versions that it has loaded."""
        payloads = await self.model.to_async.get_models()
        self.shadow.challenger = ServedModel(**payloads["challenger"]) if payloads["challenger"] else None
        served = ServedModel(**payloads["champion"])
        if served != self.served:
            await self.run_in_thread(warm_up_features, served)
            self.served = served
            self.model_ready.set()
            metrics().set_version(served.version)

    async def run_in_thread(self, function: Any, *arguments: Any) -> Any:
        """What ``function`` returns; as many run at a time as there are cores."""
        return await to_thread.run_sync(function, *arguments, limiter=self.threads)


for middleware in (LingeringCloseMiddleware, RequestLoggingMiddleware, ErrorFormatMiddleware):  # from the outside in
    MusicGenre.add_asgi_middleware(middleware)  # type: ignore[attr-defined]  # the decorator made a service of it


def decode(upload: Upload) -> AudioSignal:
    """Decode an upload."""
    return decode_all(upload.audio, MAX_DURATION_S)
