"""Every kind of recording that people own decodes to what was encoded, and as FFmpeg's program decodes it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from music_genre.audio.decoding import MonoReader, decode
from music_genre.audio.info import inspect_recording
from music_genre.audio.signal import AudioSignal, resample

SECONDS = 2.0
ALL = 1e6  # seconds: the whole of any file here


class Form(NamedTuple):
    """A form of file.

    Args:
        name: of the kind that is detected.
        suffix: decides what FFmpeg writes.
        options: of its encoder.
        frame: samples that the encoder puts into one frame, by which lengths may differ.
        rate: Hz.
        channels: that it has.
    """

    name: str
    suffix: str
    options: str
    frame: int = 0
    rate: int = 44_100
    channels: int = 2


FORMS = {
    "m4a aac": Form("MP4", ".m4a", "-c:a aac", 1024),
    "m4a aac faststart": Form("MP4", ".m4a", "-c:a aac -movflags faststart", 1024),
    "m4a alac": Form("MP4", ".m4a", "-c:a alac"),
    "m4b aac": Form("MP4", ".m4b", "-c:a aac -f ipod", 1024),
    "mp4 aac": Form("MP4", ".mp4", "-c:a aac", 1024),
    "mp4 in fragments": Form("MP4", ".mp4", "-c:a aac -movflags frag_keyframe+empty_moov", 2048),
    "mov pcm": Form("MP4", ".mov", "-c:a pcm_s16le"),
    "3gp amr": Form("MP4", ".3gp", "-c:a libopencore_amrnb -b:a 12.2k", 320, 8000, 1),
    "webm opus": Form("Matroska or WebM", ".webm", "-c:a libopus", 960, 48_000),
    "webm vorbis": Form("Matroska or WebM", ".webm", "-c:a libvorbis", 1024),
    "mka flac": Form("Matroska or WebM", ".mka", "-c:a flac"),
    "mka aac": Form("Matroska or WebM", ".mka", "-c:a aac", 1024),
    "wma": Form("Windows Media", ".wma", "-c:a wmav2 -b:a 192k", 2048),
    "aac adts": Form("AAC", ".aac", "-c:a aac", 2048),
    "wavpack": Form("WavPack", ".wv", "-c:a wavpack"),
    "wavpack float": Form("WavPack", ".wv", "-c:a wavpack -sample_fmt fltp"),
    "tta": Form("True Audio", ".tta", "-c:a tta"),
    "caf pcm": Form("Core Audio", ".caf", "-c:a pcm_s16be"),
    "caf alac": Form("Core Audio", ".caf", "-c:a alac", 4096),  # FFmpeg leaves the padding of the last frame out twice
    "ac3": Form("AC-3", ".ac3", "-c:a ac3 -b:a 256k", 1536),
    "amr": Form("AMR", ".amr", "-c:a libopencore_amrnb -b:a 12.2k", 320, 8000, 1),
    "real ac3": Form("RealAudio", ".rm", "-c:a ac3 -b:a 256k", 1536),
    "mp3": Form("MP3", ".mp3", "-c:a libmp3lame"),
    "mp3 without Xing header": Form("MP3", ".mp3", "-c:a libmp3lame -q:a 4 -write_xing 0", 2304),
    "mp3 of low rate": Form("MP3", ".mp3", "-c:a libmp3lame", 0, 22_050),
    "mp3 with tags": Form("MP3", ".mp3", "-c:a libmp3lame -metadata title=Song -write_id3v1 1"),
    "mp2": Form("MP3", ".mp2", "-c:a mp2 -b:a 256k", 1152),
    "flac": Form("FLAC", ".flac", "-c:a flac"),
    "flac 24 bit": Form("FLAC", ".flac", "-c:a flac -sample_fmt s32"),
    "flac 32 bit": Form("FLAC", ".flac", "-c:a flac -sample_fmt s32 -bits_per_raw_sample 32 -strict experimental"),
    "ogg vorbis": Form("Ogg", ".ogg", "-c:a libvorbis"),
    "ogg flac": Form("Ogg", ".oga", "-c:a flac -f ogg"),
    "opus": Form("Opus", ".opus", "-c:a libopus", 0, 48_000),
    "wav": Form("WAV", ".wav", "-c:a pcm_s16le"),
    "wav 24 bit": Form("WAV", ".wav", "-c:a pcm_s24le"),
    "wav float 64": Form("WAV", ".wav", "-c:a pcm_f64le"),
    "wav mu-law": Form("WAV", ".wav", "-c:a pcm_mulaw"),
    "wav adpcm ms": Form("WAV", ".wav", "-c:a adpcm_ms", 2048),
    "wav adpcm ima": Form("WAV", ".wav", "-c:a adpcm_ima_wav", 2048),
    "wav mp3": Form("WAV", ".wav", "-c:a libmp3lame", 2304),
    "wav rf64": Form("WAV", ".wav", "-c:a pcm_s16le -rf64 always"),
    "wave64": Form("Wave64", ".w64", "-c:a pcm_s16le"),
    "aiff": Form("AIFF", ".aiff", "-c:a pcm_s16be"),
    "au": Form("AU", ".au", "-c:a pcm_s16be"),
}


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


@pytest.fixture(scope="module")
def original(form: Form, music: Callable[..., np.ndarray]) -> np.ndarray:
    """(samples, channels) of the form's rate."""
    return music(SECONDS, form.rate)[:, : form.channels]


