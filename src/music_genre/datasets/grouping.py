"""Groups of tracks that must stay together, and how they are dealt to splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from music_genre.files import sha256

BY_NEED = ("training", "validation", "test")  # of a genre with fewer groups than splits
ALL = ""  # the row of all genres together, beside those of each
ALL_WEIGHT = 0.1  # it decides where genres do not


@dataclass(frozen=True)
class Group:
    """Tracks that must be in one split.

    Args:
        name: unique.
        counts: tracks by genre.
        key: the same for the same tracks, whatever other groups there are.
    """

    name: str
    counts: Mapping[str, int]
    key: int

    @property
    def size(self) -> int:
        """All tracks."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Grouping:
    """Of each track, in order.

    Args:
        group: number of its group; tracks with the same number are linked.
        split: the group's, where one of its tracks has one already; else empty.
        conflict: why the track fits into no split; else empty.
    """

    group: list[int]
    split: list[str]
    conflict: list[str]


class _Links:
    """Keys that are linked (a disjoint-set forest), with the splits that each set of them has."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.splits: dict[str, frozenset[str]] = {}

    def find(self, key: str) -> str:
        root = key
        while self.parent.setdefault(root, root) != root:
            root = self.parent[root]
        while self.parent[key] != root:
            self.parent[key], key = root, self.parent[key]
        return root

    def splits_of(self, keys: Sequence[str]) -> frozenset[str]:
        return frozenset().union(*(self.splits.get(self.find(key), frozenset()) for key in keys))

    def link(self, keys: Sequence[str], split: str) -> None:
        roots = [self.find(key) for key in keys]
        splits = self.splits_of(keys) | ({split} if split else set())
        for root in roots[1:]:
            self.parent[self.find(root)] = self.find(roots[0])
        self.splits[self.find(roots[0])] = frozenset(splits)


def group_tracks(
    track_ids: Sequence[int], keys: Sequence[Sequence[str]], fixed: Sequence[str], official: Sequence[bool]
) -> Grouping:
    """Link tracks that share a key. Where that would link two splits, the track that does is left out: official tracks
    come first, then those that were in test, validation and training, then new ones.

    Args:
        track_ids: of the tracks.
        keys: what links each track to others; none: nothing.
        fixed: split that each track has already; else empty.
        official: whether that is the data set's own, which always stays.
    """
    rank = {"test": 1, "validation": 2, "training": 3, "": 4}
    order = sorted(range(len(track_ids)), key=lambda i: (0 if official[i] else rank[fixed[i]], track_ids[i]))
    links, conflict = _Links(), [""] * len(track_ids)
    named = [list(keys[i]) or [f"track {track_ids[i]}"] for i in range(len(track_ids))]
    for i in order:
        taken = links.splits_of(named[i])
        others = taken - {fixed[i]} if fixed[i] else taken
        if not official[i] and (others if fixed[i] else len(others) > 1):
            conflict[i] = f"its artists are in {' and '.join(sorted(taken | ({fixed[i]} - {''})))}"
        else:
            links.link(named[i], fixed[i])
    numbers: dict[str, int] = {}
    group, split = [], []
    for i in range(len(track_ids)):
        group.append(numbers.setdefault(links.find(named[i][0]), len(numbers)))
        known = links.splits_of(named[i])
        split.append("" if conflict[i] else fixed[i] or (next(iter(known)) if len(known) == 1 else ""))
    return Grouping(group, split, conflict)


def deal_groups(
    groups: Sequence[Group],
    counts: Mapping[tuple[str, str], int],
    totals: Mapping[str, int],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Give each group the split that lacks most of what the group has, large groups first.

    First, splits that lack a genre get one of its groups, so that three groups of one genre are in three splits.
    Afterwards single groups are moved as long as that brings the counts closer to the fractions.

    Args:
        groups: to deal.
        counts: tracks that are there already, by (genre, split).
        totals: all tracks by genre, those of ``groups`` too.
        fractions: that each split is to have.
        seed: decides between groups that fit equally well.

    Returns:
        split by the group's name.
    """
    dealer = _Dealer(counts, totals, fractions)
    order = sorted(groups, key=lambda group: (-group.size, sha256(f"{seed} {group.key}")))
    chosen = dealer.cover(order)
    for group in order:
        if group.name not in chosen:
            chosen[group.name] = dealer.best_split(group)
            dealer.add(group, chosen[group.name])
    dealer.improve(order, chosen)
    return chosen


class _Dealer:
    """Tracks by genre and split, against what each is to have."""

    def __init__(
        self, counts: Mapping[tuple[str, str], int], totals: Mapping[str, int], fractions: Mapping[str, float]
    ) -> None:
        self.splits = tuple(fractions)
        self.found: Counter[tuple[str, str]] = Counter()
        self.wanted = {(genre, split): fractions[split] * n for genre, n in totals.items() for split in self.splits}
        self.wanted |= {(ALL, split): fractions[split] * sum(totals.values()) for split in self.splits}
        for (genre, split), n in counts.items():
            self.found[genre, split] += n
            self.found[ALL, split] += n

    def add(self, group: Group, split: str, sign: int = 1) -> None:
        for genre, n in (*group.counts.items(), (ALL, group.size)):
            self.found[genre, split] += sign * n

    def cost(self, group: Group, split: str) -> float:
        """How much the sum of squared differences from what is wanted grows with the group in the split."""
        return sum(
            (ALL_WEIGHT if genre == ALL else 1) * n * (2 * (self.found[genre, split] - self.wanted[genre, split]) + n)
            for genre, n in (*group.counts.items(), (ALL, group.size))
        )

    def best_split(self, group: Group) -> str:
        return min(self.splits, key=lambda split: self.cost(group, split))

    def cover(self, order: Sequence[Group]) -> dict[str, str]:
        """Give splits that lack a genre a group that has it, rare genres first: training the largest, others the
        smallest.
        """
        chosen: dict[str, str] = {}
        having: defaultdict[str, list[Group]] = defaultdict(list)
        for group in order:
            for genre in group.counts:
                having[genre].append(group)
        for genre in sorted(having, key=lambda name: (len(having[name]), name)):
            free = sorted((g for g in having[genre] if g.name not in chosen), key=lambda group: group.size)
            empty = [split for split in BY_NEED if split in self.splits and not self.found[genre, split]][: len(free)]
            for split in empty:
                group = free.pop(-1 if split == "training" else 0)
                chosen[group.name] = split
                self.add(group, split)
        return chosen

    def improve(self, groups: Sequence[Group], chosen: dict[str, str]) -> None:
        """Move single groups while the sum of squared differences falls and no split loses its last of a genre."""
        moved = True
        while moved:
            moved = False
            for group in groups:
                split = chosen[group.name]
                self.add(group, split, -1)
                is_last = any(not self.found[genre, split] for genre in group.counts)
                best = split if is_last else self.best_split(group)
                if self.cost(group, best) < self.cost(group, split) - 1e-9:
                    chosen[group.name], moved = best, True
                self.add(group, chosen[group.name])
