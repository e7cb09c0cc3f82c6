"""What a challenger would have answered: how often it agrees with the champion, and how long either takes.

The service counts, the registry keeps: as a tag of the challenger's version.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHADOW_TAG = "shadow"

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Shadow(BaseModel):
    """Recordings that a version answered unseen, beside a champion.

    Args:
        champion: the version that the clients heard.
        answers: recordings that both answered; at least one.
        agreed: of them, those with the same genre.
        champion_seconds: from clips to probabilities, waiting included; summed over the answers.
        challenger_seconds: the same of the challenger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: str
    answers: Annotated[int, Field(ge=1)]
    agreed: Count
    champion_seconds: Seconds
    challenger_seconds: Seconds

    def and_then(self, later: Shadow) -> Shadow:
        """Both together; where the champion has changed, only what came later."""
        if later.champion != self.champion:
            return later
        return Shadow(
            champion=self.champion,
            answers=self.answers + later.answers,
            agreed=self.agreed + later.agreed,
            champion_seconds=self.champion_seconds + later.champion_seconds,
            challenger_seconds=self.challenger_seconds + later.challenger_seconds,
        )

    def __str__(self) -> str:
        own, theirs = (1000 * total / self.answers for total in (self.challenger_seconds, self.champion_seconds))
        return (
            f"in the shadow of version {self.champion}: {self.agreed} of {self.answers} answers agree"
            f" ({self.agreed / self.answers:.0%}), {own:.0f} ms each against {theirs:.0f} ms"
        )


def read_shadow(tags: dict[str, str]) -> Shadow | None:
    """What the tags of a version tell; None where it was in no shadow, or somebody wrote something else there."""
    try:
        return Shadow.model_validate_json(tags[SHADOW_TAG])
    except (KeyError, ValidationError):
        return None
