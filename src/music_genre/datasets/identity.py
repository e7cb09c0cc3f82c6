"""Who a recording is: a number that follows from its encoded audio, so that it stays when the file is renamed, moved or
tagged anew, and when others come or go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from music_genre.files import file_sha256

# Numbers of 15 digits, which spreadsheets and JavaScript keep exactly; above those that published data sets give.
FIRST_ID, LAST_ID = 10**12, 10**15 - 1

# Kinds of files that hold their own audio: others, such as playlists, would have FFmpeg open what they name.
FORMATS = "aac,aiff,amr,ape,asf,au,caf,flac,matroska,webm,mov,mp4,m4a,3gp,mp3,mpc,mpc8,ogg,rm,w64,wav,wv"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class Identity:
    """What a file is, whatever it is called.

    Args:
        audio_sha256: digest of the encoded audio without tags and pictures; of the whole file where no audio is found.
        artist: by the file's tags; several are separated by semicolons.
    """

    audio_sha256: str
    artist: str | None


def identify(path: Path) -> Identity:
    """Read a file's packets and tags; nothing is decoded.

    The digest covers the codec, its rate and channels, and the packets of the first audio stream, as FFmpeg's
    ``streamhash`` does.
    """
    import av
    from av.error import FFmpegError

    digest = hashlib.sha256()
    try:
        with av.open(path, options=OPTIONS, metadata_errors="replace") as container:
            stream = container.streams.audio[0]
            codec = stream.codec_context
            digest.update(f"{codec.name} {codec.sample_rate} {codec.channels}".encode())
            n_bytes = 0
            for packet in container.demux(stream):
                digest.update(packet)
                n_bytes += packet.size
            tags = {**container.metadata, **stream.metadata}
    except (FFmpegError, IndexError, ValueError):  # no file that it reads, no audio in it, or a damaged one
        return Identity(file_sha256(path), None)
    if not n_bytes:
        return Identity(file_sha256(path), None)
    names = {key.casefold(): value for key, value in tags.items()}
    artist = names.get("artist", "").strip() or names.get("author", "").strip()  # the latter: AIFF
    return Identity(digest.hexdigest(), artist or None)


def track_id_of(audio_sha256: str) -> int:
    """The number of a recording, from ``FIRST_ID`` to ``LAST_ID``."""
    return FIRST_ID + int(audio_sha256[:16], 16) % (LAST_ID - FIRST_ID + 1)
