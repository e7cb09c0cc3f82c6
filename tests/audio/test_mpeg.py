"""MP3 as it is met: of variable bit rate, without a header of its length, joined, after junk and tags."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode, decode_all
from music_genre.audio.info import inspect_recording
from music_genre.audio.kinds import MPEG, detect_kind

ALL = 1e6  # seconds: the whole of any file here
XING, BARE = "-c:a libmp3lame", "-c:a libmp3lame -q:a 4 -write_xing 0 -id3v2_version 0"
TAGGED = " -metadata title=Song -id3v2_version 3 -write_id3v1 1"
DELAY = 1105  # samples that LAME and a decoder put before the first, which only a Xing header tells to leave out
FRAME = 1152


@pytest.fixture(scope="module")
def after_noise(music: Callable[..., np.ndarray]) -> np.ndarray:
    """(samples, 2) music that begins with half a second of noise: large frames first, from which libsndfile guesses a
    length.
    """
    samples = music(12.0).copy()
    samples[:22_050] = np.random.default_rng(1).normal(0, 0.3, (22_050, 2))
    return samples


def id3(content: bytes) -> bytes:
    """An ID3v2.3 tag with the content of frames."""
    size = len(content)
    return b"ID3\x03\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + content


def picture(size: int) -> bytes:
    """A frame of a tag with cover art of so many bytes."""
    data = b"\0image/png\0\3\0\x89PNG" + np.random.default_rng(2).bytes(size)
    return b"APIC" + struct.pack(">I", len(data)) + b"\0\0" + data


def test_vbr_file_without_a_stated_length_is_read_to_its_end(
    after_noise: np.ndarray,
    encode: Callable[..., bytes],
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
) -> None:
    content = encode(after_noise, 44_100, ".mp3", BARE)
    by_libsndfile, _ = soundfile.read(io.BytesIO(content))
    assert len(by_libsndfile) < 0.6 * len(after_noise)
    info, recording = inspect_recording(io.BytesIO(content), ALL, ALL)
    assert 0 <= len(recording.samples) - len(after_noise) <= 2 * FRAME
    assert info.notes == ()
    assert error_of(recording.samples, ffmpeg_decode(content, 2).mean(axis=1)) < 1e-3
    music = after_noise.mean(axis=1)[44_100:]
    assert np.corrcoef(recording.samples[44_100 + DELAY :][: len(music)], music)[0, 1] > 0.99


def test_vbr_file_of_an_unstated_length_can_be_too_long(after_noise: np.ndarray, encode: Callable[..., bytes]) -> None:
    content = encode(after_noise, 44_100, ".mp3", BARE)
    with pytest.raises(Exception, match="too_long: maximum duration is 10 s"):
        decode_all(io.BytesIO(content), 10)
    assert decode_all(io.BytesIO(content), 12.5).duration_s == pytest.approx(12.0, abs=0.1)


def test_blocks_of_a_vbr_file_join_as_one_decoding(music: Callable[..., np.ndarray]) -> None:
    file = io.BytesIO()
    mono = music(6.0).mean(axis=1)
    soundfile.write(file, mono, 44_100, format="MP3", bitrate_mode="VARIABLE", compression_level=0.9)
    sequential, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    with soundfile.SoundFile(io.BytesIO(file.getvalue())) as opened:
        in_blocks = np.concatenate([opened.read(44_100, dtype="float32") for _ in range(6)])
    assert np.abs(in_blocks - sequential).max() > 0.01  # soundfile seeks after each block
    np.testing.assert_array_equal(decode(io.BytesIO(file.getvalue()), ALL).samples, sequential)


@pytest.mark.parametrize("rate", [44_100, 32_000, 22_050])
@pytest.mark.parametrize(
    "options", [XING, XING + TAGGED, BARE, BARE + TAGGED], ids=["Xing", "tags", "bare", "bare tags"]
)
def test_joined_files_decode_one_after_the_other(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], delay: Callable[..., int], options: str, rate: int
) -> None:
    first, second = music(3.0, seed=1), music(2.0, seed=2)
    content = encode(first, 44_100, ".mp3", options)
    content += encode(second, 44_100, ".mp3", f"{options} -ar {rate}")
    info, recording = inspect_recording(io.BytesIO(content), ALL, ALL)
    decoded = recording.samples
    assert info.notes == ()
    is_exact = options.startswith(XING) and "write_xing" not in options
    assert abs(info.duration_s - 5.0) < (0.001 if is_exact else 4 * FRAME / rate)
    for part, place in ((first, decoded[: 3 * 44_100]), (second, decoded[-2 * 44_100 :])):
        mono, lag = part.mean(axis=1), delay(place, part.mean(axis=1))
        assert abs(lag) <= (1 if is_exact else 6 * FRAME)
        shifted, mono = place[max(0, lag) :], mono[max(0, -lag) :]
        length = min(len(shifted), len(mono))
        inner = slice(0 if is_exact else 8820, length)  # frames at the seam lack the bits of those before
        assert np.corrcoef(shifted[inner], mono[inner])[0, 1] > 0.99


def test_joined_files_of_one_form_decode_as_each_alone(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    parts = [encode(music(2.0, seed=seed), 44_100, ".mp3", XING + TAGGED) for seed in (1, 2, 3)]
    alone = [decode(io.BytesIO(part), ALL).samples for part in parts]
    np.testing.assert_array_equal(decode(io.BytesIO(b"".join(parts)), ALL).samples, np.concatenate(alone))


@pytest.mark.parametrize("options", [XING + " -id3v2_version 0", BARE], ids=["Xing", "bare"])
@pytest.mark.parametrize(
    "before",
    [
        bytes(100),
        bytes(5000),
        bytes(60_000),
        np.random.default_rng(3).bytes(1000),
        np.random.default_rng(4).bytes(30_000),
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n",
        id3(b"TIT2\0\0\0\2\0\0\0a"),
        id3(picture(400_000)),
        id3(picture(400_000) + bytes(2000)),
        id3(picture(70_000)) + bytes(500),
        id3(picture(70_000)) + id3(b"TIT2\0\0\0\2\0\0\0a"),
    ],
    ids=[
        "zeros",
        "more zeros",
        "many zeros",
        "junk",
        "more junk",
        "HTTP header",
        "tag",
        "cover",
        "cover and padding",
        "cover and zeros",
        "two tags",
    ],
)
def test_what_is_before_the_first_frame_is_passed_over(
    encode: Callable[..., bytes],
    music: Callable[..., np.ndarray],
    error_of: Callable[..., float],
    options: str,
    before: bytes,
) -> None:
    content = encode(music(2.0), 44_100, ".mp3", options)
    expected = decode(io.BytesIO(content), ALL)
    decoded = decode(io.BytesIO(before + content), ALL)
    assert decoded.notes == ()
    assert len(decoded.samples) == len(expected.samples)
    assert error_of(decoded.samples, expected.samples) < 1e-3
    assert detect_kind(io.BytesIO(before + content))[0] is MPEG


@pytest.mark.parametrize("has_header", [True, False])
def test_ape_tag_at_the_end_is_no_audio(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], has_header: bool
) -> None:
    content = encode(music(2.0), 44_100, ".mp3", XING)
    item = struct.pack("<II", 3000, 0) + b"Lyrics\0" + b"la " * 1000
    size = len(item) + 32
    footer, header = (
        b"APETAGEX" + struct.pack("<IIII8x", 2000, size, 1, flag | 0x80000000 * has_header) for flag in (0, 0x20000000)
    )
    tagged = content + (header if has_header else b"") + item + footer
    decoded = decode(io.BytesIO(tagged), ALL)
    assert decoded.notes == ()
    np.testing.assert_array_equal(decoded.samples, decode(io.BytesIO(content), ALL).samples)
