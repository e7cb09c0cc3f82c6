"""What a file is by its content, and what a refusal says that it is."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from music_genre.audio.decoding import decode
from music_genre.audio.kinds import AUDIO_SUFFIXES, KINDS, detect_kind, looks_like_audio
from music_genre.audio.mpeg import find_frame, id3_size
from music_genre.errors import AudioError

ALL = 1e6  # seconds: the whole of any file here


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("song.mp3", "no song")
    return file.getvalue()


def apple_double() -> bytes:
    """A companion as macOS writes it: one entry, Finder information."""
    return struct.pack(">II16sHIII", 0x00051607, 0x00020000, b"Mac OS X", 1, 9, 38, 32) + bytes(32)


OTHERS = {
    "zip": (zip_file(), "an archive: unpack it first"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(100), "an archive"),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(100), "an archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "an archive"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(100), "a JPEG picture"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), "a PNG picture"),
    "gif": (b"GIF89a" + bytes(100), "a GIF picture"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(100), "a WebP picture"),
    "avi": (b"RIFF\x24\0\0\0AVI LIST" + bytes(100), "an AVI video"),
    "html": (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page"),
    "html without doctype": (b"\n  <HTML><head>", "a web page"),
    "xml": (b"<?xml version='1.0'?><plist></plist>", "an XML file"),
    "m3u": (b"#EXTM3U\n#EXTINF:123,Song\nsong.mp3\n", "a playlist: give the recordings that it names"),
    "pls": (b"[playlist]\nFile1=song.mp3\n", "a playlist"),
    "midi": (b"MThd\0\0\0\x06\0\x01\0\x02\0\x60MTrk" + bytes(100), "a MIDI file"),
    "midi in riff": (b"RIFF\x24\0\0\0RMIDdata" + bytes(100), "a MIDI file"),
    "AppleDouble": (apple_double(), "an AppleDouble companion, which macOS keeps beside a file: leave it out"),
    "text": (b"Get free music at our site.\n" * 200, "text"),
    "short text": (b"TTA", "text"),
    "text of other letters": ("Прослушайте песню\n".encode() * 300, "text"),
    "zeros": (bytes(100_000), "zeros: copy or fetch it again"),
    "few zeros": (bytes(10), "zeros"),
    "bytes": (bytes([1, 2, 3, 4, 5, 6, 7, 8, 9]), "bytes that begin with 01 02 03 04 05 06 07 08"),
}


@pytest.mark.parametrize(("content", "description"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("has_tag", [False, True])
def test_refusal_names_what_is_no_recording(content: bytes, description: str, has_tag: bool) -> None:
    file = io.BytesIO(b"ID3\x04\0\0\0\0\0\x7f" + bytes(127) + content if has_tag else content)
    with pytest.raises(AudioError) as refused:
        decode(file, ALL)
    assert refused.value.reason == "undecodable"
    assert description in refused.value.detail
    assert "\n" not in refused.value.detail
    assert not looks_like_audio(file)


def test_tag_without_a_recording_is_refused() -> None:
    with pytest.raises(AudioError, match="undecodable: an ID3 tag without a recording"):
        detect_kind(io.BytesIO(b"ID3\x04\0\0\0\0\0\x7f" + bytes(127)))


@pytest.mark.parametrize("seed", range(100))
def test_random_bytes_are_no_recording(seed: int) -> None:
    with pytest.raises(AudioError) as refused:
        decode(io.BytesIO(np.random.default_rng(seed).bytes(65_536)), ALL)
    assert refused.value.reason == "undecodable"


def test_kind_of_an_untagged_mp3_and_of_its_companion(
    tmp_path: Path, music: Callable[..., np.ndarray], encode: Callable[..., bytes]
) -> None:
    song, companion = tmp_path / "song.mp3", tmp_path / "._song.mp3"
    song.write_bytes(encode(music(2.0), 44_100, ".mp3", "-c:a libmp3lame -id3v2_version 0"))
    companion.write_bytes(apple_double())
    assert song.read_bytes()[0] == 0xFF
    assert decode(song, ALL).duration_s == pytest.approx(2.0, abs=0.05)
    with pytest.raises(AudioError, match="undecodable: no recording, but an AppleDouble companion"):
        decode(companion, ALL)


def test_video_is_asked_for_its_sound(encode: Callable[..., bytes], music: Callable[..., np.ndarray]) -> None:
    silent = encode(music(0.5), 44_100, ".mp4", "-f lavfi -i color=s=64x64:d=0.5 -map 1:v -c:v mpeg4")
    with pytest.raises(AudioError, match="undecodable: MP4 file which is a video without sound"):
        decode(io.BytesIO(silent), ALL)
    film = encode(music(2.0), 44_100, ".mp4", "-f lavfi -i color=s=64x64:d=2 -map 0:a -map 1:v -c:v mpeg4 -c:a aac")
    recording = decode(io.BytesIO(film), ALL)
    assert recording.duration_s == pytest.approx(2.0, abs=0.05)
    assert recording.notes == ()


def test_every_suffix_belongs_to_one_way_of_decoding() -> None:
    assert {".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aiff", ".ape", ".wv"} <= AUDIO_SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name} {kind.demuxer}")
def test_demuxer_of_every_kind_exists(kind: object) -> None:
    from av.format import ContainerFormat

    assert ContainerFormat(kind.demuxer, "r").is_input  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", ["ape", "speex", "mpc7", "mpc8", "wmav1", "wmav2", "wmapro", "wmalossless", "cook"])
def test_decoder_of_what_is_encoded_nowhere_here_exists(codec: str) -> None:
    from av.codec import Codec

    assert Codec(codec, "r").is_decoder


def test_frames_of_one_stream_in_a_row_make_mpeg_audio() -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44,100 Hz: 417 bytes
    other = b"\xff\xfb\x94\x00" + bytes(380)  # 48,000 Hz: 384 bytes
    assert find_frame(frame * 3) == 0
    assert find_frame(frame) == 0  # it is all there is
    assert find_frame(b"junk" + frame * 3) == 4
    assert find_frame(b"junk" + frame * 2) is None
    assert find_frame(frame + other + frame) is None
    assert find_frame(other + bytes(3) + frame * 3) == 387


def test_size_of_a_tag_has_seven_bits_a_byte() -> None:
    assert id3_size(b"ID3\x04\0\0\0\0\x02\x01") == 10 + 257
    assert id3_size(b"ID3\x04\0\x10\0\0\x02\x01") == 20 + 257  # with a footer
    assert id3_size(b"ID3\x04\0\0\0\0\x80\x01") == 0
    assert id3_size(b"TAG") == 0
