"""Corrupt collections: every corruption ends in its row or message, and good tracks are used.

Two collections go through the real stages: folders of genres, and FMA's layout. Each has good tracks and, once, every
corruption that is possible in its layout.
"""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
RATE, SECONDS = 22_050, 2.0
GENRES = ("Folk", "Pop", "Rock")
GOOD = 8  # tracks of each genre without an issue

Write = Callable[[Path], None]
Rows = tuple[tuple[str, str], ...]
CLEAN: Rows = ()
BAND_LIMITED = ("Folk/8k.wav",)
USED = "data/spectrograms/index.parquet"
COPIED = "folder/music"  # in data/audio


def dropped(reason: str) -> Rows:
    return (("dropped", reason),)


def warned(reason: str) -> Rows:
    return (("warned", reason),)


def noise(seconds: float = SECONDS, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(samples, channels) float32; another seed is another song."""
    return np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), channels)).astype(np.float32)


def audio(seed: int, form: str = "MP3", rate: int = RATE, channels: int = 1, subtype: str | None = None) -> Write:
    """Writes two seconds of noise in a format that need not be that of the name."""

    def write(path: Path) -> None:
        soundfile.write(path, noise(rate=rate, channels=channels, seed=seed), rate, subtype, format=form)

    return write


def samples(values: np.ndarray) -> Write:
    return lambda path: soundfile.write(path, values, RATE, "FLOAT", format="WAV")


def content(data: bytes) -> Write:
    return lambda path: (path.write_bytes(data), None)[1]


def cut(write: Write, fraction: float) -> Write:
    """Writes the first part of what ``write`` writes."""

    def write_part(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])

    return write_part


def encode(
    seed: int, codec: str, form: str, rate: int = 44_100, layout: str = "stereo", start: bool = False, title: str = ""
) -> Write:
    """Writes three seconds of noise as FFmpeg does; with the index at the start of the file if it has one."""

    def write(path: Path) -> None:
        n_channels = len(av.AudioLayout(layout).channels)
        values = noise(3.0, rate, n_channels, seed)
        with av.open(path, "w", format=form, options={"movflags": "faststart"} if start else {}) as container:
            container.metadata["title"] = title
            stream = container.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 64_000 * n_channels
            frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), "flt", layout)
            frame.sample_rate = rate
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)

    return write


def only_video(path: Path) -> None:
    with av.open(path, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for number in range(20):
            picture = np.full((64, 64, 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def replaced(write: Write, old: bytes, new: bytes) -> Write:
    """Writes what ``write`` writes with other bytes in it."""

    def write_changed(path: Path) -> None:
        write(path)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))

    return write_changed


def overwritten(write: Write, begin: float, end: float) -> Write:
    """Writes what ``write`` writes with zeros between two fractions of it, as a copy that failed leaves them."""

    def write_holes(path: Path) -> None:
        write(path)
        data = bytearray(path.read_bytes())
        first, last = int(begin * len(data)), int(end * len(data))
        data[first:last] = bytes(last - first)
        path.write_bytes(data)

    return write_holes


def joined(*writes: Write) -> Write:
    """Writes one file after the other, as ``cat`` does."""

    def write_all(path: Path) -> None:
        parts = []
        for write in writes:
            write(path)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    return write_all


def coarse_silence() -> np.ndarray:
    """Eight bits that are 0 or one step off."""
    return np.random.default_rng(44).integers(-1, 2, (44_100, 1)).astype(np.float32) / 128


def opposite() -> np.ndarray:
    left = noise(seed=45)
    return np.concatenate([left, -left], axis=1)


def two_hours(path: Path) -> None:
    """A minute of noise and two hours of silence."""
    silence = np.zeros(60 * 8000, np.float32)
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        for minute in range(120):
            file.write(silence if minute else noise(60, 8000))


def header_of_six_seconds(path: Path) -> None:
    """Two seconds under a header of six."""
    audio(40, "WAV")(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"data") + 4
    data[start : start + 4] = struct.pack("<I", 6 * RATE * 2)
    path.write_bytes(data)


def link_out(path: Path) -> None:
    secret = path.parents[2] / f"secret-{path.name}"
    audio(41)(secret)
    path.symlink_to(secret)


def mostly_silent() -> np.ndarray:
    return np.concatenate([noise(0.6, seed=42), np.zeros((int(1.4 * RATE), 1), np.float32)])


def some_nan() -> np.ndarray:
    values = noise(seed=43)
    values[1000:1200] = np.nan
    return values


@dataclass(frozen=True)
class Corruption:
    """A corruption in the collection of folders.

    Args:
        name: of the file, below the folder of the collection.
        write: writes it.
        issues: its rows (severity, reason).
        listed: whether the collection lists such a track.
        message: what ``scan`` prints about it.
    """

    name: str
    write: Write
    issues: Rows
    listed: bool = True
    message: str = ""


IN_FOLDERS = {
    "an mp3 that was cut off": Corruption("Folk/cut.mp3", cut(audio(1), 0.7), warned("truncated")),
    "a flac that was cut off": Corruption("Folk/cut.flac", cut(audio(2, "FLAC"), 0.7), warned("truncated")),
    "a wav that was cut off": Corruption("Folk/cut.wav", cut(audio(70, "WAV"), 0.7), warned("truncated")),
    "an m4a that was cut off": Corruption(
        "Folk/cut.m4a", cut(encode(71, "aac", "ipod", start=True), 0.7), warned("truncated")
    ),
    "an m4a that was cut off before its index": Corruption(
        "Folk/no index.m4a", cut(encode(72, "aac", "ipod"), 0.7), dropped("undecodable")
    ),
    "a wma that was cut off": Corruption("Folk/cut.wma", cut(encode(73, "wmav2", "asf"), 0.7), warned("truncated")),
    "a flac with a hole": Corruption("Folk/hole.flac", overwritten(audio(74, "FLAC"), 0.5, 0.6), warned("damaged")),
    "a flac whose end was never copied": Corruption(
        "Folk/no end.flac", overwritten(audio(75, "FLAC"), 0.6, 1), warned("truncated")
    ),
    "an m4a with a hole": Corruption(
        "Folk/hole.m4a", overwritten(encode(76, "aac", "ipod", start=True), 0.5, 0.6), warned("damaged")
    ),
    "a webm of a video alone": Corruption("Folk/video.webm", only_video, dropped("undecodable")),
    "a protected m4a": Corruption(
        "Folk/bought.m4a", replaced(encode(77, "aac", "ipod"), b"mp4a", b"drms"), dropped("undecodable")
    ),
    "an m4a that claims millions of samples": Corruption(
        "Folk/huge.m4a",
        replaced(encode(78, "aac", "ipod"), b"stts\0\0\0\0\0\0\0", b"stts\0\0\0\0\x7f\xff\xff"),
        dropped("undecodable"),
    ),
    "a wma under the name of an mp3": Corruption("Folk/wma.mp3", encode(79, "wmav2", "asf"), CLEAN),
    "an m4a of 5.1": Corruption("Folk/5.1.m4a", encode(80, "aac", "ipod", 48_000, "5.1"), CLEAN),
    "an m4a of 7.1": Corruption("Folk/7.1.m4a", encode(81, "aac", "ipod", 48_000, "7.1"), CLEAN),
    "an opus of 7.1": Corruption("Folk/7.1.opus", encode(82, "libopus", "ogg", 48_000, "7.1"), CLEAN),
    "a WavPack under the name of a wav": Corruption("Folk/wavpack.wav", encode(83, "wavpack", "wv"), CLEAN),
    "AAC without a container": Corruption("Folk/raw.aac", encode(84, "aac", "adts"), CLEAN),
    "two ogg, joined": Corruption("Folk/chain.ogg", joined(audio(85, "OGG"), audio(86, "OGG")), CLEAN),
    "two mp3, joined": Corruption("Folk/chain.mp3", joined(audio(87), audio(88)), CLEAN),
    "an mp3 with a title of a megabyte": Corruption(
        "Folk/title.mp3", encode(89, "mp3", "mp3", title="la" * 2**19), CLEAN
    ),
    "stereo that cancels out": Corruption("Folk/opposite.wav", samples(opposite()), warned("antiphase")),
    "a float wav of integers": Corruption("Folk/integers.wav", samples(noise(seed=90) * 2**15), warned("rescaled")),
    "8 bits of silence": Corruption(
        "Pop/coarse.wav", lambda path: soundfile.write(path, coarse_silence(), RATE, "PCM_U8"), dropped("silent")
    ),
    "a web page under the name of an m4a": Corruption(
        "Pop/page.m4a", content(b"<!DOCTYPE html><html>403</html>" * 99), dropped("undecodable")
    ),
    "a playlist under the name of an mp3": Corruption(
        "Pop/list.mp3", content(b"#EXTM3U\nfile:///etc/passwd\n"), dropped("undecodable")
    ),
    "a wav under the name of an mp3": Corruption("Folk/wav.mp3", audio(3, "WAV"), CLEAN),
    "an mp3 under the name of a wav": Corruption("Folk/mp3.wav", audio(4, "MP3"), CLEAN),
    "only NaN": Corruption("Folk/nan.wav", samples(noise() * np.float32(np.nan)), dropped("not_finite")),
    "some NaN": Corruption("Folk/some nan.wav", samples(some_nan()), warned("not_finite")),
    "a float wav as loud as nothing is": Corruption("Folk/l.wav", samples(noise() * 1e30), dropped("not_finite")),
    "8 kHz mono": Corruption("Folk/8k.wav", audio(7, "WAV", 8000), CLEAN),
    "96 kHz and 24 bit": Corruption("Folk/96k.wav", audio(8, "WAV", 96_000, 2, "PCM_24"), CLEAN),
    "6 channels": Corruption("Folk/surround.wav", audio(9, "WAV", 44_100, 6), CLEAN),
    "2 hours": Corruption("Pop/long.flac", two_hours, dropped("too_long")),
    "too short": Corruption("Pop/short.wav", samples(noise(0.9)), dropped("short")),
    "one sample": Corruption("Pop/click.wav", samples(np.full((1, 1), 0.5, np.float32)), dropped("short")),
    "no sample": Corruption("Pop/none.wav", samples(np.zeros((0, 1), np.float32)), dropped("undecodable")),
    "digital silence": Corruption("Pop/silent.wav", samples(np.zeros((44_100, 1))), dropped("silent")),
    "mostly silence": Corruption("Pop/mostly.wav", samples(mostly_silent()), warned("mostly_silent")),
    "zero bytes": Corruption("Pop/empty.mp3", content(b""), dropped("empty")),
    "text": Corruption("Pop/text.mp3", content(b"404 Not Found\n" * 900), dropped("undecodable")),
    "random bytes": Corruption(
        "Pop/random.ogg", content(np.random.default_rng(0).bytes(20_000)), dropped("undecodable")
    ),
    "an m4a without anything in it": Corruption(
        "Pop/song.m4a", content(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(9000)), dropped("undecodable")
    ),
    "a header that claims more than there is": Corruption("Pop/six.wav", header_of_six_seconds, warned("truncated")),
    "a name in unicode": Corruption("Rock/Sigur Rós - Ágætis byrjun 「夜」🎵.mp3", audio(21), CLEAN),
    "a decomposed name": Corruption("Rock/cafe\N{COMBINING ACUTE ACCENT}.mp3", audio(22), CLEAN),
    "spaces around a name": Corruption("Rock/  two  spaces .mp3", audio(23), CLEAN),
    "a leading dash": Corruption("Rock/-rf.mp3", audio(24), CLEAN),
    "a comma, quotes and a line's end in a name": Corruption("Rock/a,\"b'\nc.mp3", audio(25), CLEAN),
    "a suffix in capitals": Corruption("Rock/LOUD.WAV", audio(26, "WAV"), CLEAN),
    "a name that is not UTF-8": Corruption(
        "Rock/caf\udce9.mp3", content(b"a song"), CLEAN, False, "a name that is not UTF-8: 'Rock/caf\\udce9.mp3'"
    ),
    "a link out of the folder": Corruption("Rock/out.mp3", link_out, CLEAN, False, "or nowhere: 'Rock/out.mp3'"),
    "a link to nothing": Corruption(
        "Rock/gone.mp3", lambda path: path.symlink_to("/no/where.mp3"), CLEAN, False, "or nowhere: 'Rock/gone.mp3'"
    ),
    "a folder under the name of a clip": Corruption("Rock/x.mp3", Path.mkdir, CLEAN, False),
    "what macOS leaves beside a file": Corruption(
        "Rock/._x.mp3", content(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(4000)), CLEAN, False, "a companion that macOS"
    ),
    "the same file in two genres": Corruption("Rock/twin.mp3", audio(500), dropped("label_conflict")),
    "the same file twice in a genre": Corruption("Rock/zwilling.mp3", audio(521), dropped("duplicate")),
    "a genre whose only track is faulty": Corruption("Jazz/broken.mp3", content(b"\xff\xfb"), dropped("undecodable")),
    "a genre without any track": Corruption("Polka/notes.txt", content(b"none yet"), CLEAN, False),
}

# By track id, as the split and the rows that are expected; the metadata list it unless the split is None.
IN_FMA: dict[str, tuple[int, str | None, Write | None, Rows]] = {
    "a row without audio": (1001, "training", None, dropped("missing")),
    "audio without a row": (1002, None, audio(61), CLEAN),
    "a folder in the place of a clip": (1003, "training", Path.mkdir, dropped("missing")),
    "zero bytes in validation": (1004, "validation", content(b""), dropped("empty")),
    "an mp3 that was cut off in test": (1005, "test", cut(audio(62), 0.7), warned("truncated")),
    "a page of a web server": (1006, "training", content(b"<html>403</html>" * 99), dropped("undecodable")),
    "digital silence in FMA": (1007, "training", samples(np.zeros((44_100, 1))), dropped("silent")),
    "half a second": (1008, "training", samples(noise(0.5)), dropped("short")),
    "the training copy of a test clip": (1010, "training", audio(63), dropped("duplicate")),
    "the test clip that was copied": (1011, "test", audio(63), CLEAN),
    "the training copy of a validation clip": (1013, "training", audio(64), dropped("duplicate")),
    "the validation clip that was copied": (1012, "validation", audio(64), CLEAN),
    "the same clip twice in training": (1014, "training", audio(65), warned("duplicate")),
    "the same clip again": (1015, "training", audio(65), CLEAN),
    "an id that two rows have": (1016, "training", audio(66), dropped("duplicate")),
    "a link in the place of a clip": (1017, "training", link_out, CLEAN),
}


@dataclass(frozen=True)
class Outcome:
    """A collection after the stages up to ``spectrograms``."""

    folder: Path
    printed: str
    tracks: pd.DataFrame
    issues: pd.DataFrame
    faults: pd.DataFrame
    used: pd.DataFrame

    @property
    def used_paths(self) -> list[str]:
        return self.tracks.loc[self.tracks["track_id"].isin(self.used["track_id"]), "path"].tolist()

    def rows(self, of: int | str) -> Rows:
        """The issues of a track or of a file."""
        known = self.issues["path" if isinstance(of, str) else "track_id"].tolist()
        issues = self.issues[[value == of for value in known]]
        return tuple(zip(issues["severity"], issues["reason"], strict=True))


def good() -> list[tuple[str, int]]:
    return [(genre, number) for genre in GENRES for number in range(GOOD)]


def run(folder: Path) -> Outcome:
    """The stages, as DVC runs them."""
    printed = ""
    for name in ("scan", "fetch", "inspect", "split", "spectrograms"):
        command = [sys.executable, "-m", f"music_genre.pipeline.{name}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        printed += done.stdout + done.stderr
    assert "Traceback" not in printed
    tracks, used = pd.read_parquet(folder / "data/tracks.parquet"), pd.read_parquet(folder / USED)
    faults = pd.read_csv(folder / "data/spectrograms/faults.csv")
    return Outcome(folder, printed, tracks, pd.read_csv(folder / "data/inspection.csv"), faults, used)


def of_folders(folder: Path) -> Outcome:
    for number, (genre, song) in enumerate(good()):
        path = folder / "music" / genre / f"good {song}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio(500 + number)(path)
    for corruption in IN_FOLDERS.values():
        path = folder / "music" / corruption.name
        path.parent.mkdir(exist_ok=True)
        corruption.write(path)
    return run(folder)


def of_fma(folder: Path) -> Outcome:
    rows, splits = [], ("training",) * 6 + ("validation", "test")
    for number, (genre, song) in enumerate(good()):
        rows.append((number + 1, splits[song], genre))
        write_clip(folder, number + 1, audio(500 + number))
    for track_id, split, write, _ in IN_FMA.values():
        if split:
            rows.append((track_id, split, "Rock"))
        if write:
            write_clip(folder, track_id, write)
    rows.append((1016, "test", "Folk"))
    path = folder / "published/fma_metadata/tracks.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "artist", "artist", "set", "set", "track", "track", "track"])
        writer.writerow(["", "id", "name", "split", "subset", "genre_top", "title", "license"])
        writer.writerow(["track_id", *[""] * 7])
        for track_id, split, genre in rows:
            writer.writerow(
                [track_id, 7 * track_id, f"Artist {track_id}", split, "small", genre, f"Title {track_id}", "CC0"]
            )
    return run(folder)


def write_clip(folder: Path, track_id: int, write: Write) -> None:
    path = folder / f"published/fma_small/{track_id // 1000:03d}/{track_id:06d}.mp3"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, describe_short_clips: Callable[..., None]) -> dict[str, Outcome]:
    """Both collections, one beside the other: much of the time is Python's start."""
    folders = [tmp_path_factory.mktemp(name) for name in ("folders", "fma")]
    describe_short_clips(folders[0], source="folder", folder={"path": "music"}, max_skipped_fraction=0.6)
    describe_short_clips(folders[1], source="fma", fma={"path": "published"}, max_skipped_fraction=0.6)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda make, folder: make(folder), (of_folders, of_fma), folders))
    return dict(zip(("folders", "fma"), made, strict=True))


