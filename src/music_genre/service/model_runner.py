"""The inner service: clips in, probabilities out. It alone loads networks and follows the registry."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import numpy as np

from music_genre.models.bundle import PREDICT_BATCH_SIZE, ModelBundle
from music_genre.pipeline import configure_libraries
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats
from music_genre.service.bento import Champion
from music_genre.service.served_model import Loaded, Registry, UnusableError, find, in_bento, ready

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

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
        configure_libraries()
        self.asked = 0.0
        self.loaded, folder = find()
        self.models = {self.loaded.version: ready(self.loaded, folder)}
        self.challenger: Loaded | None = None
        self.shadows: dict[str, ModelBundle] = {}
        self.unkept: dict[str, ShadowStats] = {}
        self.counting = threading.Lock()
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

    @bentoml.api(batchable=True, max_batch_size=PREDICT_BATCH_SIZE, max_latency_ms=LONGEST_WAIT_MS)  # type: ignore[untyped-decorator]  # theirs
    def predict(self, clips: list[Any]) -> list[Any]:
        """An ``Answer`` to every ``Clip``."""
        self.asked = time.monotonic()
        return answers(self.models, clips)

    @bentoml.api(batchable=True, max_batch_size=PREDICT_BATCH_SIZE, max_latency_ms=LONGEST_WAIT_MS)  # type: ignore[untyped-decorator]  # theirs
    def predict_unseen(self, clips: list[Any]) -> list[Any]:
        """The challenger's; in a queue of its own, so that no client waits for it."""
        return answers(self.shadows, clips)

    @bentoml.api  # type: ignore[untyped-decorator]  # theirs
    def compared(self, challenger: str, shadow: dict[str, Any]) -> None:
        """Count what a challenger answered; ``follow`` writes it down."""
        self.count(challenger, ShadowStats(**shadow))

    @bentoml.api  # type: ignore[untyped-decorator]  # theirs
    def describe(self) -> dict[str, Any]:
        """The versions to ask for, each as ``Loaded.told``; the challenger where one answers in the shadow."""
        self.asked = time.monotonic()
        return {"champion": self.loaded.told(), "challenger": self.challenger and self.challenger.told()}

    def follow(self) -> None:
        """Serve whatever becomes champion, and challenger; as long as that cannot be had or served, what answers now
        stays.
        """
        registry = Registry()
        champion = Watch(registry.champion, lambda version: self.change(*registry.fetch(version)))
        challenger = Watch(registry.challenger, lambda version: self.shadow(version and registry.fetch(version)))
        while True:
            champion.look(f"Version {self.loaded.version} stays")
            challenger.look("The challenger does not answer")
            self.keep(registry)
            time.sleep(FOLLOW_SECONDS)

    def change(self, loaded: Loaded, folder: Path) -> None:
        """Let a version answer; the one before it goes on to, for requests whose features are made already."""
        if loaded == self.loaded:
            return
        model = self.readied(loaded, folder)
        self.models = {self.loaded.version: self.models[self.loaded.version], loaded.version: model}
        self.loaded = loaded
        logger.info("Serving %s version %s: %s", loaded.name, loaded.version, loaded.manifest.name)

    def readied(self, loaded: Loaded, folder: Path) -> ModelBundle:
        """Load a version that is to hear what the one that answers hears."""
        if loaded.manifest.transform is None and self.loaded.manifest.transform is not None:
            raise UnusableError(f"{loaded.name} version {loaded.version} has no transform for audio")
        return ready(loaded, folder)

    def shadow(self, found: tuple[Loaded, Path] | None) -> None:
        """Let a challenger answer unseen from now on, or none."""
        self.challenger, self.shadows = None, {}
        if found:
            loaded, folder = found
            self.shadows = {loaded.version: self.readied(loaded, folder)}
            self.challenger = loaded
            logger.info("In the shadow: %s version %s: %s", loaded.name, loaded.version, loaded.manifest.name)

    def count(self, challenger: str, later: ShadowStats) -> None:
        """Add to what is to be written down of a challenger."""
        with self.counting:
            known = self.unkept.get(challenger)
            self.unkept[challenger] = known.merge(later) if known else later

    def keep(self, registry: Registry) -> None:
        """Write down what challengers showed; what cannot be written is kept for the next time."""
        with self.counting:
            unkept, self.unkept = self.unkept, {}
        for challenger, shadow in unkept.items():
            try:
                registry.keep(challenger, shadow)
            except Exception:  # the store is away, as ``Watch`` has told
                self.count(challenger, shadow)


class Watch:
    """An alias of the registry: whatever it newly points at is taken, and what cannot be taken is told once.

    Args:
        find: the version, or None.
        take: called with each new one.
    """

    def __init__(self, find: Callable[[], ModelVersion | None], take: Callable[[Any], None]) -> None:
        self.find, self.take = find, take
        self.seen: object = None
        self.told = ""

    def look(self, otherwise: str) -> None:
        """Look once; ``otherwise`` is said before the reason where nothing can be had or taken."""
        now: object = None
        try:
            version = self.find()
            now = version and (version.version, version.source, version.tags | {SHADOW_TAG: ""})
            if now != self.seen:
                self.take(version)
            self.seen, self.told = now, ""
        except Exception as error:  # a store that is away, a file that is anything: none of it may end the thread
            if isinstance(error, UnusableError):
                self.seen = now
            reason = " ".join(str(error).split())[:500]
            if reason != self.told:
                logger.error("%s: %s", otherwise, reason)
            self.told = reason


def answers(models: dict[str, ModelBundle], clips: list[Clip]) -> list[Answer]:
    """Every clip's answer by the version that it was made for, in order."""
    found: list[Answer] = [None] * len(clips)
    for version, model in models.items():
        places = [place for place, (wanted, _) in enumerate(clips) if wanted == version]
        if places:
            mel = np.stack([clips[place][1] for place in places])
            for place, row in zip(places, model.predict(mel), strict=True):
                found[place] = row
    return found