@pytest.fixture(scope="module")
def content(form: Form, original: np.ndarray, encode: Callable[..., bytes]) -> bytes:
    return encode(original, form.rate, form.suffix, form.options)


@pytest.fixture(scope="module")
def decoded(content: bytes) -> AudioSignal:
    return decode(io.BytesIO(content), ALL)


def test_recording_decodes_to_the_encoded_music(
    form: Form, original: np.ndarray, decoded: AudioSignal, delay: Callable[..., int]
) -> None:
    mono = original.mean(axis=1)
    assert decoded.sample_rate_hz == form.rate
    assert decoded.samples.dtype == np.float32
    assert abs(len(decoded.samples) - len(mono)) <= form.frame
    lag = delay(decoded.samples, mono)
    assert abs(lag) <= max(form.frame, 1)
    decoded_part, part = decoded.samples[max(0, lag) :], mono[max(0, -lag) :]
    length = min(len(decoded_part), len(part))
    correlation = np.corrcoef(decoded_part[:length], part[:length])[0, 1]
    assert correlation > (0.4 if "amr" in form.options else 0.99)  # AMR knows one voice at a time


def test_recording_decodes_as_ffmpeg_decodes_it(
    form: Form,
    content: bytes,
    decoded: AudioSignal,
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
) -> None:
    reference = ffmpeg_decode(content, form.channels).mean(axis=1)
    assert abs(len(decoded.samples) - len(reference)) <= form.frame
    # Of the root mean square: libopus and FFmpeg's own decoder of Opus, and others, differ by rounding.
    assert error_of(decoded.samples, reference) < 1e-3


def test_whole_recording_has_no_note_and_its_kind(form: Form, content: bytes) -> None:
    info, _ = inspect_recording(io.BytesIO(content), ALL)
    assert info.notes == ()
    assert (info.sample_rate_hz, info.channels) == (form.rate, form.channels)
    assert MonoReader(io.BytesIO(content), ALL).kind.name == form.name


def test_kind_is_told_by_the_content_and_not_the_name(
    form: Form, content: bytes, decoded: AudioSignal, tmp_path: Path
) -> None:
    expected = decoded.samples
    for name in ("song", "song.wav" if form.suffix != ".wav" else "song.mp3"):
        path = tmp_path / name
        path.write_bytes(content)
        np.testing.assert_array_equal(decode(path, ALL).samples, expected)
    with path.open("rb") as file:
        file.seek(100)  # wherever it was left
        np.testing.assert_array_equal(decode(file, ALL).samples, expected)
        assert not file.closed


def test_what_inspection_keeps_is_what_decoding_gives(content: bytes, decoded: AudioSignal) -> None:
    for seconds, expected in ((1.3, decode(io.BytesIO(content), 1.3)), (ALL, decoded)):
        info, kept = inspect_recording(io.BytesIO(content), ALL, seconds)
        np.testing.assert_array_equal(kept.samples, expected.samples)
        assert (kept.sample_rate_hz, kept.silence_peak) == (expected.sample_rate_hz, expected.silence_peak)
        assert info.duration_s == decoded.duration_s


