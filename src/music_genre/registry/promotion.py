"""Whether a challenger may be promoted by itself: what shadow mode and feedback say of it beside the champion."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from music_genre.registry.shadow import ShadowStats


@dataclass(frozen=True)
class PromotionCriteria:
    """What is needed before a challenger is promoted without being asked.

    Args:
        min_shadow: recordings that it predicted in shadow mode beside the champion.
        min_feedback: of them, those with feedback; it must be right on at least as many of these as the champion.
    """

    min_shadow: int
    min_feedback: int


@dataclass(frozen=True)
class ChallengerEvidence:
    """What is known of a challenger beside the champion.

    Args:
        n_shadow: recordings that both predicted.
        n_agreed: of them, those with the same genre.
        n_feedback: of them, those with feedback.
        champion_right: of these, those that the champion predicted right.
        challenger_right: of these, those that the challenger predicted right.
    """

    n_shadow: int = 0
    n_agreed: int = 0
    n_feedback: int = 0
    champion_right: int = 0
    challenger_right: int = 0

    def obstacle(self, criteria: PromotionCriteria) -> str:
        """Why the challenger may not be promoted yet; empty where it may."""
        if self.n_shadow < criteria.min_shadow:
            return f"{self.n_shadow} recordings in shadow mode, {criteria.min_shadow} are needed"
        if self.n_feedback < criteria.min_feedback:
            return f"feedback on {self.n_feedback} of them, {criteria.min_feedback} are needed"
        if self.challenger_right < self.champion_right:
            return f"right on {self.challenger_right} of {self.n_feedback}, the champion on {self.champion_right}"
        return ""

    def __str__(self) -> str:
        if not self.n_shadow:
            return "nothing was predicted in shadow mode yet"
        agreed = f"agrees with the champion on {self.n_agreed} of {self.n_shadow} recordings"
        if not self.n_feedback:
            return f"{agreed}; none of them has feedback"
        right = f"{self.challenger_right} right against {self.champion_right}"
        return f"{agreed}; of {self.n_feedback} with feedback, {right}"


def collect_evidence(
    champion: str, challenger: str, stats: ShadowStats | None, judged: tuple[pd.DataFrame, pd.DataFrame] | None
) -> ChallengerEvidence:
    """What shadow mode and feedback say of a challenger.

    Args:
        champion: the version that answered.
        challenger: the version that predicted in shadow mode.
        stats: of the challenger in shadow mode.
        judged: predictions in shadow mode (columns request_id, version, genre), and feedback (columns request_id,
            version, genre, right: the right genre, and whether it was predicted); None where there is no request log.
    """
    if stats is None or stats.champion != champion:
        return ChallengerEvidence()
    if judged is None:
        return ChallengerEvidence(stats.n_predictions, stats.n_agreed)
    shadow, feedback = judged
    own, of_champion = shadow[shadow["version"] == challenger], feedback[feedback["version"] == champion]
    both = of_champion.merge(own, on="request_id", suffixes=("", "_shadow"))
    return ChallengerEvidence(
        stats.n_predictions,
        stats.n_agreed,
        len(both),
        int(both["right"].sum()),
        int((both["genre"] == both["genre_shadow"]).sum()),
    )
