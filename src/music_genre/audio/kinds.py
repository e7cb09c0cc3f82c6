"""What a file is, by its content: a kind of recording, or something else that a refusal can name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from music_genre.audio import mpeg
from music_genre.errors import AudioError, IssueReason

HEAD_BYTES = 64 * 1024  # of a file, or of what follows its tags, that tell its kind


@dataclass(frozen=True)
class AudioKind:
    """A kind of file that holds a recording.

    Args:
        name: as people call it.
        suffixes: that files of this kind usually have.
        demuxer: FFmpeg's name for it; no other is tried, so that no file can make it open another.
        by_soundfile: libsndfile decodes it, and right; FFmpeg decodes the rest, and what libsndfile gives up.
        states_duration: FFmpeg reads the length from the file, and does not guess it from the bit rate.
    """

    name: str
    suffixes: tuple[str, ...]
    demuxer: str
    by_soundfile: bool = False
    states_duration: bool = True


MPEG = AudioKind("MP3", (".mp3", ".mp2"), "mp3", by_soundfile=True, states_duration=False)
AAC = AudioKind("AAC", (".aac",), "aac", states_duration=False)
FLAC = AudioKind("FLAC", (".flac",), "flac", by_soundfile=True)
WAV = AudioKind("WAV", (".wav", ".wave"), "wav", by_soundfile=True)
WAVE64 = AudioKind("Wave64", (".w64",), "w64", by_soundfile=True)
AIFF = AudioKind("AIFF", (".aif", ".aiff", ".aifc"), "aiff", by_soundfile=True)
AU = AudioKind("AU", (".au",), "au", by_soundfile=True)
OGG = AudioKind("Ogg", (".ogg", ".oga"), "ogg", by_soundfile=True)
OPUS = AudioKind("Opus", (".opus",), "ogg", by_soundfile=True)
SPEEX = AudioKind("Speex", (".spx",), "ogg")
MP4 = AudioKind("MP4", (".m4a", ".m4b", ".mp4", ".m4r", ".mov", ".3gp"), "mov")
MATROSKA = AudioKind("Matroska or WebM", (".webm", ".weba", ".mka", ".mkv"), "matroska")
WINDOWS_MEDIA = AudioKind("Windows Media", (".wma", ".asf"), "asf")
APE = AudioKind("Monkey's Audio", (".ape",), "ape")
WAVPACK = AudioKind("WavPack", (".wv",), "wv")
CAF = AudioKind("Core Audio", (".caf",), "caf")
TTA = AudioKind("True Audio", (".tta",), "tta")
MUSEPACK7 = AudioKind("Musepack", (".mpc",), "mpc")
MUSEPACK8 = AudioKind("Musepack", (".mpc",), "mpc8")
AMR = AudioKind("AMR", (".amr",), "amr", states_duration=False)
AC3 = AudioKind("AC-3", (".ac3",), "ac3", states_duration=False)
REAL = AudioKind("RealAudio", (".ra", ".rm"), "rm")

KINDS = (
    *(MPEG, WAV, FLAC, OGG, OPUS, MP4, AAC, WINDOWS_MEDIA, AIFF, MATROSKA, APE, WAVPACK, CAF, AU, SPEEX),
    *(TTA, MUSEPACK7, MUSEPACK8, WAVE64, AMR, AC3, REAL),
)
AUDIO_SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)
SUPPORTED_FORMATS = "mp3, wav, flac, ogg, opus, m4a, aac, wma, aiff, webm, ape, wv, caf and more"

# How files of a kind begin, as patterns; `.` is any byte.
SIGNATURES = (
    (rb"RIFF....WAVE|(RF64|BW64)....WAVE", WAV),
    (rb"fLaC", FLAC),
    (rb"OggS.{24}OpusHead", OPUS),
    (rb"OggS.{24}Speex   ", SPEEX),
    (rb"OggS", OGG),
    (rb"....(ftyp|moov|mdat)|\x00...(wide|free|skip)", MP4),
    (rb"\x1a\x45\xdf\xa3", MATROSKA),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", WINDOWS_MEDIA),
    (rb"FORM....AIF[FC]", AIFF),
    (rb"riff\x2e\x91\xcf\x11", WAVE64),
    (rb"\.snd", AU),
    (rb"MAC ", APE),
    (rb"wvpk", WAVPACK),
    (rb"caff", CAF),
    (rb"TTA1", TTA),
    (rb"MPCK", MUSEPACK8),
    (rb"MP\+", MUSEPACK7),
    (rb"#!AMR", AMR),
    (rb"\x0b\x77", AC3),
    (rb"\.ra\xfd|\.RMF", REAL),
)
# What is no recording, and what to do about it.
OTHERS = (
    (rb"\x00\x05\x16\x07", "an AppleDouble companion, which macOS keeps beside a file: leave it out"),
    (rb"\s*#EXTM3U|\[playlist\]|\s*<\?wpl|\s*<asx", "a playlist: give the recordings that it names"),
    (rb"(?i)\s*<(!doctype )?html", "a web page: a download that failed; fetch the file again"),
    (rb"\s*<(\?xml|svg)", "an XML file"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"\x89PNG", "a PNG picture"),
    (rb"GIF8", "a GIF picture"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"RIFF....AVI ", "an AVI video: save its sound as m4a or wav"),
    (rb"RIFF....RMID|MThd", "a MIDI file, which holds notes and no sound: render it to wav"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ", "an archive: unpack it first"),
)


def detect_kind(file: BinaryIO) -> tuple[AudioKind, int]:
    """The kind of a file, and where its audio begins in bytes: after an ID3 tag or bytes that no player minds.

    Raises:
        AudioError: ``empty``, or ``undecodable`` with what the file is instead and what to do.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise AudioError(IssueReason.EMPTY, "0 bytes")
    start = mpeg.id3_size(head)
    if start:
        file.seek(start)
        body = file.read(HEAD_BYTES)
        if not body:
            raise AudioError(IssueReason.UNDECODABLE, "an ID3 tag without a recording: fetch the file again")
    else:
        body = head
    for pattern, kind in SIGNATURES:
        if re.match(pattern, body, re.DOTALL):
            return kind, start
    for pattern, description in OTHERS:
        if re.match(pattern, body, re.DOTALL):
            raise AudioError(IssueReason.UNDECODABLE, f"no recording, but {description}")
    if mpeg.is_adts(body):
        return AAC, start
    frame = mpeg.find_frame(body)
    if frame is not None:
        return MPEG, start + frame
    raise AudioError(IssueReason.UNDECODABLE, f"no recording, but {_describe(body)}; known are {SUPPORTED_FORMATS}")


def looks_like_audio(file: BinaryIO) -> bool:
    """Whether the content is that of a recording, whatever the file is called."""
    try:
        detect_kind(file)
    except AudioError:
        return False
    return True


def _describe(body: bytes) -> str:
    if not any(body):
        return "zeros: copy or fetch it again"
    try:
        text = body[:1024].decode("utf-8", errors="strict" if len(body) <= 1024 else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable() or re.fullmatch(r"[^\x00-\x08\x0e-\x1f]*", text):
        return "text"
    return f"bytes that begin with {body[:8].hex(' ')}"
