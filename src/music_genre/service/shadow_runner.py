"""The challenger hears what the champion heard, after the client has its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from music_genre.features.audio import AudioSignal
from music_genre.inference.predictor import Clips, clips_of
from music_genre.registry.shadow import ShadowStats
from music_genre.service.observability import metrics
from music_genre.service.served_model import Loaded

logger = logging.getLogger("bentoml.music_genre")


class Shadowing:
    """One worker's comparisons: one recording at a time, so that a worker under load passes over the others.

    Args:
        model: the inner service.
        in_thread: runs work beside the event loop.
    """

    def __init__(self, model: Any, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self.model, self.in_thread = model, in_thread
        self.challenger: Loaded | None = None
        self.task: asyncio.Task[None] | None = None
        self.told = ""

    def begin(
        self, recording: AudioSignal, clips: Clips, champion: Loaded, answered: dict[str, Any], seconds: float
    ) -> None:
        """Start to compare, where there is a challenger and it is free.

        Args:
            recording: what was sent.
            clips: what the champion heard of it.
            champion: the version that answered.
            answered: the answer as the API gives it.
            seconds: from clips to probabilities.
        """
        challenger = self.challenger
        if challenger is None or challenger.version == champion.version:
            return
        if self.task and not self.task.done():
            metrics().shadow.labels(champion.version, challenger.version, "passed over").inc()
            return
        heard = clips if challenger.manifest.transform == champion.manifest.transform else recording
        self.task = asyncio.create_task(self.compare(heard, champion, challenger, answered["genre"], seconds))

    async def compare(
        self, heard: Clips | AudioSignal, champion: Loaded, challenger: Loaded, genre: str, seconds: float
    ) -> None:
        """Count whether the challenger names the same genre; what goes wrong here disturbs nobody."""
        result = "failed"
        try:
            clips = heard if isinstance(heard, Clips) else await self.in_thread(clips_of, heard, challenger.manifest)
            begun = time.perf_counter()
            rows = await self.model.predict_unseen([(challenger.version, mel) for mel in clips.mel])
            took = time.perf_counter() - begun
            agreed = challenger.manifest.genres[int(np.mean(rows, axis=0).argmax())] == genre
            result = "agreed" if agreed else "differed"
            metrics().phases.labels("shadow").observe(took)
            shadow = ShadowStats(
                champion=champion.version,
                n_predictions=1,
                n_agreed=agreed,
                champion_seconds=seconds,
                challenger_seconds=took,
            )
            await self.model.compared(challenger.version, shadow.model_dump())
        except Exception as error:
            if repr(error) != self.told:
                logger.warning("Version %s could not answer in the shadow", challenger.version, exc_info=True)
            self.told = repr(error)
        finally:
            metrics().shadow.labels(champion.version, challenger.version, result).inc()
