"""The inner service: clips in, probabilities out. It alone loads networks and follows the registry."""

from __future__ import annotations

import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from music_genre.packed import BATCH, PackedModel
from music_genre.service.loading import Loaded, Registry, UnusableError, find, in_bento, ready
from music_genre.service.packing import Champion
from music_genre.stages import quiet_libraries

FOLLOW_SECONDS = 3.0
"""How often the registry is asked which version is champion."""

QUIET_SECONDS = 3.0
"""An outer service asks every second which version answers; where nobody asked anything for so long, none is left."""

LONGEST_WAIT_MS = 120_000
"""BentoML drops a batch that it expects to take longer; the outer service ends waiting long before, and says so."""

Clip = tuple[str, np.ndarray]
"""Version whose transform made it, and (frames, n_mels) float32 dB."""

Answer = np.ndarray | None
"""(classes,) probabilities, or nothing where that version no longer answers."""

logger = logging.getLogger("bentoml.music_genre")


@bentoml.service(name="music-genre-model", workers=1, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class GenreModel:
    """Waiting clips, whosever they are, are answered in one forward pass."""

    champion = Champion("music-genre")

    def __init__(self) -> None:
        quiet_libraries()
        self.asked = 0.0
        self.loaded, folder = find()
        self.models = {self.loaded.version: ready(self.loaded, folder)}
        if not in_bento():
            threading.Thread(target=self.follow, daemon=True).start()

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # theirs
    def outlive(self) -> None:
        """Stop only when nobody asks any more: BentoML tells all services to stop at once, and the outer one has
        requests at work.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, partial(self.stop_later, signal.getsignal(number)))

    def stop_later(self, stop: Any, number: int, frame: Any) -> None:
        """Handle a signal as ``stop`` would, later: who is at work on a busy machine may not have asked for a while."""
        self.asked = time.monotonic()

        def wait() -> None:
            while time.monotonic() < self.asked + QUIET_SECONDS:
                time.sleep(0.1)
            stop(number, None)

        threading.Thread(target=wait, daemon=True).start()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=LONGEST_WAIT_MS)  # type: ignore[untyped-decorator]  # theirs
    def predict(self, clips: list[Any]) -> list[Any]:
        """An ``Answer`` to every ``Clip``."""
        self.asked = time.monotonic()
        return answers(self.models, clips)

    @bentoml.api  # type: ignore[untyped-decorator]  # theirs
    def describe(self) -> dict[str, Any]:
        """The version to ask for: ``Loaded.told``."""
        self.asked = time.monotonic()
        return self.loaded.told()

    def follow(self) -> None:
        """Serve whatever becomes champion; as long as that cannot be had or served, what answers now stays."""
        registry, seen, told = Registry(), None, ""
        while True:
            try:
                version = registry.champion()
                now = (version.version, version.source, version.tags)
                if now != seen:
                    self.change(*registry.fetch(version))
                seen, told = now, ""
            except Exception as error:  # a store that is away, a file that is anything: none of it may end this thread
                if isinstance(error, UnusableError):
                    seen = now
                reason = " ".join(str(error).split())[:500]
                if reason != told:
                    logger.error("Version %s stays: %s", self.loaded.version, reason)
                told = reason
            time.sleep(FOLLOW_SECONDS)

    def change(self, loaded: Loaded, folder: Path) -> None:
        """Let a version answer; the one before it goes on to, for requests whose features are made already."""
        if loaded == self.loaded:
            return
        if loaded.packing.transform is None and self.loaded.packing.transform is not None:
            raise UnusableError(f"{loaded.name} version {loaded.version} has no transform for audio")
        model = ready(loaded, folder)
        self.models = {self.loaded.version: self.models[self.loaded.version], loaded.version: model}
        self.loaded = loaded
        logger.info("Serving %s version %s: %s", loaded.name, loaded.version, loaded.packing.name)


def answers(models: dict[str, PackedModel], clips: list[Clip]) -> list[Answer]:
    """Every clip's answer by the version that it was made for, in order."""
    found: list[Answer] = [None] * len(clips)
    for version, model in models.items():
        places = [place for place, (wanted, _) in enumerate(clips) if wanted == version]
        if places:
            mel = np.stack([clips[place][1] for place in places])
            for place, row in zip(places, model.predict(mel), strict=True):
                found[place] = row
    return found
