"""What shadow mode and feedback say of a challenger, and what it takes to promote it without being asked."""

from __future__ import annotations

import pandas as pd
import pytest

from music_genre.registry.promotion import ChallengerEvidence, PromotionCriteria, collect_evidence
from music_genre.registry.shadow import ShadowStats

CRITERIA = PromotionCriteria(min_shadow=10, min_feedback=4)
STATS = ShadowStats(champion="1", n_predictions=12, n_agreed=9, champion_seconds=1, challenger_seconds=1)


def shadow(*predicted: str, version: str = "2") -> pd.DataFrame:
    ids = [str(number) for number in range(len(predicted))]
    return pd.DataFrame({"request_id": ids, "version": version, "genre": predicted})


def feedback(*right: bool, version: str = "1") -> pd.DataFrame:
    """On requests 0, 1, ...: the right genre is Rock; the champion predicted it or not."""
    ids = [str(number) for number in range(len(right))]
    return pd.DataFrame({"request_id": ids, "version": version, "genre": "Rock", "right": right})


def test_both_are_counted_on_the_same_requests() -> None:
    evidence = collect_evidence("1", "2", STATS, (shadow("Rock", "Folk", "Rock"), feedback(True, True, False, False)))
    assert evidence == ChallengerEvidence(12, 9, n_feedback=3, champion_right=2, challenger_right=2)


def test_predictions_of_other_versions_do_not_count() -> None:
    assert collect_evidence("1", "2", STATS, (shadow("Rock", version="3"), feedback(True))).n_feedback == 0
    assert collect_evidence("1", "2", STATS, (shadow("Rock"), feedback(True, version="0"))).n_feedback == 0


def test_without_a_request_log_shadow_mode_is_all_that_is_known() -> None:
    assert collect_evidence("1", "2", STATS, None) == ChallengerEvidence(12, 9)


@pytest.mark.parametrize("stats", [None, STATS.model_copy(update={"champion": "0"})])
def test_shadow_of_another_champion_is_no_evidence(stats: ShadowStats | None) -> None:
    assert collect_evidence("1", "2", stats, (shadow("Rock"), feedback(True))) == ChallengerEvidence()


@pytest.mark.parametrize(
    ("evidence", "obstacle"),
    [
        (ChallengerEvidence(9, 9, 4, 2, 3), "9 recordings in shadow mode, 10 are needed"),
        (ChallengerEvidence(10, 9, 3, 2, 3), "feedback on 3 of them, 4 are needed"),
        (ChallengerEvidence(10, 9, 4, 3, 2), "right on 2 of 4, the champion on 3"),
        (ChallengerEvidence(10, 0, 4, 3, 3), ""),
    ],
)
def test_challenger_needs_enough_evidence_and_may_not_be_worse(evidence: ChallengerEvidence, obstacle: str) -> None:
    assert evidence.obstacle(CRITERIA) == obstacle


def test_evidence_is_told_in_words() -> None:
    assert str(ChallengerEvidence()) == "nothing was predicted in shadow mode yet"
    assert str(ChallengerEvidence(12, 9)) == "agrees with the champion on 9 of 12 recordings; none of them has feedback"
    assert str(ChallengerEvidence(12, 9, 3, 2, 1)).endswith("; of 3 with feedback, 1 right against 2")
