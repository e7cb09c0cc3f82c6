"""Failures that a user can act on."""

from __future__ import annotations

from enum import StrEnum


class IssueReason(StrEnum):
    """What can be wrong with a clip: the words of ``data/faults.csv`` and of ``AudioError``."""

    MISSING = "missing"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    UNDECODABLE = "undecodable"
    UNSUPPORTED = "unsupported"
    SHORT = "short"
    TOO_LONG = "too_long"
    TRUNCATED = "truncated"
    SILENT = "silent"
    MOSTLY_SILENT = "mostly_silent"
    DAMAGED = "damaged"
    NOT_FINITE = "not_finite"
    ANTIPHASE = "antiphase"
    RESCALED = "rescaled"
    BAND_LIMITED = "band_limited"
    STEADY_LEVEL = "steady_level"
    DUPLICATE = "duplicate"
    LABEL_CONFLICT = "label_conflict"
    CORRECTION = "correction"
    ARTIST_CONFLICT = "artist_conflict"


class MusicGenreError(Exception):
    """A failure described in one line: what was found, what was expected, what to do next."""


class AudioError(MusicGenreError):
    """A clip that cannot be used.

    Args:
        reason: what is wrong, for tables and responses of the service.
        detail: what was found, with numbers and units.
    """

    def __init__(self, reason: IssueReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[IssueReason, str]]:
        # Exceptions cross process boundaries by their arguments; the default passes only the message.
        return type(self), (self.reason, self.detail)


class GateRefusedError(MusicGenreError):
    """The gate refused a model; what was asked for needs one that passed."""
