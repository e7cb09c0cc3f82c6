"""Listing what lies at the sources, and refusing those that overlap the project's folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from music_genre.datasets.listing import (
    Changes,
    check_overlap,
    read_listing,
    stat_files,
    write_listing,
)
from music_genre.errors import MusicGenreError


def touch(folder: Path, *names: str) -> dict[str, Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return {name: folder / name for name in names}


@pytest.mark.parametrize("source", ["data/audio", "data/audio/Rock", "data", ".", "..", "link", "link/Rock"])
def test_source_that_overlaps_an_out_is_refused(tmp_path: Path, source: str) -> None:
    project = tmp_path / "project"
    (project / "data/audio/Rock").mkdir(parents=True)
    (project / "link").symlink_to(project / "data/audio")
    with pytest.raises(MusicGenreError, match=r"overlaps .*data/audio, which DVC removes"):
        check_overlap([project / source], [project / "data/audio"])


def test_source_that_overlaps_an_out_that_does_not_exist_yet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match="overlaps"):
        check_overlap([tmp_path], [tmp_path / "data/audio"])


def test_out_that_is_a_link_to_the_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "audio").symlink_to(tmp_path / "music")
    with pytest.raises(MusicGenreError, match="overlaps"):
        check_overlap([tmp_path / "music"], [tmp_path / "audio"])


@pytest.mark.parametrize("source", ["data/raw", "data/audio2", "music"])
def test_folder_beside_the_outs_is_allowed(tmp_path: Path, source: str) -> None:
    (tmp_path / source).mkdir(parents=True)
    check_overlap([tmp_path / source], [tmp_path / "data/audio", tmp_path / "models"])


def test_listing_has_the_same_bytes_where_nothing_changed(tmp_path: Path) -> None:
    files = touch(tmp_path / "music", "Rock/a.mp3", "Pop/b.mp3")
    listing = tmp_path / "listing.parquet"
    write_listing(listing, stat_files(files), {"folder": {"path": ["music"]}})
    first = listing.read_bytes()
    write_listing(listing, stat_files(files), {"folder": {"path": ["music"]}})
    assert listing.read_bytes() == first
    assert [file.name for file in read_listing(listing)] == ["Pop/b.mp3", "Rock/a.mp3"]
    write_listing(listing, stat_files(files), {"folder": {"path": ["other"]}})
    assert listing.read_bytes() != first


def test_changes_are_counted(tmp_path: Path) -> None:
    before = stat_files(touch(tmp_path, "same.mp3", "gone.mp3", "longer.mp3", "touched.mp3"))
    (tmp_path / "gone.mp3").unlink()
    (tmp_path / "longer.mp3").write_text("more of it", encoding="utf-8")
    os.utime(tmp_path / "touched.mp3", (1, 1))
    names = ("same.mp3", "gone.mp3", "longer.mp3", "touched.mp3")
    files = {name: tmp_path / name for name in names} | touch(tmp_path, "new.mp3", "newer.mp3")
    assert str(Changes.between(before, stat_files(files))) == "2 new, 1 gone, 2 changed"
    assert str(Changes.between(before, before)) == "nothing changed"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 or not"])
def test_listing_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "listing.parquet").write_bytes(content)
    assert read_listing(tmp_path / "listing.parquet") == []
