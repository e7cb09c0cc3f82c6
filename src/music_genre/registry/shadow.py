"""Statistics of shadow mode: how often a challenger's predictions agree with the champion's, and how long either takes.

The service counts them; the registry stores them as a tag of the challenger's version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHADOW_TAG = "shadow"

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ShadowStats(BaseModel):
    """Recordings that a challenger predicted in shadow mode.

    Args:
        champion: the version whose predictions were returned to the clients.
        n_predictions: recordings that both versions predicted; at least one.
        n_agreed: of them, those with the same genre.
        champion_seconds: from clips to probabilities, waiting included; the sum over all recordings.
        challenger_seconds: the same of the challenger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: str
    n_predictions: Annotated[int, Field(ge=1)]
    n_agreed: Count
    champion_seconds: Seconds
    challenger_seconds: Seconds

    def merge(self, later: ShadowStats) -> ShadowStats:
        """The sum of both; only ``later`` where the champion has changed in between."""
        if later.champion != self.champion:
            return later
        return ShadowStats(
            champion=self.champion,
            n_predictions=self.n_predictions + later.n_predictions,
            n_agreed=self.n_agreed + later.n_agreed,
            champion_seconds=self.champion_seconds + later.champion_seconds,
            challenger_seconds=self.challenger_seconds + later.challenger_seconds,
        )

    def __str__(self) -> str:
        challenger_ms = 1000 * self.challenger_seconds / self.n_predictions
        champion_ms = 1000 * self.champion_seconds / self.n_predictions
        return (
            f"shadow of version {self.champion}: {self.n_agreed} of {self.n_predictions} predictions agree"
            f" ({self.n_agreed / self.n_predictions:.0%}), {challenger_ms:.0f} ms each against {champion_ms:.0f} ms"
        )


def read_shadow(tags: Mapping[str, str]) -> ShadowStats | None:
    """The statistics in a version's tags; None where there are none, or the tag was written by something else."""
    try:
        return ShadowStats.model_validate_json(tags[SHADOW_TAG])
    except (KeyError, ValidationError):
        return None
