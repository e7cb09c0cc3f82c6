"""Who a recording is: a number that follows from its encoded audio, so that it stays when the file is renamed, moved or
tagged anew, and when others come or go.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from music_genre.audio.decoding import open_audio
from music_genre.audio.ffmpeg import MAX_PACKETS, MAX_PACKETS_PER_SECOND, open_container
from music_genre.audio.folder import AudioFolder
from music_genre.audio.kinds import detect_kind
from music_genre.errors import AudioError

# Numbers of 15 digits, which spreadsheets and JavaScript keep exactly; above those that published data sets give.
FIRST_ID, LAST_ID = 10**12, 10**15 - 1

MAX_INFLATION = 10  # bytes of packets by bytes of their file, which may hold them compressed


@dataclass(frozen=True)
class Identity:
    """What a file is, whatever it is called.

    Args:
        audio_sha256: digest of the encoded audio without tags and pictures; of the whole file where no audio is found.
        artist: by the file's tags; several are separated by semicolons.
    """

    audio_sha256: str
    artist: str | None


def identify(source: Path | BinaryIO) -> Identity:
    """Read a file's packets and tags; nothing is decoded.

    The digest covers the codec, its rate and channels, and the packets of the first audio stream, as FFmpeg's
    ``streamhash`` does.
    """
    from av.error import FFmpegError

    with open_audio(source) as file:
        try:
            return _identify_stream(file)
        except (AudioError, FFmpegError, IndexError, ValueError):  # no recording, or a damaged one
            file.seek(0)
            return Identity(hashlib.file_digest(file, "sha256").hexdigest(), None)  # type: ignore[arg-type]  # typeshed asks for readinto


def identify_in(audio: AudioFolder, path: str) -> tuple[str, str | None]:
    """``audio_sha256`` and ``artist`` of a file in a folder."""
    with audio.open(path) as file:
        identity = identify(file)
    return identity.audio_sha256, identity.artist


def _identify_stream(file: BinaryIO) -> Identity:
    digest = hashlib.sha256()
    with open_container(file, detect_kind(file)[0]) as container:
        stream = container.streams.audio[0]
        codec = stream.codec_context
        digest.update(f"{codec.name} {codec.sample_rate} {codec.channels}".encode())
        n_bytes, seconds, max_bytes = 0, 0.0, MAX_INFLATION * file.seek(0, io.SEEK_END)
        for n_packets, packet in enumerate(container.demux(stream)):
            digest.update(packet)
            n_bytes += packet.size
            seconds += float((packet.duration or 0) * packet.time_base) if packet.time_base else 0.0
            if n_packets > MAX_PACKETS + MAX_PACKETS_PER_SECOND * seconds or n_bytes > max_bytes:
                raise ValueError("more packets than a recording has")
        tags = {**container.metadata, **stream.metadata}
    if not n_bytes:
        raise ValueError("no packets")
    names = {key.casefold(): value for key, value in tags.items()}
    artist = names.get("artist", "").strip() or names.get("author", "").strip()  # the latter: AIFF
    return Identity(digest.hexdigest(), artist or None)


def track_id_of(audio_sha256: str) -> int:
    """The number of a recording, from ``FIRST_ID`` to ``LAST_ID``."""
    return FIRST_ID + int(audio_sha256[:16], 16) % (LAST_ID - FIRST_ID + 1)
