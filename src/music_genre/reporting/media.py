"""Pictures and sounds inside a page, so that it is one file: WebP and MP3 as data URIs, each of a bounded size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import soundfile
from PIL import Image

from music_genre.audio.decoding import decode
from music_genre.audio.signal import AudioSignal, resample
from music_genre.errors import AudioError

MAX_PIXELS = 16_000  # of a side: WebP has 16,383
WEBP_QUALITY = 82
SAMPLE_START_S, SAMPLE_DURATION_S = 5.0, 5.0  # of a recording; of a shorter one, its last seconds
SAMPLE_RATE_HZ = 22_050
MP3_COMPRESSION = 0.85  # 0: best, 1: smallest; about 24 kbit/s


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Args:
        uri: with its content.
        width, height: in pixels.
    """

    uri: str
    width: int
    height: int


def inline_picture(path: Path) -> Picture:
    """A PNG as WebP: without loss where that is smaller, as for diagrams."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((MAX_PIXELS, MAX_PIXELS))
    encoded = []
    for lossless in (False, True):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=lossless, quality=WEBP_QUALITY, method=4)
        encoded.append(buffer.getvalue())
    return Picture(_data_uri("image/webp", min(encoded, key=len)), *image.size)


def audio_sample(recording: Path) -> str | None:
    """Some seconds of a recording as an MP3 in a data URI; None where it cannot be read."""
    try:
        signal = decode(recording, SAMPLE_START_S + SAMPLE_DURATION_S)
    except (AudioError, OSError):
        return None
    last = signal.samples[-int(SAMPLE_DURATION_S * signal.sample_rate_hz) :]
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        resample(AudioSignal(last, signal.sample_rate_hz), SAMPLE_RATE_HZ).clip(-1, 1),
        SAMPLE_RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=MP3_COMPRESSION,
    )
    return _data_uri("audio/mpeg", buffer.getvalue())


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
