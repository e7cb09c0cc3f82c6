"""The outer service: from uploads to predictions; the inner one, ``RegistryWatcher``, knows which versions to load."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import aiohttp
import anyio
import bentoml
from anyio import to_thread
from bentoml import server_context
from bentoml.exceptions import ServiceUnavailable
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from music_genre.audio.decoding import decode_all
from music_genre.audio.signal import AudioSignal
from music_genre.errors import MusicGenreError
from music_genre.inference.batch import MAX_DURATION_S
from music_genre.inference.predictor import ClipBatch, extract_clip_batch
from music_genre.models.bundle import Answer
from music_genre.runtime import THREAD_LIMITS, configure_libraries, cores
from music_genre.service import schemas
from music_genre.service.connections import install_connection_limits
from music_genre.service.environment import in_bento, release, service_settings, share_settings_dir
from music_genre.service.errors import ApiError, ErrorCode, add_error_handlers
from music_genre.service.explanation import Explainer
from music_genre.service.feedback import FeedbackRecorder
from music_genre.service.limits import check_capacity, concurrency_slot
from music_genre.service.middleware import ErrorFormatMiddleware, LingeringCloseMiddleware, RequestLoggingMiddleware
from music_genre.service.model_info import ModelInfo, build_model_info
from music_genre.service.observability import Span, configure_json_logging, metrics, phase, record_prediction
from music_genre.service.registry_watcher import AvailableModel, RegistryWatcher
from music_genre.service.request_log import RequestLog, shadow_log
from music_genre.service.schemas import build_response, error_responses
from music_genre.service.security import require_api_key
from music_genre.service.served_model import (
    LoadedModel,
    load_and_warm_up,
    resolve_model,
    warm_up_features,
)
from music_genre.service.shadow import ShadowRunner
from music_genre.service.uploads import MAX_UPLOAD_S, Upload, UploadReader
from music_genre.service.web import add_page

MAX_CONCURRENCY = 32  # requests in progress in one worker: two seconds of clips on two cores
QUEUE_TIMEOUT_S = 10.0  # a complete upload's wait for a place among them
REQUEST_TIMEOUT_S = 30.0  # from there to the prediction
N_WORKERS = max(2, min(4, cores()))  # processes that decode; while one restarts, another serves
STARTUP_TIMEOUT_S = 20.0  # a worker's wait for its model; another worker may have reported readiness already
POLL_INTERVAL_S = 1.0  # between two requests for the version that is served
RETRY_INTERVAL_S = 0.2  # between two tries to reach the inner service while it restarts
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, ServiceUnavailable)  # of an inner service that restarts

logger = logging.getLogger("bentoml.music_genre")

app = FastAPI(
    title="music-genre",
    version=release(),
    description="Predicts the genre of a recording.",
    summary='Errors are `{"error": {"code": ..., "message": ...}}`.',
    docs_url=None,  # `add_page` has one that needs nothing from elsewhere
    redoc_url=None,
)
add_page(app)
add_error_handlers(app)


@bentoml.service(
    name="music-genre",
    workers=N_WORKERS,
    traffic={"timeout": MAX_UPLOAD_S + QUEUE_TIMEOUT_S + 2 * REQUEST_TIMEOUT_S},  # beyond every limit of its own
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/")
class MusicGenre:
    """Predicts the genre of a recording."""

    registry = bentoml.depends(RegistryWatcher)

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
        self.model: LoadedModel | None = None
        self.model_ready = asyncio.Event()
        settings, worker = service_settings(), server_context.worker_index or 0
        log_dir = settings.request_log
        self.request_log = RequestLog(log_dir, worker, N_WORKERS) if log_dir else None
        self.shadow_log = shadow_log(log_dir, worker, N_WORKERS) if log_dir else None
        self.feedback = FeedbackRecorder(log_dir, worker, N_WORKERS, settings) if log_dir else None
        self.limiter = anyio.CapacityLimiter(MAX_CONCURRENCY)
        self.uploads = UploadReader()
        self.threads = anyio.CapacityLimiter(cores())
        self.explainer = Explainer(self.run_in_thread)

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # BentoML has no types
    async def on_startup(self) -> None:
        """Start to follow the inner service, which follows the registry."""
        self.shadow = ShadowRunner(self.registry.to_async, self.run_in_thread, self.shadow_log)
        self.tasks = [asyncio.create_task(self.poll_model())]
        if self.feedback:
            self.tasks.append(asyncio.create_task(self.feedback.show_accuracy()))
            self.tasks.append(asyncio.create_task(self.feedback.recordings.remove_expired_forever()))

    async def __is_ready__(self) -> bool:
        return self.model is not None

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
        check_capacity(self.limiter)
        with self.log_failures():
            async with self.uploads.open(request) as upload, concurrency_slot(self.limiter, QUEUE_TIMEOUT_S):
                try:
                    with anyio.fail_after(REQUEST_TIMEOUT_S):
                        with phase("decode"):
                            recording = await self.run_in_thread(decode_all, upload.audio, MAX_DURATION_S)
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
        served = (await self.get_model()).served
        return JSONResponse(build_model_info(served, self.feedback is not None, self.shadow.beside(served)))

    @app.get(
        "/model/card",
        summary="The card of the model that is served",
        response_class=PlainTextResponse,
        responses=error_responses(ErrorCode.UNAUTHORIZED, ErrorCode.NOT_FOUND, ErrorCode.BUSY),
    )
    async def get_model_card(self, key: Annotated[None, Depends(require_api_key)]) -> Any:
        """Markdown: what it was trained on, how well it does, what it is not for."""
        served = (await self.get_model()).served
        if not served.card:
            raise ApiError(ErrorCode.NOT_FOUND, f"version {served.version} has no model card")
        return PlainTextResponse(served.card)

    async def predict_recording(self, recording: AudioSignal, upload: Upload) -> dict[str, Any]:
        """The prediction as the API returns it."""
        model = await self.get_model()
        clips, answer, spans, forward = await self.run_in_thread(predict_clips, recording, model, upload.timeline)
        prediction = build_response(clips, answer, spans, model.served, upload.timeline)
        record_prediction(prediction)
        self.shadow.submit(recording, clips, model.served, prediction["genre"], forward.seconds)
        if self.request_log:
            await self.run_in_thread(self.request_log.write, clips.mel, prediction)
        if upload.compare:
            prediction |= await self.shadow.answer(recording, clips, model.served)
        if upload.explain:
            prediction |= await self.explainer.explain(clips, answer, model)
        return prediction

    def log_failures(self) -> AbstractContextManager[None]:
        """Give the request log a line where the block fails by a fault of the service."""
        log = self.request_log
        return log.failures(lambda: self.model.version if self.model else "") if log else nullcontext()

    async def get_model(self) -> LoadedModel:
        """The version that is served.

        Raises:
            ApiError: ``busy`` where there is none after ``STARTUP_TIMEOUT_S``.
        """
        with anyio.move_on_after(STARTUP_TIMEOUT_S):
            await self.model_ready.wait()
        if self.model is None:
            raise ApiError(ErrorCode.BUSY, "server busy: the model is being loaded")
        return self.model

    async def poll_model(self) -> None:
        """Follow the inner service for ever, and log each reason once why that fails."""
        last_error = ""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S if self.model else RETRY_INTERVAL_S)
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
        """Ask the inner service for the versions to serve, and load those that are new."""
        payloads = await self.registry.to_async.get_models()
        champion = await self.load(payloads["champion"], self.model)
        if champion is not None and champion is not self.model:
            self.model = champion
            self.model_ready.set()
            metrics().set_version(champion.version)
        self.shadow.challenger = await self.load(payloads["challenger"], self.shadow.challenger)

    async def load(self, payload: dict[str, Any] | None, loaded: LoadedModel | None) -> LoadedModel | None:
        """A version that the inner service names; ``loaded`` where it is that."""
        if payload is None:
            return None
        named = AvailableModel.from_payload(payload)
        if loaded is not None and loaded.served == named.served:
            return loaded
        model: LoadedModel = await self.run_in_thread(load_and_warm_up, named.served, named.bundle_dir)
        return model

    async def run_in_thread(self, function: Any, *arguments: Any) -> Any:
        """What ``function`` returns; as many run at a time as there are cores."""
        return await to_thread.run_sync(function, *arguments, limiter=self.threads)


for middleware in (LingeringCloseMiddleware, RequestLoggingMiddleware, ErrorFormatMiddleware):  # from the outside in
    MusicGenre.add_asgi_middleware(middleware)  # type: ignore[attr-defined]  # the decorator made a service of it
install_connection_limits()


def predict_clips(
    recording: AudioSignal, model: LoadedModel, timeline: bool
) -> tuple[ClipBatch, Answer, Answer | None, Span]:
    """The features of a recording, what the model says about its clips and the spans of its timeline, and the time of
    the latter two.
    """
    with phase("features"):
        clips = extract_clip_batch(recording, model.manifest, timeline)
    with phase("forward") as forward:
        answer = model.bundle.answer(clips.inputs(model.manifest))
        spans = model.bundle.answer(clips.timeline.inputs) if clips.timeline else None
    return clips, answer, spans, forward
