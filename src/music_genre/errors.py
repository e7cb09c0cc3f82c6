"""What may go wrong for reasons a user can act on."""

from __future__ import annotations


class MusicGenreError(Exception):
    """A failure told in one line: what was found, what was expected, what to do next."""


class AudioError(MusicGenreError):
    """A clip that cannot be used.

    Args:
        reason: one word for tables and API answers, such as ``silent`` or ``undecodable``.
        detail: what was found, with figures and units.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        # Exceptions cross process boundaries by their arguments; the default passes only the message.
        return type(self), (self.reason, self.detail)