@pytest.mark.parametrize(
    ("form_name", "options", "rate"),
    [
        ("flac", "-c:a flac", 44_100),
        ("wav", "-c:a pcm_s16le", 44_100),
        ("matroska", "-c:a libvorbis", 44_100),
        ("webm", "-c:a libopus", 48_000),
        ("ogg", "-c:a libvorbis", 44_100),
        ("opus", "-c:a libopus", 48_000),
        ("wv", "-c:a wavpack", 44_100),
        ("au", "-c:a pcm_s16be", 44_100),
    ],
)
def test_recording_written_to_a_pipe_has_its_whole_length(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], form_name: str, options: str, rate: int
) -> None:
    original = music(SECONDS, rate)
    content = encode(original, rate, "", f"{options} -f {form_name} -seekable 0")
    decoded = decode(io.BytesIO(content), ALL)
    assert decoded.duration_s == pytest.approx(SECONDS, abs=0.03)
    assert decoded.notes == ()
    length = min(len(decoded.samples), len(original))
    assert np.corrcoef(decoded.samples[:length], original.mean(axis=1)[:length])[0, 1] > 0.99


def test_flac_written_to_a_pipe_states_no_length(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    content = encode(music(SECONDS), 44_100, "", "-c:a flac -f flac -seekable 0")
    assert MonoReader(io.BytesIO(content), ALL).header.duration_s is None


@pytest.mark.parametrize(
    ("suffix", "options", "rate", "frame"),
    [(".ogg", "-c:a libvorbis", 44_100, 1024), (".opus", "-c:a libopus", 48_000, 0), (".oga", "-c:a flac", 44_100, 0)],
)
def test_joined_ogg_files_decode_one_after_the_other(
    encode: Callable[..., bytes],
    music: Callable[..., np.ndarray],
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
    suffix: str,
    options: str,
    rate: int,
    frame: int,
) -> None:
    parts = [music(3.0, rate, seed=1), music(2.0, rate, seed=2)]
    content = b"".join(encode(part, rate, suffix, options) for part in parts)
    decoded = decode(io.BytesIO(content), ALL)
    assert decoded.notes == ()
    assert abs(len(decoded.samples) - 5 * rate) <= frame
    assert np.corrcoef(decoded.samples[: 3 * rate], parts[0].mean(axis=1))[0, 1] > 0.99
    assert np.corrcoef(decoded.samples[-2 * rate :], parts[1].mean(axis=1))[0, 1] > 0.99
    reference = ffmpeg_decode(content, 2).mean(axis=1)
    assert error_of(decoded.samples[: 3 * rate], reference[: 3 * rate]) < 1e-3
    assert error_of(decoded.samples[-2 * rate :], reference[-2 * rate :]) < 1e-3


def test_joined_flac_files_decode_one_after_the_other(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    parts = [encode(music(seconds, seed=1), 44_100, ".flac", "-c:a flac") for seconds in (3.0, 2.0)]
    alone = [decode(io.BytesIO(part), ALL).samples for part in parts]
    decoded = decode(io.BytesIO(b"".join(parts)), ALL)
    np.testing.assert_array_equal(decoded.samples, np.concatenate(alone))
    assert decoded.notes == ()


def test_tag_at_the_end_of_a_flac_file_is_no_audio(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    content = encode(music(3.0), 44_100, ".flac", "-c:a flac")
    decoded = decode(io.BytesIO(content + b"APETAGEX" + bytes(50_000) + b"TAG" + bytes(125)), ALL)
    np.testing.assert_array_equal(decoded.samples, decode(io.BytesIO(content), ALL).samples)
    assert decoded.notes == ()


def test_joined_ogg_files_of_different_rates_are_resampled_to_the_first(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    parts = [music(3.0, seed=1), music(3.0, 32_000, seed=2)]
    content = encode(parts[0], 44_100, ".ogg", "-c:a libvorbis") + encode(parts[1], 32_000, ".ogg", "-c:a libvorbis")
    decoded = decode(io.BytesIO(content), ALL)
    assert (decoded.sample_rate_hz, decoded.notes) == (44_100, ())
    assert decoded.duration_s == pytest.approx(6.0, abs=0.001)
    second = resample(AudioSignal(parts[1].mean(axis=1), 32_000), 44_100)
    assert np.corrcoef(decoded.samples[3 * 44_100 :], second)[0, 1] > 0.99


@pytest.mark.parametrize(("suffix", "options"), [(".flac", "-c:a flac"), (".wav", ""), (".aac", "-c:a aac")])
def test_tag_before_other_kinds_is_passed_over(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray], suffix: str, options: str
) -> None:
    content = encode(music(SECONDS), 44_100, suffix, options)
    tag = b"ID3\x04\0\0\0\0\x20\0" + bytes(0x20 << 7)
    expected = decode(io.BytesIO(content), ALL).samples
    np.testing.assert_array_equal(decode(io.BytesIO(tag + content), ALL).samples, expected)


# Nothing that a test can install encodes Speex or Monkey's Audio. Both decoders take any bits for parameters of sound,
# so that some bits in a right container are a recording, though no music.


def speex_file(n_frames: int) -> bytes:
    """Ogg Speex of 20 ms frames of any narrowband sound at 15 kbit/s."""
    rng = np.random.default_rng(0)
    header = struct.pack("<8s20s13i", b"Speex   ", b"1.2", 1, 80, 8000, 0, 4, 1, 15_000, 160, 0, 1, 0, 0, 0)
    # A bit for narrowband, four for mode 5, its 295 bits of parameters, four that end the packet.
    bits = [np.r_[0, 0, 1, 0, 1, rng.integers(0, 2, 295), 0, 1, 1, 1] for _ in range(n_frames)]
    packets = [np.packbits(frame.astype(np.uint8)).tobytes() for frame in bits]
    pages = [ogg_page([header], 0, 0, 2), ogg_page([struct.pack("<I4sI", 4, b"test", 0)], 1, 0, 0)]
    for start in range(0, n_frames, 50):
        end = min(start + 50, n_frames)
        pages.append(ogg_page(packets[start:end], len(pages), end * 160, 4 if end == n_frames else 0))
    return b"".join(pages)


def ogg_page(packets: list[bytes], number: int, granule: int, flags: int) -> bytes:
    lacing = b"".join(bytes([255] * (len(packet) // 255) + [len(packet) % 255]) for packet in packets)
    body = lacing + b"".join(packets)
    crc = 0
    for byte in page_head(0, number, granule, flags, len(lacing)) + body:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return page_head(crc, number, granule, flags, len(lacing)) + body


def page_head(crc: int, number: int, granule: int, flags: int, n_segments: int) -> bytes:
    return struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 77, number, crc, n_segments)


def ape_file(n_samples: int) -> bytes:
    """Monkey's Audio 3.99 of one frame of any sound, 16-bit stereo at 44,100 Hz, compression level "fast"."""
    data = bytes(12) + np.random.default_rng(0).bytes(8) + bytes(40_000)
    description = struct.pack("<4s2H7I16s", b"MAC ", 3990, 0, 52, 24, 4, 0, len(data), 0, 0, bytes(16))
    header = struct.pack("<2H3I2HI", 1000, 0x20, 73_728, n_samples, 1, 16, 2, 44_100)
    return description + header + struct.pack("<I", 52 + 24 + 4) + data


@pytest.mark.parametrize(
    ("content", "name", "rate", "n_samples", "channels"),
    [
        pytest.param(speex_file(100), "Speex", 8000, 16_000, 1, id="speex"),
        pytest.param(ape_file(20_000), "Monkey's Audio", 44_100, 20_000, 2, id="ape"),
    ],
)
def test_speex_and_monkeys_audio_decode_as_ffmpeg_decodes_them(
    content: bytes,
    name: str,
    rate: int,
    n_samples: int,
    channels: int,
    ffmpeg_decode: Callable[..., np.ndarray],
    error_of: Callable[..., float],
) -> None:
    assert MonoReader(io.BytesIO(content), ALL).kind.name == name
    decoded = decode(io.BytesIO(content), ALL)
    assert (decoded.sample_rate_hz, len(decoded.samples), decoded.notes) == (rate, n_samples, ())
    assert decoded.samples.std() > 0.01
    assert error_of(decoded.samples, ffmpeg_decode(content, channels).mean(axis=1)) < 1e-3
