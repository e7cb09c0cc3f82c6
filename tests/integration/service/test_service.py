"""``bentoml serve``: a real server on loopback, asked as people and programs ask it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from music_genre.cli.main import app
from music_genre.features.audio import decode
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle
from music_genre.service import schemas

pytestmark = pytest.mark.service

Ask = Callable[..., httpx.Response]

GENRES = ["Folk", "R&B", "Rock"]
SPOOLED = 2**20
"""Uploads above this leave memory for a temporary file."""


def threshold(folder: Path) -> float:
    """The least confidence of a sure answer, as validation has set it."""
    registered = json.loads((folder / "reports/registration.json").read_text())["model"]
    metrics = json.loads((folder / f"reports/evaluation/{registered}/metrics.json").read_text())
    return float(metrics["validation"]["confident_from"])


def asked_by_command(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["predict", "--json", *arguments])
    assert result.exit_code == 0
    answer: dict[str, Any] = json.loads(result.stdout)
    answer.pop("file")
    return answer


@pytest.mark.parametrize(("file", "kind"), [("music/Rock/1.mp3", "audio/mpeg"), ("music/Folk/2.wav", "audio/wav")])
def test_a_file_is_answered(checkout: Path, ask: Ask, file: str, kind: str) -> None:
    response = ask((checkout / file).read_bytes(), Path(file).name, kind)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"genre", "confidence", "confident", "probabilities", "seconds", "model"}
    assert list(answer["probabilities"]) == GENRES
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["confidence"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["genre"]]
    assert answer["confident"] is (answer["confidence"] >= threshold(checkout))
    assert answer["seconds"] == pytest.approx(3.8, abs=0.05)
    assert answer["model"] == {"name": "music-genre", "version": "1"}


def test_the_timeline_comes_when_it_is_asked_for(ask: Ask, song_wav: bytes) -> None:
    answer = ask(song_wav, timeline="true").json()
    segments = answer["segments"]
    assert set(segments[0]) == {"start_seconds", "end_seconds", "genre", "probabilities"}
    assert segments[0]["start_seconds"] == 0
    assert segments[-1]["end_seconds"] == pytest.approx(9, abs=0.01)
    for part in segments:
        assert list(part["probabilities"]) == GENRES
        assert part["genre"] == max(part["probabilities"], key=part["probabilities"].get)
    means = np.mean([list(part["probabilities"].values()) for part in segments], axis=0)
    np.testing.assert_allclose(list(answer["probabilities"].values()), means, atol=1e-5)
    for wanted in ("false", "", "no"):
        assert "segments" not in ask(song_wav, timeline=wanted).json()


@pytest.mark.parametrize("file", ["music/Rock/1.mp3", "music/R&B/2.wav"])
def test_the_service_answers_as_the_command_does(
    checkout: Path, ask: Ask, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ask((checkout / file).read_bytes()).json()
    answer.pop("model")
    expected = asked_by_command(checkout, monkeypatch, file)
    assert answer.pop("probabilities") == pytest.approx(expected.pop("probabilities"), abs=1e-5)
    assert answer.pop("confidence") == pytest.approx(expected.pop("confidence"), abs=1e-5)
    assert answer == expected


def test_a_songs_timeline_is_the_commands(
    checkout: Path,
    ask: Ask,
    song_wav: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "song.wav").write_bytes(song_wav)
    parts = ask(song_wav, timeline="true").json()["segments"]
    expected = asked_by_command(checkout, monkeypatch, "--timeline", str(tmp_path / "song.wav"))["segments"]
    for part, same in zip(parts, expected, strict=True):
        assert part.pop("probabilities") == pytest.approx(same.pop("probabilities"), abs=1e-5)
        assert part == same


def training_clips(checkout: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Training clips of every genre and file format: the file, and (64, 32) float16 dB as training read it."""
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet").query("split == 'training'")
    tracks = pd.read_parquet(checkout / "data/tracks.parquet").set_index("track_id")
    paths = index["track_id"].map(tracks["path"])
    for _, row in index.groupby(["genre", paths.str[-3:]]).head(1).iterrows():
        shard = np.load(checkout / "data/spectrograms" / row["shard"], mmap_mode="r")
        yield checkout / "data/raw" / tracks.loc[row["track_id"], "path"], shard[row["row"]]


