"""A folder of recordings: by its path, and by the url at which other machines find it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.audio.folder import AudioFolder
from music_genre.errors import AudioError

NAME = "rock/a song.flac"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    (folder / "rock").mkdir()
    soundfile.write(folder / NAME, np.random.default_rng(0).normal(0, 0.1, (16_000, 2)), 16_000)
    soundfile.write(folder / "song.mp3", np.random.default_rng(0).normal(0, 0.1, (16_000, 2)), 16_000)
    return folder


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[str]:
    """The folder's url on a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=path)) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.fixture(params=["path", "file", "http"])
def folder(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> AudioFolder:
    if request.param == "path":
        return AudioFolder(path)
    url = path.as_uri() if request.param == "file" else request.getfixturevalue("server")
    return AudioFolder(tmp_path / "not here", url)


@pytest.mark.parametrize("name", [NAME, "song.mp3"])
def test_recording_is_read_from_the_folder(folder: AudioFolder, path: Path, name: str) -> None:
    with folder.open(name) as file:
        samples = decode(file, 10).samples
    np.testing.assert_array_equal(samples, decode(path / name, 10).samples)
    assert len(samples) == pytest.approx(16_000, abs=1152)


def test_missing_file_is_unreadable_by_its_name(folder: AudioFolder) -> None:
    with pytest.raises(AudioError) as failed, folder.open("rock/none.mp3"):
        pass
    assert failed.value.reason == "unreadable"
    assert failed.value.detail.startswith("rock/none.mp3: ")
    assert len(failed.value.detail) > len("rock/none.mp3: ")


def test_server_that_does_not_answer_is_unreadable(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as server:
        port = server.server_port
    with pytest.raises(AudioError) as failed, AudioFolder(tmp_path, f"http://127.0.0.1:{port}").open("song.mp3"):
        pass
    assert failed.value.reason == "unreadable"
    assert failed.value.detail.startswith("song.mp3: ")


def test_slash_at_the_end_of_the_url_makes_no_difference(path: Path) -> None:
    with AudioFolder(path, path.as_uri() + "/").open("song.mp3") as file:
        assert file.read() == (path / "song.mp3").read_bytes()


def test_error_while_reading_is_unreadable(path: Path) -> None:
    with (
        pytest.raises(AudioError, match=r"unreadable: song\.mp3: Input/output error"),
        AudioFolder(path).open("song.mp3"),
    ):
        raise OSError(5, "Input/output error")


def test_refusal_of_a_recording_stays_what_it_is(folder: AudioFolder) -> None:
    with pytest.raises(AudioError, match="undecodable: no"), folder.open("song.mp3"):
        raise AudioError("undecodable", "no")
