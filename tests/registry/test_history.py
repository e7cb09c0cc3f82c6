"""Which champion a rollback returns to."""

from __future__ import annotations

import pytest

from music_genre.registry.history import ChampionPeriod, previous_champion


def periods(*champions: str) -> list[ChampionPeriod]:
    """One period for each word: ``2`` was promoted, ``<1`` was rolled back to."""
    return [
        ChampionPeriod(word.lstrip("<"), "", None, "rolled back from version" if word[0] == "<" else "promoted")
        for word in champions
    ]


@pytest.mark.parametrize(
    ("champions", "previous"),
    [
        ("1", None),
        ("1 2", "1"),
        ("1 2 3", "2"),
        ("1 2 3 <2", "1"),
        ("1 2 3 <2 <1", None),
        ("1 2 3 <2 4", "2"),
        ("1 2 1", "2"),
        ("1 2 1 <2", "1"),
    ],
)
def test_previous_champion_skips_what_was_rolled_back(champions: str, previous: str | None) -> None:
    succession = periods(*champions.split())
    assert previous_champion(succession, succession[-1].version, {"1", "2", "3", "4"}) == previous


def test_previous_champion_skips_deleted_versions() -> None:
    assert previous_champion(periods("1", "2", "3"), "3", {"1", "3"}) == "1"


def test_last_champion_is_the_previous_one_where_there_is_none_now() -> None:
    assert previous_champion(periods("1", "2"), None, {"1", "2"}) == "2"
