"""What a file says about its audio, whichever decoder reads it."""

from __future__ import annotations

from dataclasses import dataclass

from music_genre.errors import AudioError, IssueReason

MAX_CHANNELS = 8
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 1_000, 384_000
BLOCK_DURATION_S = 1.0  # decoded at a time: flat memory however long a file claims to be, and fast in small caches


@dataclass(frozen=True)
class AudioHeader:
    """What a file says about its audio.

    Args:
        sample_rate_hz: as stored.
        channels: as stored.
        layout: names of the channels, as FFmpeg has them; empty where they are not known.
        duration_s: None where the file does not say.
        possible_duration_s: the same, but no more than the file's size allows, where the decoder knows that.
        bits: of an integer sample, where they are so few that the noise of rounding is loud; 0 elsewhere.
        is_float: samples are stored as floating-point numbers, and so may reach far beyond full scale.
    """

    sample_rate_hz: int
    channels: int
    layout: tuple[str, ...] = ()
    duration_s: float | None = None
    possible_duration_s: float | None = None
    bits: int = 0
    is_float: bool = False

    @property
    def bytes_per_second(self) -> int:
        """Of samples as they are decoded."""
        return self.sample_rate_hz * self.channels * 4

    @property
    def is_supported(self) -> bool:
        """Whether its channels and its sample rate are those of a recording."""
        return 1 <= self.channels <= MAX_CHANNELS and MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ

    def check_supported(self) -> None:
        """Refuse what is no recording.

        Raises:
            AudioError: ``unsupported``; ``undecodable`` without a channel.
        """
        if not self.channels:
            raise AudioError(IssueReason.UNDECODABLE, "a file without a channel")
        if not self.is_supported:
            limits = f"at most {MAX_CHANNELS} channels at {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz are supported"
            raise AudioError(IssueReason.UNSUPPORTED, f"{self.channels} channels at {self.sample_rate_hz} Hz; {limits}")
