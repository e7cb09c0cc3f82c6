"""Atomic writes, digests and disk space."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from music_genre.errors import MusicGenreError
from music_genre.files import (
    JsonLines,
    atomic_write,
    atomic_write_text,
    check_free_space,
    file_sha256,
    file_size,
    folder_sha256,
    read_csv,
    sha256,
    translate_disk_errors,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_atomic_write_replaces_the_file_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder/file.txt"
    atomic_write_text(path, "old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(path.parent) == {"file.txt"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_write_leaves_the_old_file_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == {"file.txt"}


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file.txt", "Björk\n")
    assert (tmp_path / "file.txt").read_bytes() == "Björk\n".encode()


def test_digests_are_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert sha256("con", b"tent") == file_sha256(tmp_path / "file") == expected


def test_folder_digest_changes_with_every_name_and_content(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> str:
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(content)
        return folder_sha256(tmp_path / name)

    first = make("first", {"a": "1", "b/c": "2"})
    assert make("same", {"b/c": "2", "a": "1"}) == first
    others = {make("content", {"a": "1", "b/c": "3"}), make("name", {"a": "1", "b/d": "2"}), make("fewer", {"a": "1"})}
    assert len(others | {first}) == 4


def test_too_little_space_is_refused_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    check_free_space(tmp_path / "file", 2_000_000)
    with pytest.raises(MusicGenreError, match=rf"file: needs 3\.00MB; {tmp_path} has 2\.00MB free"):
        check_free_space(tmp_path / "file", 3_000_000)


def test_disk_errors_become_one_line_about_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(MusicGenreError, match=r"archive\.zip: .*No space left.*run again"),
        translate_disk_errors(tmp_path / "archive.zip"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_size_of_a_missing_file_is_zero(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    assert (file_size(tmp_path / "file"), file_size(tmp_path / "none")) == (4, 0)


def test_text_of_a_table_stays_text_and_an_empty_number_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('genre,crnn,found,share\n1,007,3,0.5\nNA,None,4,\n"",nan,5,1\n', encoding="utf-8")
    table = read_csv(path, text=["crnn"])
    assert table["genre"].tolist() == ["1", "NA", ""]
    assert table["crnn"].tolist() == ["007", "None", "nan"]
    assert (table["found"].dtype, table["share"].isna().tolist()) == ("int64", [False, True, False])


def test_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("track_id,genre\n", encoding="utf-8")
    assert read_csv(tmp_path / "table.csv").columns.tolist() == ["track_id", "genre"]


def test_newest_value_of_a_name_is_read_and_torn_lines_are_left_out(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "cache/lines.jsonl")
    assert lines.read() == {}
    with lines.appending() as append:
        append("a", 1)
        append("b", [2, None])
    with lines.path.open("a", encoding="utf-8") as file:
        file.write('["a", 3')  # by a kill
    with lines.appending() as append:
        append("ü\u2028", {"x": 0.1})
        append("b", "new")
    assert lines.read() == {"a": 1, "b": "new", "ü\u2028": {"x": 0.1}}