def test_the_service_sees_what_training_saw(checkout: Path, model: ModelBundle) -> None:
    compared = 0
    for path, stored in training_clips(checkout):
        with path.open("rb") as upload:
            seen = extract_clip_batch(decode(upload, 901), model.manifest).mel
        assert seen.shape == (1, 64, 32)
        # float16 rounds 80 dB to 1/32 dB.
        np.testing.assert_allclose(seen[0], stored.astype(np.float32), atol=0.05)
        compared += 1
    assert compared == 6


def test_the_service_answers_a_training_clip_as_training_would(checkout: Path, ask: Ask, model: ModelBundle) -> None:
    answers, expected = [], []
    for path, stored in training_clips(checkout):
        answers.append(list(ask(path.read_bytes(), path.name).json()["probabilities"].values()))
        expected.append(model.predict(stored[None].astype(np.float32))[0])
    np.testing.assert_allclose(answers, expected, atol=0.01)
    assert np.ptp(expected, axis=0).max() > 0.3, "the model says the same of everything: the test shows nothing"


def test_a_large_song_of_many_clips_is_answered_whole_and_in_order(
    ask: Ask, model: ModelBundle, synth_tone: Callable[..., np.ndarray], encode_wav: Callable[..., bytes]
) -> None:
    # More clips than one forward pass takes, more bytes than an upload keeps in memory.
    content = encode_wav(np.concatenate([synth_tone(genre, number, 25.0) for number, genre in enumerate(GENRES * 2)]))
    assert len(content) > SPOOLED
    clips = extract_clip_batch(decode(io.BytesIO(content), 901), model.manifest)
    assert len(clips.mel) > 64
    segments = ask(content, timeline="true").json()["segments"]
    assert [part["start_seconds"] for part in segments] == pytest.approx(clips.start_seconds.tolist(), abs=1e-3)
    answers = [list(part["probabilities"].values()) for part in segments]
    np.testing.assert_allclose(answers, model.predict(clips.mel), atol=1e-4)


def test_requests_at_the_same_time_get_each_their_own_answer(checkout: Path, ask: Ask) -> None:
    files = [(checkout / f"music/{genre}/{number}").read_bytes() for genre in GENRES for number in ("1.mp3", "2.wav")]
    alone = [ask(content).json()["probabilities"] for content in files]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda content: ask(content).json()["probabilities"], files * 4))
    for answer, expected in zip(together, alone * 4, strict=True):
        assert answer == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["../../etc/passwd", "clip.txt", "a b.raw", "", "ロック.mp3"])
def test_a_files_name_and_stated_type_decide_nothing(checkout: Path, ask: Ask, name: str) -> None:
    content = (checkout / "music/Rock/1.mp3").read_bytes()
    response = ask(content, name or "x", "application/octet-stream")
    assert response.status_code == 200
    assert response.json() == ask(content).json()


