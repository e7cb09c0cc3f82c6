"""The inner service: it follows the registry, and tells the outer services which versions to load."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml

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
    from music_genre.registry.resolver import RegisteredVersion

HEALTH_INTERVAL_S = 30.0  # between two looks at the request log and the feedback
POLL_INTERVAL_S = 3.0  # between two looks at the registry's aliases

logger = logging.getLogger("bentoml.music_genre")


@dataclass(frozen=True)
class AvailableModel:
    """A version that can be served, and the folder of its bundle on this machine."""

    served: ServedModel
    bundle_dir: Path

    def to_payload(self) -> dict[str, Any]:
        """Both, fit for JSON."""
        return {"served": self.served.to_payload(), "bundle_dir": str(self.bundle_dir)}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> AvailableModel:
        """What ``to_payload`` made in another process."""
        return cls(ServedModel(**payload["served"]), Path(payload["bundle_dir"]))


@bentoml.service(
    name="music-genre-registry", workers=1, traffic={"timeout": 120}, logging={"access": {"enabled": False}}
)
class RegistryWatcher:
    """Knows the versions behind ``champion`` and ``challenger``, each loaded once to see that it can be served."""

    model = ChampionBentoModel("music-genre")

    def __init__(self) -> None:
        configure_libraries()
        self.next_health_check = 0.0
        self.last_health_outcome = ""
        self.champion = AvailableModel(*resolve_model())
        load_and_warm_up(self.champion.served, self.champion.bundle_dir)
        self.challenger: AvailableModel | None = None
        self.pending_shadow_stats: dict[str, ShadowStats] = {}
        self.stats_lock = threading.Lock()
        if not in_bento():
            threading.Thread(target=self.watch_registry, daemon=True).start()

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML has no types
    def record_comparison(self, challenger: str, stats: dict[str, Any]) -> None:
        """Add to the statistics of a challenger; ``watch_registry`` stores them."""
        self.add_shadow_stats(challenger, ShadowStats(**stats))

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML has no types
    def get_models(self) -> dict[str, Any]:
        """The champion and, in shadow mode, the challenger, each as ``AvailableModel.to_payload``."""
        return {"champion": self.champion.to_payload(), "challenger": self.challenger and self.challenger.to_payload()}

    def watch_registry(self) -> None:
        """Serve what becomes champion and run what becomes challenger; what cannot be loaded changes nothing."""
        registry = RegistryClient()
        champion = AliasWatcher(registry.champion, lambda version: self.set_champion(*registry.download(version)))
        challenger = AliasWatcher(
            registry.challenger, lambda version: self.set_challenger(version and registry.download(version))
        )
        while True:
            champion.poll(f"Still serving version {self.champion.served.version}")
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
            outcome = f"Rolled back from version {self.champion.served.version}: {reason}" if reason else ""
        except Exception as error:  # the store is unreachable, or there is nothing to go back to
            outcome = f"No rollback: {' '.join(str(error).split())[:500]}"
        if outcome and outcome != self.last_health_outcome:
            logger.error(outcome)
        self.last_health_outcome = outcome

    def set_champion(self, served: ServedModel, bundle_dir: Path) -> None:
        """Have another version served."""
        if served != self.champion.served:
            self.champion = self.check(served, bundle_dir)
            logger.info("Serving %s version %s: %s", served.name, served.version, served.manifest.name)

    def check(self, served: ServedModel, bundle_dir: Path) -> AvailableModel:
        """A version, once it was loaded.

        Raises:
            IncompatibleModelError: it takes no audio, or cannot predict.
        """
        if served.manifest.transform is None and self.champion.served.manifest.transform is not None:
            raise IncompatibleModelError(f"{served.name} version {served.version} has no transform for audio")
        load_and_warm_up(served, bundle_dir)
        return AvailableModel(served, bundle_dir)

    def set_challenger(self, download: tuple[ServedModel, Path] | None) -> None:
        """Have a version run in shadow mode from now on, or none."""
        self.challenger = None
        if download:
            self.challenger = self.check(*download)
            served = self.challenger.served
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

    def __init__(self, resolve: Callable[[], RegisteredVersion | None], on_change: Callable[[Any], None]) -> None:
        self.resolve, self.on_change = resolve, on_change
        self.last_state: object = None
        self.last_error = ""

    def poll(self, fallback_message: str) -> None:
        """Look at the alias once; ``fallback_message`` is logged before the reason why a version cannot be used."""
        state: object = None
        try:
            version = self.resolve()
            state = version and (version.version, version.location, {**version.tags, SHADOW_TAG: ""})
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
