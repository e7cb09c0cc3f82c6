"""Shadow mode: the challenger predicts what the champion predicted, after the client has its response, or beside it
where the client asks for both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import numpy as np

from music_genre.audio.signal import AudioSignal
from music_genre.inference.predictor import ClipBatch, extract_clip_batch
from music_genre.registry.shadow import ShadowStats
from music_genre.service.observability import metrics, request_context
from music_genre.service.request_log import RotatingLog
from music_genre.service.served_model import LoadedModel, ServedModel

ANSWER_TIMEOUT_S = 10.0  # of a challenger that a client waits for

logger = logging.getLogger("bentoml.music_genre")


class ShadowRunner:
    """The comparisons of one worker: one recording at a time; a worker under load skips others.

    Args:
        registry: a client of the inner service.
        run_in_thread: runs a function beside the event loop.
        log: gets a line for each prediction, with which feedback is compared; None: there is none.
    """

    def __init__(self, registry: Any, run_in_thread: Callable[..., Awaitable[Any]], log: RotatingLog | None) -> None:
        self.registry, self.run_in_thread, self.log = registry, run_in_thread, log
        self.challenger: LoadedModel | None = None
        self.task: asyncio.Task[None] | None = None
        self.last_error = ""

    def submit(
        self, recording: AudioSignal, clips: ClipBatch, champion: ServedModel, genre: str, champion_seconds: float
    ) -> None:
        """Compare the challenger's prediction with the champion's, if there is a challenger and no other comparison.

        Args:
            recording: what was uploaded.
            clips: the champion's features of it.
            champion: the version that made the prediction.
            genre: its prediction.
            champion_seconds: from clips to probabilities.
        """
        challenger = self.beside(champion)
        if challenger is None:
            return
        if self.task and not self.task.done():
            metrics().shadow.labels(champion.version, challenger.version, "skipped").inc()
            return
        source = usable_source(recording, clips, champion, challenger)
        self.task = asyncio.create_task(self.compare(source, champion, challenger, genre, champion_seconds))

    def beside(self, champion: ServedModel) -> LoadedModel | None:
        """The challenger; None where there is none that is another version than the champion."""
        challenger = self.challenger
        return None if challenger is None or challenger.version == champion.version else challenger

    async def compare(
        self,
        source: ClipBatch | AudioSignal,
        champion: ServedModel,
        challenger: LoadedModel,
        genre: str,
        champion_seconds: float,
    ) -> None:
        """Count whether the challenger predicts ``genre``, too; errors are logged and disturb no request."""
        result = "failed"
        try:
            clips = await self.features(source, challenger)
            start = time.perf_counter()
            probabilities = await self.predict(clips, challenger)
            challenger_seconds = time.perf_counter() - start
            predicted = challenger.manifest.genres[int(probabilities.argmax())]
            agreed = predicted == genre
            await self.write_line(challenger.version, predicted)
            result = "agreed" if agreed else "differed"
            metrics().phases.labels("shadow").observe(challenger_seconds)
            stats = ShadowStats(
                champion=champion.version,
                n_predictions=1,
                n_agreed=agreed,
                champion_seconds=champion_seconds,
                challenger_seconds=challenger_seconds,
            )
            await self.registry.record_comparison(challenger.version, stats.model_dump())
        except Exception as error:
            self.log_once(challenger, error)
        finally:
            metrics().shadow.labels(champion.version, challenger.version, result).inc()

    async def answer(self, recording: AudioSignal, clips: ClipBatch, champion: ServedModel) -> dict[str, Any]:
        """The field ``challenger`` of a response: its prediction, now; no field where there is none, or it fails."""
        challenger = self.beside(champion)
        if challenger is None:
            return {}
        try:
            with anyio.fail_after(ANSWER_TIMEOUT_S):
                source = usable_source(recording, clips, champion, challenger)
                probabilities = await self.predict(await self.features(source, challenger), challenger)
        except Exception as error:
            self.log_once(challenger, error)
            return {}
        by_genre = dict(zip(challenger.manifest.genres, map(float, probabilities), strict=True))
        genre = max(by_genre, key=lambda name: by_genre[name])
        answer = {"genre": genre, "confidence": by_genre[genre], "probabilities": by_genre}
        return {"challenger": {"version": challenger.version, **answer}}

    async def features(self, source: ClipBatch | AudioSignal, challenger: LoadedModel) -> ClipBatch:
        """What the challenger takes of a recording."""
        if isinstance(source, ClipBatch):
            return source
        clips: ClipBatch = await self.run_in_thread(extract_clip_batch, source, challenger.manifest)
        return clips

    async def predict(self, clips: ClipBatch, challenger: LoadedModel) -> np.ndarray:
        """(classes,) probabilities, the mean over clips."""
        probabilities = await self.run_in_thread(challenger.bundle.predict, clips.inputs(challenger.manifest))
        return np.asarray(probabilities.mean(axis=0))

    def log_once(self, challenger: LoadedModel, error: Exception) -> None:
        """Log an error that is not the one before."""
        if repr(error) != self.last_error:
            logger.warning("Version %s failed in shadow mode", challenger.version, exc_info=error)
        self.last_error = repr(error)

    async def write_line(self, version: str, genre: str) -> None:
        """Log what a challenger predicted for the recording of the current request."""
        context = request_context.get()
        if self.log and context:
            await self.run_in_thread(
                self.log.append, {"request_id": context.request_id, "version": version, "genre": genre}
            )


def usable_source(
    recording: AudioSignal, clips: ClipBatch, champion: ServedModel, challenger: LoadedModel
) -> ClipBatch | AudioSignal:
    """The champion's features of a recording where they are the challenger's, too; else the recording."""
    alike = challenger.manifest.transform == champion.manifest.transform
    has_windows = challenger.manifest.encoders.items() <= champion.manifest.encoders.items()
    return clips if alike and has_windows else recording