def test_the_model_describes_itself(checkout: Path, server: httpx.Client, model: ModelBundle) -> None:
    response = server.get("/model")
    assert response.status_code == 200
    told = response.json()
    assert set(told) == {"name", "version", "genres", "transform", "metrics"}
    assert (told["name"], told["version"], told["genres"]) == ("music-genre", "1", GENRES)
    assert model.manifest.transform is not None
    assert told["transform"] == model.manifest.transform.model_dump()
    registered = json.loads((checkout / "reports/registration.json").read_text())["model"]
    metrics = json.loads((checkout / f"reports/evaluation/{registered}/metrics.json").read_text())
    assert told["metrics"]["validation_macro_f1"] == metrics["validation"]["macro_f1"]
    assert told["metrics"]["test_macro_f1"] == metrics["test"]["macro_f1"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json", "/model", "/"])
def test_the_pages_of_a_server_are_there(server: httpx.Client, path: str) -> None:
    assert server.get(path).status_code == 200


def test_the_api_is_documented(server: httpx.Client) -> None:
    paths = server.get("/docs.json").json()["paths"]
    assert "post" in paths["/predict"]
    assert "get" in paths["/model"]


def refused(response: httpx.Response, status: int, code: str) -> str:
    """The message of an answer that says why not."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code
    message: str = body["error"]["message"]
    assert message
    assert "\n" not in message
    return message


@pytest.mark.usefixtures("server_unaffected")
def test_a_file_of_no_bytes_is_empty(ask: Ask) -> None:
    refused(ask(b""), 422, "empty")


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize(
    "content",
    [
        b"This is no music. " * 100,
        b"\0" * 4096,
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"ID3\x04\0\0\0\0\0\x20" + b"\xff" * 99,
    ],
    ids=["text", "zeros", "half a header", "tags of an mp3"],
)
def test_what_is_no_audio_is_undecodable(ask: Ask, content: bytes) -> None:
    refused(ask(content), 422, "undecodable")


@pytest.mark.usefixtures("server_unaffected")
def test_silence_is_told(ask: Ask, encode_wav: Callable[..., bytes]) -> None:
    refused(ask(encode_wav(np.zeros(3 * 22_050))), 422, "silent")


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize("seconds", [0.05, 0.9])
def test_a_short_clip_is_told_how_long_it_must_be(
    ask: Ask, synth_tone: Callable[..., np.ndarray], encode_wav: Callable[..., bytes], seconds: float
) -> None:
    assert "at least 1 s" in refused(ask(encode_wav(synth_tone("Rock", 1, seconds))), 422, "too_short")


@pytest.mark.usefixtures("server_unaffected")
def test_a_long_recording_is_refused(ask: Ask, encode_wav: Callable[..., bytes]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4000 * 905).astype(np.float32)
    assert "900" in refused(ask(encode_wav(noise, 4000)), 413, "too_long")


@pytest.mark.usefixtures("server_unaffected")
def test_no_file_is_told(server: httpx.Client) -> None:
    message = refused(server.post("/predict", files={"timeline": (None, "true")}), 415, "unsupported")
    assert "audio" in message


@pytest.mark.usefixtures("server_unaffected")
def test_a_file_in_another_field_is_told(server: httpx.Client, song_wav: bytes) -> None:
    message = refused(server.post("/predict", files={"file": ("song.wav", song_wav, "audio/wav")}), 415, "unsupported")
    assert "audio" in message


@pytest.mark.usefixtures("server_unaffected")
def test_an_address_in_place_of_a_file_is_never_fetched(server: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        address = f"http://127.0.0.1:{bait.getsockname()[1]}/song.mp3"
        refused(server.post("/predict", files={"audio": (None, address)}), 415, "unsupported")
        bait.settimeout(0.3)
        with pytest.raises(TimeoutError):
            bait.accept()


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize("path", ["file:///etc/passwd", "/etc/passwd"])
def test_a_path_in_place_of_a_file_is_never_opened(server: httpx.Client, path: str) -> None:
    message = refused(server.post("/predict", files={"audio": (None, path)}), 415, "unsupported")
    assert "root" not in message


@pytest.mark.usefixtures("server_unaffected")
def test_two_files_are_refused(server: httpx.Client, song_wav: bytes) -> None:
    files = [("audio", ("a.wav", song_wav, "audio/wav")), ("audio", ("b.wav", song_wav, "audio/wav"))]
    refused(server.post("/predict", files=files), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_a_long_form_field_is_refused(ask: Ask, song_wav: bytes) -> None:
    refused(ask(song_wav, timeline="x" * 100_000), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize(
    "kind",
    [
        "audio/mpeg",
        "application/json",
        "application/x-www-form-urlencoded",
        "application/vnd.bentoml+pickle",
        "multipart/form-data",
        "multipart/form-data; boundary=other",
        None,
    ],
)
def test_a_body_that_is_no_form_is_refused(server: httpx.Client, song_wav: bytes, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    refused(server.post("/predict", content=song_wav, headers=headers), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_a_request_without_a_body_is_refused(server: httpx.Client) -> None:
    refused(server.post("/predict"), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_only_posts_are_answered(server: httpx.Client) -> None:
    assert refused(server.get("/predict"), 405, "not_allowed")


@pytest.mark.parametrize("path", ["/predicts", "/models/1", "/.env", "/static/../../etc/passwd"])
def test_an_unknown_path_is_told_as_every_error_is(server: httpx.Client, path: str) -> None:
    refused(server.get(path), 404, "not_found")


HEAD = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


@pytest.mark.usefixtures("server_unaffected")
def test_a_request_that_says_it_is_too_large_is_refused_before_it_is_sent(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", FORM)
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders(HEAD)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert response.status == 413
    assert body["error"]["code"] == "too_large"
    assert "50 MiB" in body["error"]["message"]


@pytest.mark.usefixtures("server_unaffected")
def test_a_request_that_hides_how_large_it_is_is_cut_off(port: int) -> None:
    connection, sent = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", FORM)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    piece = bytes(2**20)
    try:
        for part in (HEAD, *([piece] * 400)):
            connection.send(b"%x\r\n%s\r\n" % (len(part), part))
            sent += len(part)
    except OSError:
        pass  # the server has hung up, as it should
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert response.status == 413
    assert body["error"]["code"] == "too_large"


@pytest.mark.usefixtures("server_unaffected")
def test_a_client_that_goes_away_disturbs_nobody(port: int) -> None:
    for announced in (str(2 * len(HEAD)), str(10 * 2**20)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", FORM)
        connection.putheader("Content-Length", announced)
        connection.endheaders(HEAD)
        connection.close()


def test_without_a_champion_the_server_ends_with_one_line_that_says_what_to_do(
    server_without_champion: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, log = server_without_champion
    assert process.wait(40) == 1
    (reason,) = [line for line in log.read_text().splitlines() if "INFO" not in line]
    assert "music-genre has no champion" in reason
    assert "`dvc repro`" in reason
    assert "`music-genre promote`" in reason


EXAMPLE = Path(__file__).parents[3] / "examples/client.py"


def test_the_example_client_prints_each_answer_and_each_refusal(checkout: Path, port: int, tmp_path: Path) -> None:
    (tmp_path / "none.mp3").write_bytes(b"no music")
    asked = [str(checkout / "music/Rock/1.mp3"), str(tmp_path / "none.mp3"), str(checkout / "music/Folk/2.wav")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *asked, "--timeline", "--url", f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines if not line.startswith(" ")] == [asked[0], asked[2]]
    assert [line.strip().startswith("0.0 - ") for line in lines if line.startswith(" ")] == [True, True]
    assert done.stderr.splitlines() == [
        f"{asked[1]}: no audio that libsndfile can read: mp3, wav, flac, ogg, opus, au, aiff"
    ]
    assert done.returncode == 1


def test_the_documented_api_is_complete(server: httpx.Client) -> None:
    page = server.get("/docs.json").json()
    assert server.get("/openapi.json").json()["paths"]["/predict"] == page["paths"]["/predict"]
    asked = page["paths"]["/predict"]["post"]
    body = asked["requestBody"]["content"]["multipart/form-data"]
    form = body["schema"]
    assert (set(form["properties"]), form["required"]) == ({"audio", "timeline"}, ["audio"])
    assert [set(example["value"]) for example in body["examples"].values()] == [{"audio"}, {"audio", "timeline"}]
    assert set(asked["responses"]) == {"200", "401", "408", "413", "415", "422", "503"}
    for status, told in asked["responses"].items():
        content = told["content"]["application/json"]
        assert content["schema"]["$ref"].endswith("Answer" if status == "200" else "Refusal")
        assert status == "200" or set(content["example"]["error"]) == {"code", "message"}
    shapes = page["components"]["schemas"]
    assert all("examples" in shapes["Answer"]["properties"][name] for name in ("genre", "confidence", "probabilities"))


def test_what_the_api_says_fits_what_it_documents(
    checkout: Path, ask: Ask, server: httpx.Client, song_wav: bytes
) -> None:
    schemas.Answer.model_validate(ask(song_wav, timeline="true").json(), extra="forbid")
    schemas.Answer.model_validate(ask(song_wav).json(), extra="forbid")
    schemas.Description.model_validate(server.get("/model").json(), extra="forbid")
    schemas.Refusal.model_validate(ask(b"").json(), extra="forbid")
