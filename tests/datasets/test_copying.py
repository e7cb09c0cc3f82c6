"""The pipeline's own copy of the user's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from music_genre.datasets.copying import MANIFEST, read_manifest, update_copy
from music_genre.datasets.listing import stat_files
from music_genre.errors import MusicGenreError
from music_genre.files import file_sha256


class Collection:
    """A user's folder and the pipeline's copy of it."""

    def __init__(self, folder: Path) -> None:
        self.music, self.audio, self.cache = folder / "music", folder / "audio", folder / "cache"

    def write(self, **contents: str) -> None:
        for name, content in contents.items():
            self.music.mkdir(exist_ok=True)
            (self.music / f"{name}.mp3").write_text(content, encoding="utf-8")

    def update(self) -> None:
        files = {f"folder/{path.name}": path for path in self.music.iterdir()}
        update_copy(self.audio, stat_files(files), self.cache, list, [])

    def copied(self) -> dict[str, str]:
        return {path.stem: path.read_text(encoding="utf-8") for path in self.audio.rglob("*.mp3")}

    def inodes(self) -> dict[str, int]:
        return {path.stem: path.stat().st_ino for path in self.audio.rglob("*.mp3")}


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection(tmp_path)
    collection.write(a="first", b="second", c="third")
    collection.update()
    return collection


def state(folder: Path) -> dict[str, Any]:
    """Everything of the user's files that must not change."""
    return {
        path.name: (status.st_mode, status.st_ino, status.st_nlink, status.st_mtime_ns, path.read_bytes())
        for path in sorted(folder.iterdir())
        for status in [path.stat()]
    }


def test_files_are_copied_as_bytes_and_never_linked(tmp_path: Path) -> None:
    collection = Collection(tmp_path)
    collection.write(a="first")
    before = state(collection.music)
    collection.update()
    copy = collection.audio / "folder/a.mp3"
    assert copy.read_bytes() == b"first"
    assert copy.stat().st_nlink == 1
    assert not copy.is_symlink()
    assert state(collection.music) == before
    assert read_manifest(collection.audio)["folder/a.mp3"] == (5, file_sha256(copy))


def test_only_new_and_changed_files_are_copied(collection: Collection) -> None:
    before = collection.inodes()
    collection.write(b="changed", d="new")
    (collection.music / "c.mp3").unlink()
    collection.update()
    assert collection.copied() == {"a": "first", "b": "changed", "d": "new"}
    assert collection.inodes()["a"] == before["a"]
    assert read_manifest(collection.audio).keys() == {"folder/a.mp3", "folder/b.mp3", "folder/d.mp3"}


def test_file_with_a_new_date_and_the_same_bytes_keeps_its_copy(collection: Collection) -> None:
    before, manifest = collection.inodes(), (collection.audio / MANIFEST).read_bytes()
    os.utime(collection.music / "a.mp3", (1, 1))
    collection.update()
    assert collection.inodes() == before
    assert (collection.audio / MANIFEST).read_bytes() == manifest


def test_copy_that_dvc_made_read_only_is_replaced(collection: Collection, tmp_path: Path) -> None:
    # As with `cache.type = hardlink`: writing into the file would change DVC's cache.
    copy = collection.audio / "folder/a.mp3"
    os.link(copy, tmp_path / "cached")
    copy.chmod(0o444)
    collection.write(a="changed")
    collection.update()
    assert collection.copied()["a"] == "changed"
    assert (tmp_path / "cached").read_bytes() == b"first"


def test_lost_copy_is_copied_again(collection: Collection) -> None:
    (collection.audio / "folder/a.mp3").unlink()
    collection.update()
    assert collection.copied() == {"a": "first", "b": "second", "c": "third"}


def test_copy_of_another_version_is_replaced(collection: Collection) -> None:
    # As after `dvc checkout` of an older commit, whose manifest says what lies there.
    manifest = collection.audio / MANIFEST
    (collection.audio / "folder/a.mp3").write_text("older", encoding="utf-8")
    older = file_sha256(collection.audio / "folder/a.mp3")
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace(file_sha256(collection.music / "a.mp3"), older), encoding="utf-8"
    )
    collection.update()
    assert collection.copied()["a"] == "first"


def test_file_that_the_pipeline_did_not_put_there_is_refused_and_stays(collection: Collection) -> None:
    mine = collection.audio / "my only copy.mp3"
    mine.write_text("precious", encoding="utf-8")
    collection.write(d="new")
    with pytest.raises(MusicGenreError, match=r"holds 1 files that it did not put there: 'my only copy.mp3'; move"):
        collection.update()
    assert mine.read_text(encoding="utf-8") == "precious"
    assert "d" not in collection.copied()


def test_interrupted_copy_goes_on_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Collection(tmp_path)
    collection.write(a="first", b="second", c="third")
    replace, count = Path.replace, 0

    def interrupt(self: Path, target: Path) -> Path:
        nonlocal count
        count += self.suffix == ".partial"
        if count == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            collection.update()
    assert collection.copied() == {"a": "first", "b": "second"}
    before = collection.inodes()
    collection.update()
    assert collection.copied() == {"a": "first", "b": "second", "c": "third"}
    assert {name: collection.inodes()[name] for name in before} == before
    assert not list(collection.audio.rglob("*.partial"))


def test_downloads_replace_former_ones(tmp_path: Path) -> None:
    audio = tmp_path / "audio"

    def download(*names: str) -> list[str]:
        for name in names:
            (audio / "fma").mkdir(exist_ok=True)
            (audio / name).write_text(name, encoding="utf-8")
        return list(names)

    update_copy(audio, [], tmp_path / "cache", lambda: download("fma/a.mp3", "fma/b.mp3"), ["fma/"])
    update_copy(audio, [], tmp_path / "cache", lambda: download("fma/b.mp3", "fma/c.mp3"), ["fma/"])
    assert {path.name for path in audio.rglob("*.mp3")} == {"b.mp3", "c.mp3"}
    assert read_manifest(audio).keys() == {"fma/b.mp3", "fma/c.mp3"}


@pytest.mark.parametrize("kept", [["sample/0.mp3"], []])
def test_what_an_interrupted_download_left_is_removed_by_the_next_run(tmp_path: Path, kept: list[str]) -> None:
    audio, cache = tmp_path / "audio", tmp_path / "cache"

    def write(*names: str) -> list[str]:
        for name in names:
            (audio / name).parent.mkdir(exist_ok=True)
            (audio / name).touch()
        return list(names)

    def interrupted() -> list[str]:
        write("sample/0.mp3", "sample/1.mp3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_copy(audio, [], cache, interrupted, ["sample/"])
    for _ in range(2):
        update_copy(audio, [], cache, lambda: write(*kept), ["sample/"] if kept else [])
        assert [path.relative_to(audio).as_posix() for path in audio.rglob("*.mp3")] == kept


@pytest.mark.parametrize("name", ["../precious.mp3", "folder/../../precious.mp3", "{root}/precious.mp3", "../music/"])
def test_manifest_that_names_files_outside_is_refused(collection: Collection, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious.mp3").write_text("precious", encoding="utf-8")
    with (collection.audio / MANIFEST).open("a", encoding="utf-8") as manifest:
        manifest.write(f"{name.format(root=tmp_path)},8,\n")
    with pytest.raises(MusicGenreError, match="which lies outside"):
        collection.update()
    assert (tmp_path / "precious.mp3").is_file()