@pytest.fixture
def folders(outcomes: dict[str, Outcome]) -> Outcome:
    return outcomes["folders"]


@pytest.fixture
def fma(outcomes: dict[str, Outcome]) -> Outcome:
    return outcomes["fma"]


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_corruption_in_folders_of_genres(folders: Outcome, name: str) -> None:
    corruption = IN_FOLDERS[name]
    assert corruption.message in folders.printed
    path = f"{COPIED}/{corruption.name}"
    assert (folders.folder / "data/audio" / path).is_file() == corruption.listed
    listed = {*folders.tracks["path"], *folders.issues["path"]}
    assert (path in listed) == corruption.listed
    assert folders.rows(path) == corruption.issues
    is_used = corruption.listed and all(severity == "warned" for severity, _ in corruption.issues)
    assert (path in set(folders.used_paths)) == is_used


@pytest.mark.parametrize("name", IN_FMA)
def test_corruption_in_the_layout_of_fma(fma: Outcome, name: str) -> None:
    track_id, split, _, issues = IN_FMA[name]
    assert fma.rows(track_id) == issues
    # The second row of an id is dropped; its track is used by the first row.
    is_used = split and (issues in (CLEAN, *map(warned, ("truncated", "duplicate"))) or track_id == 1016)
    assert fma.used.loc[fma.used["track_id"] == track_id, "split"].tolist() == ([split] if is_used else [])


