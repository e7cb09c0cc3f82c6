"""The inner service: clips in, probabilities out. It loads the models and follows the registry."""

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

from music_genre.models.bundle import ClipInputs, ModelBundle
from music_genre.models.predictors import PREDICT_BATCH_SIZE
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats
from music_genre.runtime import configure_libraries
from music_genre.service.bento import ChampionBentoModel
from music_genre.service.environment import in_bento
from music_genre.service.served_model import (
    IncompatibleModelError,
    RegistryClient,
    ServedModel,
    load_and_warm_up,
    resolve_model,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

HEALTH_INTERVAL_S = 30.0  # between two looks at the request log and the feedback
POLL_INTERVAL_S = 3.0  # between two looks at the registry's aliases
DRAIN_SECONDS = 3.0  # without a request: outer services ask every second, so none is left
MAX_BATCH_LATENCY_MS = 120_000  # BentoML drops batches that it expects to take longer; the outer service gives up first

Clip = tuple[str, dict[str, np.ndarray]]  # version whose manifest made it, and what it takes of one clip
# (classes,) float32 probabilities, (tags,) float32 of the encoders' own; None where the version is no longer loaded.
Row = tuple[np.ndarray, np.ndarray] | None

logger = logging.getLogger("bentoml.music_genre")


@bentoml.service(name="music-genre-model", workers=1, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class ModelRunner:
    """Predicts the clips of all requests that wait, in one forward pass."""

    champion = ChampionBentoModel("music-genre")

    def __init__(self) -> None:
        configure_libraries()
        self.last_request_time = self.next_health_check = 0.0
        self.last_health_outcome = ""
        self.served, bundle_dir = resolve_model()
        self.models = {self.served.version: load_and_warm_up(self.served, bundle_dir)}
        self.challenger: ServedModel | None = None
        self.challenger_models: dict[str, ModelBundle] = {}
        self.pending_shadow_stats: dict[str, ShadowStats] = {}
        self.stats_lock = threading.Lock()
        if not in_bento():
            threading.Thread(target=self.watch_registry, daemon=True).start()

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # BentoML has no types
    def install_graceful_shutdown(self) -> None:
        """Stop after the outer services.

        BentoML sends the signal to all services at once, whichever depend on others; a service that stopped at once
        would fail the requests that the outer ones are about to finish. BentoML has no setting for the order.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, partial(self.drain_then_stop, signal.getsignal(number)))

    def drain_then_stop(self, stop: Any, number: int, frame: Any) -> None:
        """Call the handler ``stop`` of a signal once there was no request for ``DRAIN_SECONDS``."""
        self.last_request_time = time.monotonic()  # on a busy machine the last one may be long ago

        def wait() -> None:
            while time.monotonic() < self.last_request_time + DRAIN_SECONDS:
                time.sleep(0.1)
            stop(number, None)

        threading.Thread(target=wait, daemon=True).start()

    @bentoml.api(batchable=True, max_batch_size=PREDICT_BATCH_SIZE, max_latency_ms=MAX_BATCH_LATENCY_MS)  # type: ignore[untyped-decorator]  # BentoML has no types
    def predict(self, clips: list[Any]) -> list[Any]:
        """A ``Row`` for every ``Clip``, by the champion."""
        self.last_request_time = time.monotonic()
        return predict_by_version(self.models, clips)

    @bentoml.api(batchable=True, max_batch_size=PREDICT_BATCH_SIZE, max_latency_ms=MAX_BATCH_LATENCY_MS)  # type: ignore[untyped-decorator]  # BentoML has no types
    def predict_shadow(self, clips: list[Any]) -> list[Any]:
        """A ``Row`` for every ``Clip``, by the challenger; in a queue of its own, so that no client waits for it."""
        return predict_by_version(self.challenger_models, clips)

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML has no types
    def record_comparison(self, challenger: str, stats: dict[str, Any]) -> None:
        """Add to the statistics of a challenger; ``watch_registry`` stores them."""
        self.add_shadow_stats(challenger, ShadowStats(**stats))

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML has no types
    def get_models(self) -> dict[str, Any]:
        """The champion and, in shadow mode, the challenger, each as ``ServedModel.to_payload``."""
        self.last_request_time = time.monotonic()
        return {"champion": self.served.to_payload(), "challenger": self.challenger and self.challenger.to_payload()}

    def watch_registry(self) -> None:
        """Serve what becomes champion and run what becomes challenger; what cannot be loaded changes nothing."""
        registry = RegistryClient()
        champion = AliasWatcher(registry.champion, lambda version: self.swap_model(*registry.download(version)))
        challenger = AliasWatcher(
            registry.challenger, lambda version: self.set_challenger(version and registry.download(version))
        )
        while True:
            champion.poll(f"Still serving version {self.served.version}")
            challenger.poll("Shadow mode has no challenger")
            self.flush_shadow_stats(registry)
            self.check_health(registry)
            time.sleep(POLL_INTERVAL_S)

    def check_health(self, registry: RegistryClient) -> None:
        """Roll the champion back where it is beyond the limits of the settings; looked at now and then."""
        if time.monotonic() < self.next_health_check:
            return
        self.next_health_check = time.monotonic() + HEALTH_INTERVAL_S
        try:
            reason = registry.roll_back_if_unhealthy()
            outcome = f"Rolled back from version {self.served.version}: {reason}" if reason else ""
        except Exception as error:  # the store is unreachable, or there is nothing to go back to
            outcome = f"No rollback: {' '.join(str(error).split())[:500]}"
        if outcome and outcome != self.last_health_outcome:
            logger.error(outcome)
        self.last_health_outcome = outcome

    def swap_model(self, served: ServedModel, bundle_dir: Path) -> None:
        """Serve another version; the one before stays loaded for requests whose features are made already."""
        if served == self.served:
            return
        model = self.load_checked(served, bundle_dir)
        self.models = {self.served.version: self.models[self.served.version], served.version: model}
        self.served = served
        logger.info("Serving %s version %s: %s", served.name, served.version, served.manifest.name)

    def load_checked(self, served: ServedModel, bundle_dir: Path) -> ModelBundle:
        """Load a version that is to take what the served one takes.

        Raises:
            IncompatibleModelError: it takes no audio, or cannot predict.
        """
        if served.manifest.transform is None and self.served.manifest.transform is not None:
            raise IncompatibleModelError(f"{served.name} version {served.version} has no transform for audio")
        return load_and_warm_up(served, bundle_dir)

    def set_challenger(self, download: tuple[ServedModel, Path] | None) -> None:
        """Run a version in shadow mode from now on, or none."""
        self.challenger, self.challenger_models = None, {}
        if download:
            served, bundle_dir = download
            self.challenger_models = {served.version: self.load_checked(served, bundle_dir)}
            self.challenger = served
            logger.info("Shadow model: %s version %s: %s", served.name, served.version, served.manifest.name)

    def add_shadow_stats(self, challenger: str, stats: ShadowStats) -> None:
        """Add to the statistics that wait to be stored."""
        with self.stats_lock:
            pending = self.pending_shadow_stats.get(challenger)
            self.pending_shadow_stats[challenger] = pending.merge(stats) if pending else stats

    def flush_shadow_stats(self, registry: RegistryClient) -> None:
        """Store the statistics that wait; those that cannot be stored wait for the next time."""
        with self.stats_lock:
            pending, self.pending_shadow_stats = self.pending_shadow_stats, {}
        for challenger, stats in pending.items():
            try:
                registry.record_shadow(challenger, stats)
            except Exception:  # the store is unreachable, which ``AliasWatcher`` has logged
                self.add_shadow_stats(challenger, stats)


class AliasWatcher:
    """Follows an alias of the registry, and logs each reason once why it cannot.

    Args:
        resolve: returns the version that the alias points at, or None.
        on_change: called with each new version.
    """

    def __init__(self, resolve: Callable[[], ModelVersion | None], on_change: Callable[[Any], None]) -> None:
        self.resolve, self.on_change = resolve, on_change
        self.last_state: object = None
        self.last_error = ""

    def poll(self, fallback_message: str) -> None:
        """Look at the alias once; ``fallback_message`` is logged before the reason why a version cannot be used."""
        state: object = None
        try:
            version = self.resolve()
            state = version and (version.version, version.source, version.tags | {SHADOW_TAG: ""})
            if state != self.last_state:
                self.on_change(version)
            self.last_state, self.last_error = state, ""
        except Exception as error:  # an unreachable store, a broken file: nothing may end the thread
            if isinstance(error, IncompatibleModelError):
                self.last_state = state
            reason = " ".join(str(error).split())[:500]
            if reason != self.last_error:
                logger.error("%s: %s", fallback_message, reason)
            self.last_error = reason


def predict_by_version(models: dict[str, ModelBundle], clips: list[Clip]) -> list[Row]:
    """Predict every clip by the version whose manifest made it, in order; clips and spans of a timeline, which have
    other shapes, apart.
    """
    rows: list[Row] = [None] * len(clips)
    alike: dict[Any, list[int]] = {}
    for index, (version, inputs) in enumerate(clips):
        alike.setdefault((version, *((name, array.shape) for name, array in inputs.items())), []).append(index)
    for (version, *shapes), indices in alike.items():
        if version in models:
            inputs = {name: np.stack([clips[index][1][name] for index in indices]) for name, _ in shapes}
            answer = models[version].answer(inputs)
            for index, probabilities, tags in zip(indices, answer.probabilities, answer.tags, strict=True):
                rows[index] = probabilities, tags
    return rows


def unstack(version: str, inputs: ClipInputs) -> list[Clip]:
    """What a version takes of n clips as n ``Clip``."""
    n_clips = len(next(iter(inputs.values())))
    return [(version, {name: clips[index] for name, clips in inputs.items()}) for index in range(n_clips)]
