"""FMA in its published layout, by a metadata file of a few tracks."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZIP_BZIP2, ZipFile

import pytest

from music_genre.datasets import fma
from music_genre.datasets.copying import update_copy
from music_genre.datasets.download import RemoteFile
from music_genre.datasets.fma import (
    ARCHIVES,
    METADATA,
    SUBSETS,
    FmaParams,
    list_files,
    load_subset,
    load_tracks,
    split_sizes,
)
from music_genre.datasets.listing import stat_files
from music_genre.errors import MusicGenreError

COLUMNS = [
    ("album", "title"),
    ("artist", "id"),
    ("artist", "name"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "genre_top"),
    ("track", "license"),
    ("track", "title"),
]
NEEDED = {METADATA.as_posix(), "fma_small/000/000002.mp3", "fma_small/000/000005.mp3"}
# track_id: artist, split, subset, genre, license, title
ROWS = {
    140: ("3", "test", "medium", "Folk", "CC BY", "Third"),
    2: ("1", "training", "small", "Hip-Hop", "CC BY-NC", 'Food, "live"\nagain'),
    5: ("2", "validation", "small", "Rock", "", "007"),
    3: ("1", "training", "small", "", "CC BY", "No genre"),
    1001: ("4", "training", "large", "Jazz", "CC0", ""),
    155066: ("5", "training", "full", "Rock", "CC0", "Last"),
}


def write_metadata(root: Path, columns: list[tuple[str, str]] = COLUMNS) -> Path:
    path = root / METADATA
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(level for level, _ in columns)])
        writer.writerow(["", *(name for _, name in columns)])
        writer.writerow(["track_id", *("" for _ in columns)])
        for track_id, (artist, split, subset, genre, licence, title) in ROWS.items():
            values = {
                ("artist", "id"): artist,
                ("artist", "name"): f"Artist {artist}",
                ("set", "split"): split,
                ("set", "subset"): subset,
                ("track", "genre_top"): genre,
                ("track", "license"): licence,
                ("track", "title"): title,
            }
            writer.writerow([track_id, *(values.get(column, "other") for column in columns)])
    return path


def write_clips(root: Path, subset: str, *track_ids: int) -> None:
    for track_id in track_ids:
        name = f"{track_id:06d}"
        path = root / f"fma_{subset}" / name[:3] / f"{name}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"clip {track_id}".encode())


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def params(path: Path | None, subset: str = "small", mirror: str | None = None) -> FmaParams:
    return FmaParams.model_validate({"subset": subset, "path": path, "mirror": mirror})


def fetch(audio: Path, section: FmaParams, cache: Path) -> list[str]:
    return fma.download(audio, section, cache, seed=0)


def copy(audio: Path, section: FmaParams) -> None:
    """What the stages scan and fetch do with an unpacked folder."""
    update_copy(audio, stat_files(list_files(section).files or {}), audio.with_name("cache"), list, [])


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("small", [2, 5]),
        ("medium", [2, 5, 140]),
        ("large", [2, 5, 140, 1001]),
        ("full", [2, 5, 140, 1001, 155066]),
    ],
)
def test_each_subset_contains_the_smaller_ones_and_no_unlabelled_track(
    tmp_path: Path, subset: str, expected: list[int]
) -> None:
    write_metadata(tmp_path)
    assert load_subset(tmp_path, subset)["track_id"].tolist() == expected


def test_track_has_the_values_of_the_metadata(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    table = load_subset(tmp_path, "small")
    assert set(table.columns) == {"track_id", "path", "genre", "artist_id", "artist", "title", "license", "split"}
    first, second = table.to_dict("records")
    assert first == {
        "track_id": 2,
        "path": "fma_small/000/000002.mp3",
        "genre": "Hip-Hop",
        "artist_id": "1",
        "artist": "Artist 1",
        "title": 'Food, "live"\nagain',
        "license": "CC BY-NC",
        "split": "training",
    }
    assert second["title"] == "007"
    assert table["license"].isna().tolist() == [False, True]
    assert table["track_id"].dtype == "int64"


def test_order_of_columns_does_not_matter(tmp_path: Path) -> None:
    write_metadata(tmp_path / "published")
    write_metadata(tmp_path / "turned", COLUMNS[::-1])
    assert load_subset(tmp_path / "turned", "full").equals(load_subset(tmp_path / "published", "full"))


def test_path_has_the_first_three_digits_as_folder(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    paths = load_subset(tmp_path, "full").set_index("track_id")["path"]
    assert paths[155066] == "fma_full/155/155066.mp3"
    assert paths[1001] == "fma_full/001/001001.mp3"


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write_metadata(tmp_path, [c for c in COLUMNS if c not in {("set", "split"), ("track", "genre_top")}])
    with pytest.raises(MusicGenreError) as caught:
        load_subset(tmp_path, "small")
    assert str(path) in str(caught.value)
    assert "track.genre_top, set.split" in str(caught.value)


def test_duplicate_track_keeps_both_rows_in_order(tmp_path: Path) -> None:
    path = write_metadata(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (rock,) = (line for line in lines if line.startswith("5,"))
    path.write_text("".join([*lines, rock.replace("Rock", "Pop")]), encoding="utf-8")
    table = load_subset(tmp_path, "small")
    assert table[["track_id", "genre"]].to_numpy().tolist() == [[2, "Hip-Hop"], [5, "Rock"], [5, "Pop"]]


@pytest.mark.parametrize("harm", ['"7,never closed', "seven,a,b,c,d,e,f,g,h", ",,,,,,,,"])
def test_malformed_row_is_reported_in_one_line(tmp_path: Path, harm: str) -> None:
    path = write_metadata(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{harm}\n8,a,b,c,d,e,f,g,h\n")
    with pytest.raises(MusicGenreError) as caught:
        load_subset(tmp_path, "small")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# As published: 53 columns, the first of which is the track's number.
LEVELS = {
    "album": "comments date_created date_released engineer favorites id information listens producer tags title tracks"
    " type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created favorites id latitude"
    " location longitude members name related_projects tags website wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top genres genres_all"
    " information interest language_code license listens lyricist number publisher tags title",
}
TRACKS = 106_574
SIZES = {"small": 8000, "medium": 17_000, "large": 81_574}  # without those of smaller subsets; others are in full only


@pytest.mark.slow
def test_metadata_of_published_size_is_read(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    columns = [(level, name) for level, names in LEVELS.items() for name in names.split()]
    assert len(columns) == 52
    subset_of = [name for name, size in SIZES.items() for _ in range(size)]
    ids = [2 + 3 * number // 2 for number in range(TRACKS)]
    (tmp_path / METADATA).parent.mkdir()
    with (tmp_path / METADATA).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["", *(level for level, _ in columns)], ["", *(name for _, name in columns)]])
        writer.writerow(["track_id", *("" for _ in columns)])
        for number, track_id in enumerate(ids):
            values = {column: "" if sum(map(ord, column[1])) % 3 else f"<p>words, {number}</p>" for column in columns}
            values |= {
                ("album", "information"): 'Lines\nand "quotes", as people write them',
                ("artist", "id"): str(1 + number // 10),
                ("set", "split"): ("training", "training", "validation", "test")[number % 4],
                ("set", "subset"): subset_of[number] if number < len(subset_of) else "full",
                ("track", "genre_top"): ("Rock", "Pop", "Folk")[number % 3] if number < 49_598 else "",
                ("track", "title"): f"Title {number}",
                ("track", "license"): "Attribution",
            }
            writer.writerow([track_id, *(values[column] for column in columns)])
    start = time.perf_counter()
    small = load_subset(tmp_path, "small")
    record_property("seconds", round(time.perf_counter() - start, 2))
    assert small["track_id"].tolist() == ids[:8000]
    assert small["artist_id"].tolist() == [str(1 + number // 10) for number in range(8000)]
    assert small["genre"].tolist() == [("Rock", "Pop", "Folk")[number % 3] for number in range(8000)]
    assert len(load_subset(tmp_path, "medium")) == 25_000
    assert len(load_subset(tmp_path, "full")) == 49_598


@pytest.mark.parametrize("content", ["", ",album\n", "a,b\nc,d\n"])
def test_truncated_metadata_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / METADATA
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(MusicGenreError) as caught:
        load_subset(tmp_path, "small")
    assert str(path) in str(caught.value)


def test_only_files_of_the_subset_are_listed(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    write_clips(tmp_path, "medium", 2, 3, 5, 140)
    listing = list_files(params(tmp_path))
    assert listing.files == {
        METADATA.as_posix(): tmp_path / METADATA,
        "fma_small/000/000002.mp3": tmp_path / "fma_medium/000/000002.mp3",
        "fma_small/000/000005.mp3": tmp_path / "fma_medium/000/000005.mp3",
    }


def test_listed_files_are_copied_as_they_are(tmp_path: Path) -> None:
    there, audio = tmp_path / "there", tmp_path / "audio"
    write_metadata(there)
    write_clips(there, "medium", 2, 3, 5, 140)
    copy(audio, params(there))
    assert files(audio) == {*NEEDED, "manifest.csv"}
    assert (audio / "fma_small/000/000005.mp3").read_bytes() == b"clip 5"
    assert (audio / METADATA).read_bytes() == (there / METADATA).read_bytes()


def test_own_archive_of_the_subset_is_preferred(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    write_clips(tmp_path, "full", 2, 5)
    write_clips(tmp_path, "small", 2, 5)
    listed = list_files(params(tmp_path)).files or {}
    assert listed["fma_small/000/000002.mp3"] == tmp_path / "fma_small/000/000002.mp3"


def test_missing_clip_of_a_folder_is_still_a_track(tmp_path: Path) -> None:
    there, audio = tmp_path / "there", tmp_path / "audio"
    write_metadata(there)
    write_clips(there, "small", 5)
    copy(audio, params(there))
    assert files(audio) == {METADATA.as_posix(), "fma_small/000/000005.mp3", "manifest.csv"}
    assert load_subset(audio, "small")["track_id"].tolist() == [2, 5]


def test_clips_of_a_folder_are_not_copied_without_enough_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, audio = tmp_path / "there", tmp_path / "audio"
    size = write_metadata(there).stat().st_size
    write_clips(there, "small", 2, 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(MusicGenreError, match=rf"audio: needs {size + 12}B; .*has 3\.00B free"):
        copy(audio, params(there))
    assert files(audio) == {"manifest.csv"}


def test_folder_without_metadata_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError) as caught:
        list_files(params(tmp_path / "nowhere"))
    assert "data.fma.path" in str(caught.value)
    assert str(tmp_path / "nowhere" / METADATA) in str(caught.value)


def test_folder_of_clips_is_refused_with_its_parent(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    write_clips(tmp_path, "small", 2)
    with pytest.raises(MusicGenreError, match=r"fma_small/fma_metadata/tracks\.csv does not exist \(name its parent\)"):
        list_files(params(tmp_path / "fma_small"))


def test_smaller_archive_is_not_used_for_a_larger_subset(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    write_clips(tmp_path, "small", 2, 5)
    with pytest.raises(MusicGenreError, match="fma_medium, fma_large, fma_full"):
        list_files(params(tmp_path, "medium"))


def test_named_folder_is_listed_or_else_the_subset_is_downloaded(tmp_path: Path) -> None:
    write_metadata(tmp_path / "there")
    write_clips(tmp_path / "there", "small", 2, 5)
    assert list_files(params(None)).files == {}
    assert fetch(tmp_path / "audio", params(tmp_path / "there"), tmp_path / "cache") == []
    assert not (tmp_path / "audio").exists()


class Published:
    """A tiny FMA on loopback; it records the requested paths."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch, self.requests, self.address = folder, monkeypatch, list[str](), ""

    def publish(self, key: str, folder: Path) -> None:
        """Publish ``folder`` as one of FMA's archives."""
        path = self.folder / f"fma_{key}.zip"
        with ZipFile(path, "w", ZIP_BZIP2) as file:
            for name in sorted(files(folder)):
                file.write(folder / name, name)
        archive = RemoteFile(path.name, hashlib.sha1(path.read_bytes()).hexdigest(), path.stat().st_size)
        self.monkeypatch.setitem(ARCHIVES, key, archive)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    there = Published(tmp_path / "there/fma", monkeypatch)
    there.folder.mkdir(parents=True)
    write_metadata(tmp_path / "metadata")
    (tmp_path / "metadata/fma_metadata/genres.csv").write_text("not needed")
    there.publish("metadata", tmp_path / "metadata")
    write_clips(tmp_path / "small", "small", 2, 3, 5)
    (tmp_path / "small/fma_small/checksums").write_text("not needed")
    there.publish("small", tmp_path / "small")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            there.requests.append(self.path)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "there"))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        there.address = f"http://127.0.0.1:{server.server_port}/fma"
        yield there
        server.shutdown()