def test_good_tracks_of_folders_are_used(folders: Outcome) -> None:
    # The only one with an issue is that of which another genre has a copy.
    reported = {path for path in folders.issues["path"] if "/good " in path}
    assert reported == {f"{COPIED}/Folk/good 0.mp3"}
    expected = {f"{COPIED}/{genre}/good {song}.mp3" for genre, song in good()} - reported
    assert {path for path in folders.used_paths if "/good " in path} == expected


def test_good_tracks_of_fma_are_used(fma: Outcome) -> None:
    expected = set(range(1, len(good()) + 1))
    assert expected <= set(fma.used["track_id"])
    assert not expected & set(fma.issues["track_id"])


@pytest.mark.parametrize("kind", ["folders", "fma"])
def test_every_used_clip_is_finite_and_has_sound(outcomes: dict[str, Outcome], kind: str) -> None:
    used = outcomes[kind].used
    assert used["finite_fraction"].eq(1).all()
    assert used["maximum_db"].between(-3, 0).all()
    assert used["silent_fraction"].lt(0.8).all()
    assert used["track_id"].is_unique


@pytest.mark.parametrize("kind", ["folders", "fma"])
def test_genre_without_usable_tracks_is_no_class(outcomes: dict[str, Outcome], kind: str) -> None:
    assert set(outcomes[kind].used["genre"]) == set(GENRES)
    described = (outcomes[kind].folder / "data/spectrograms/spectrogram.json").read_text(encoding="utf-8")
    assert json.loads(described)["genres"] == list(GENRES)


def test_recording_under_two_genres_is_used_under_none_and_says_so(folders: Outcome) -> None:
    assert folders.rows(f"{COPIED}/Folk/good 0.mp3") == dropped("label_conflict")
    details = folders.issues.set_index("path").loc[f"{COPIED}/Rock/twin.mp3", "detail"]
    assert details == (
        f"the same recording as {COPIED}/Folk/good 0.mp3, under Folk, Rock: data/corrections.csv can say which"
    )


def test_every_issue_has_a_detail(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        assert outcome.issues["detail"].str.len().gt(3).all()
        assert outcome.issues[["track_id", "path", "severity", "reason", "detail"]].notna().all(axis=None)


def test_clips_without_the_upper_band_are_named(outcomes: dict[str, Outcome]) -> None:
    faults = outcomes["folders"].faults
    found = set(zip(faults["path"], faults["severity"], faults["reason"], strict=True))
    assert found == {(f"{COPIED}/{name}", "warned", "band_limited") for name in BAND_LIMITED}
    assert outcomes["fma"].faults.empty