@pytest.mark.parametrize("ending", ["", "/"])
def test_files_of_the_subset_are_downloaded_without_a_folder(published: Published, tmp_path: Path, ending: str) -> None:
    names = fetch(tmp_path / "audio", params(None, mirror=published.address + ending), tmp_path / "cache")
    assert set(names) == files(tmp_path / "audio") == NEEDED
    assert (tmp_path / "audio/fma_small/000/000005.mp3").read_bytes() == b"clip 5"
    assert load_subset(tmp_path / "audio", "small")["track_id"].tolist() == [2, 5]
    assert published.requests == ["/fma/fma_metadata.zip", "/fma/fma_small.zip"]


def test_published_address_is_used_without_a_mirror(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fma.BASE_URL == "https://os.unil.cloud.switch.ch/fma/"
    monkeypatch.setattr(fma, "BASE_URL", f"{published.address}/")
    fetch(tmp_path / "audio", params(None), tmp_path / "cache")
    assert files(tmp_path / "audio") == NEEDED


def test_downloaded_archives_are_reused(published: Published, tmp_path: Path) -> None:
    fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    shutil.rmtree(tmp_path / "audio")
    published.requests.clear()
    fetch(tmp_path / "audio", params(None, mirror="http://127.0.0.1:9/gone"), tmp_path / "cache")
    assert files(tmp_path / "audio") == NEEDED
    assert published.requests == []


def test_metadata_are_kept_when_the_clips_have_a_wrong_checksum(published: Published, tmp_path: Path) -> None:
    good = (published.folder / "fma_small.zip").read_bytes()
    (published.folder / "fma_small.zip").write_bytes(good[:-1] + b"?")
    with pytest.raises(MusicGenreError, match=r"fma_small\.zip.*SHA-1"):
        fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    (published.folder / "fma_small.zip").write_bytes(good)
    published.requests.clear()
    fetch(tmp_path / "again", params(None, mirror=published.address), tmp_path / "cache")
    assert files(tmp_path / "again") == NEEDED
    assert published.requests == ["/fma/fma_small.zip"]


def test_clips_that_were_extracted_before_are_kept(published: Published, tmp_path: Path) -> None:
    fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    before = {name: (tmp_path / "audio" / name).stat().st_ino for name in NEEDED}
    names = fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    assert set(names) == NEEDED
    assert {name: (tmp_path / "audio" / name).stat().st_ino for name in NEEDED} == before


def test_missing_clip_of_an_archive_is_not_an_error(published: Published, tmp_path: Path) -> None:
    (tmp_path / "small/fma_small/000/000002.mp3").unlink()
    published.publish("small", tmp_path / "small")
    fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    assert files(tmp_path / "audio") == NEEDED - {"fma_small/000/000002.mp3"}


def test_clips_are_not_downloaded_without_enough_space(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHIVES, "small", RemoteFile("fma_small.zip", "0" * 40, 8 * 10**9))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 10**9))
    with pytest.raises(MusicGenreError, match=r"fma_small\.zip: needs 16\.0GB; .*has 10\.0GB free"):
        fetch(tmp_path / "audio", params(None, mirror=published.address), tmp_path / "cache")
    assert published.requests == ["/fma/fma_metadata.zip"]


def test_mirror_without_archives_is_reported(published: Published, tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"/nowhere/fma_metadata\.zip: 404 .*check its address in params"):
        fetch(tmp_path / "audio", params(None, mirror=f"{published.address}/nowhere"), tmp_path / "cache")


def test_every_subset_has_its_archive() -> None:
    assert set(ARCHIVES) == {"metadata", *SUBSETS}
    for key, archive in ARCHIVES.items():
        assert archive.name == f"fma_{key}.zip"
        assert re.fullmatch("[0-9a-f]{40}", archive.sha1)


def test_section_selects_the_subset_and_its_published_split_sizes(tmp_path: Path) -> None:
    write_metadata(tmp_path)
    assert load_tracks(tmp_path, params(None, "medium")).equals(load_subset(tmp_path, "medium"))
    assert split_sizes(params(None, "small")) == fma.SMALL_SPLIT_SIZES
    assert split_sizes(params(None, "medium")) is None
