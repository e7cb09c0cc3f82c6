"""``bentoml serve``: a real server on the loopback interface."""

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
from mlflow import MlflowClient
from typer.testing import CliRunner

from music_genre.audio.decoding import decode
from music_genre.audio.kinds import SUPPORTED_FORMATS
from music_genre.cli.main import app
from music_genre.features.params import SPECTROGRAMS
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle
from music_genre.service import schemas
from music_genre.service.explanation import occlude_deciding_clip
from music_genre.service.model_info import ModelInfo

pytestmark = pytest.mark.service

Predict = Callable[..., httpx.Response]

GENRES = ["Folk", "R&B", "Rock"]
SPOOLED_BYTES = 2**20  # larger uploads are written to a temporary file


def threshold(folder: Path) -> float:
    """The confidence threshold of the registered model, found on validation."""
    registered = json.loads((folder / "reports/registration.json").read_text())["model"]
    metrics = json.loads((folder / f"reports/evaluation/{registered}/metrics.json").read_text())
    return float(metrics["validation"]["confidence_threshold"])


def predict_by_command(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["predict", "--json", *arguments])
    assert result.exit_code == 0
    prediction: dict[str, Any] = json.loads(result.stdout)
    prediction.pop("file")
    return prediction


@pytest.mark.parametrize(
    ("file", "content_type"), [("music/Rock/1.mp3", "audio/mpeg"), ("music/Folk/2.wav", "audio/wav")]
)
def test_prediction_of_a_file(checkout: Path, predict: Predict, file: str, content_type: str) -> None:
    response = predict((checkout / file).read_bytes(), Path(file).name, content_type)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    prediction = response.json()
    assert list(prediction) == [
        "genre",
        "confidence",
        "confident",
        "probabilities",
        "duration_seconds",
        "model",
        "request_id",
    ]
    assert list(prediction["probabilities"]) == GENRES
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert prediction["confidence"] == max(prediction["probabilities"].values())
    assert prediction["confidence"] == prediction["probabilities"][prediction["genre"]]
    assert prediction["confident"] is (prediction["confidence"] >= threshold(checkout))
    assert prediction["duration_seconds"] == pytest.approx(3.8, abs=0.05)
    assert prediction["model"] == {"name": "music-genre", "version": "1"}
    assert prediction["request_id"] == response.headers["x-request-id"]


def test_timeline_has_the_prediction_of_each_segment(predict: Predict, song_wav: bytes) -> None:
    prediction = predict(song_wav, timeline="true").json()
    segments = prediction["segments"]
    fields = {"start_seconds", "end_seconds", "genre", "probabilities"}
    assert [set(segment) - fields for segment in segments] == [{"edge"}, *[set()] * (len(segments) - 2), {"edge"}]
    assert segments[0]["start_seconds"] == 0
    assert segments[-1]["end_seconds"] == pytest.approx(9, abs=0.01)
    for segment in segments:
        assert list(segment["probabilities"]) == GENRES
        assert segment["genre"] == max(segment["probabilities"], key=segment["probabilities"].get)
    assert prediction["probabilities"] == pytest.approx(predict(song_wav).json()["probabilities"], abs=1e-5)
    for value in ("false", "", "no"):
        assert "segments" not in predict(song_wav, timeline=value).json()


@pytest.mark.parametrize("file", ["music/Rock/1.mp3", "music/R&B/2.wav"])
def test_service_predicts_as_the_command_does(
    checkout: Path, predict: Predict, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = predict((checkout / file).read_bytes()).json()
    del prediction["model"], prediction["request_id"]
    expected = predict_by_command(checkout, monkeypatch, file)
    assert prediction.pop("probabilities") == pytest.approx(expected.pop("probabilities"), abs=1e-5)
    assert prediction.pop("confidence") == pytest.approx(expected.pop("confidence"), abs=1e-5)
    assert prediction == expected


@pytest.mark.parametrize("options", [(), ("--timeline",), ("--json", "--timeline")])
def test_command_gives_the_same_lines_with_a_server_and_without(
    checkout: Path, port: int, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ["predict", "music/Rock", "params.yaml", "none.mp3", *options]
    here, there = (
        CliRunner().invoke(app, [*arguments, *server]) for server in ([], ["--server", f"http://127.0.0.1:{port}"])
    )
    assert (here.exit_code, here.stderr) == (there.exit_code, there.stderr) == (3, here.stderr)
    lines, same = here.stdout.splitlines(), there.stdout.splitlines()
    assert len(lines) == len(same) > 9
    if "--json" not in options:
        assert lines == same
        return
    for line, other in zip(map(json.loads, lines), map(json.loads, same), strict=True):
        assert list(line) == list(other)
        assert line["file"] == other["file"]
        assert line["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_timeline_is_that_of_the_command(
    checkout: Path,
    predict: Predict,
    song_wav: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "song.wav").write_bytes(song_wav)
    segments = predict(song_wav, timeline="true").json()["segments"]
    expected = predict_by_command(checkout, monkeypatch, "--timeline", str(tmp_path / "song.wav"))["segments"]
    for segment, same in zip(segments, expected, strict=True):
        assert segment.pop("probabilities") == pytest.approx(same.pop("probabilities"), abs=1e-5)
        assert segment == same


def training_clips(checkout: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Training clips of every genre and file format: the file, and (64, 32) float16 dB that were trained on."""
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet").query("split == 'training'")
    tracks = pd.read_parquet(checkout / "data/tracks.parquet").set_index("track_id")
    paths = index["track_id"].map(tracks["path"])
    for _, row in index.groupby(["genre", paths.str[-3:]]).head(1).iterrows():
        shard = np.load(checkout / "data/spectrograms" / row["shard"], mmap_mode="r")
        yield checkout / "data/audio" / tracks.loc[row["track_id"], "path"], shard[row["row"]]


def test_features_of_the_service_are_those_of_training(checkout: Path, model: ModelBundle) -> None:
    n_compared = 0
    for path, stored in training_clips(checkout):
        with path.open("rb") as upload:
            mel = extract_clip_batch(decode(upload, 901), model.manifest).mel
        assert mel.shape == (1, 64, 32)
        # float16 rounds 80 dB to 1/32 dB.
        np.testing.assert_allclose(mel[0], stored.astype(np.float32), atol=0.05)
        n_compared += 1
    assert n_compared == 6


def test_prediction_of_a_training_clip_is_that_of_the_model(
    checkout: Path, predict: Predict, model: ModelBundle
) -> None:
    predictions, expected = [], []
    for path, stored in training_clips(checkout):
        predictions.append(list(predict(path.read_bytes(), path.name).json()["probabilities"].values()))
        expected.append(model.predict({SPECTROGRAMS: stored[None].astype(np.float32)})[0])
    np.testing.assert_allclose(predictions, expected, atol=0.01)
    assert np.ptp(expected, axis=0).max() > 0.3, "the model predicts the same for all clips: this test shows nothing"


def test_large_song_is_predicted_whole_and_in_order(
    predict: Predict, model: ModelBundle, synth_tone: Callable[..., np.ndarray], encode_wav: Callable[..., bytes]
) -> None:
    # More clips than one forward pass takes, more bytes than an upload keeps in memory.
    content = encode_wav(np.concatenate([synth_tone(genre, number, 25.0) for number, genre in enumerate(GENRES * 2)]))
    assert len(content) > SPOOLED_BYTES
    clips = extract_clip_batch(decode(io.BytesIO(content), 901), model.manifest, timeline=True)
    assert len(clips.mel) > 64
    assert clips.timeline is not None
    prediction = predict(content, timeline="true").json()
    mean = model.predict(clips.inputs(model.manifest)).mean(axis=0)
    np.testing.assert_allclose(list(prediction["probabilities"].values()), mean, atol=1e-4)
    starts = [segment["start_seconds"] for segment in prediction["segments"]]
    assert starts == pytest.approx(clips.timeline.start_seconds.tolist(), abs=1e-3)
    probabilities = [list(segment["probabilities"].values()) for segment in prediction["segments"]]
    np.testing.assert_allclose(probabilities, model.predict(clips.timeline.inputs), atol=1e-4)


def test_concurrent_requests_get_their_own_predictions(checkout: Path, predict: Predict) -> None:
    files = [(checkout / f"music/{genre}/{number}").read_bytes() for genre in GENRES for number in ("1.mp3", "2.wav")]
    alone = [predict(content).json()["probabilities"] for content in files]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda content: predict(content).json()["probabilities"], files * 4))
    for prediction, expected in zip(together, alone * 4, strict=True):
        assert prediction == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["../../etc/passwd", "clip.txt", "a b.raw", "", "ロック.mp3"])
def test_file_name_and_content_type_have_no_effect(checkout: Path, predict: Predict, name: str) -> None:
    content = (checkout / "music/Rock/1.mp3").read_bytes()
    response = predict(content, name or "x", "application/octet-stream")
    assert response.status_code == 200
    assert response.json()["probabilities"] == predict(content).json()["probabilities"]


def test_model_is_described(checkout: Path, server: httpx.Client, model: ModelBundle) -> None:
    response = server.get("/model")
    assert response.status_code == 200
    info = response.json()
    assert info["confidence_threshold"] == threshold(checkout)
    assert (info["data_source"], info["challenger"], info["card"]) == ("folder", None, True)
    assert (info["min_duration_seconds"], info["max_duration_seconds"]) == (1, 900)
    assert info["max_bytes"] == 50 * 2**20
    assert (info["name"], info["version"], info["genres"]) == ("music-genre", "1", GENRES)
    assert model.manifest.transform is not None
    assert info["transform"] == model.manifest.transform.model_dump()
    registered = json.loads((checkout / "reports/registration.json").read_text())["model"]
    metrics = json.loads((checkout / f"reports/evaluation/{registered}/metrics.json").read_text())
    assert info["metrics"]["validation_macro_f1"] == metrics["validation"]["macro_f1"]
    assert info["metrics"]["test_macro_f1"] == metrics["test"]["macro_f1"]


def test_model_card_is_that_of_the_registry(server: httpx.Client, client: MlflowClient) -> None:
    response = server.get("/model/card")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == client.get_model_version("music-genre", "1").description
    assert response.text.startswith("# music-genre: ")


def test_prediction_is_explained_where_that_is_asked_for(predict: Predict, song_wav: bytes, model: ModelBundle) -> None:
    prediction = predict(song_wav, explain="true").json()
    explanation = prediction["explanation"]
    assert explanation["genre"] == prediction["genre"]
    clips = extract_clip_batch(decode(io.BytesIO(song_wav), 901), model.manifest)
    occlusion = occlude_deciding_clip(clips, model.answer(clips.inputs(model.manifest)), model.manifest)
    expected = occlusion.format(model.answer(occlusion.inputs), model.manifest.genres)
    assert np.shape(explanation["drops"]) == (8, 4)
    np.testing.assert_allclose(explanation.pop("drops"), expected.pop("drops"), atol=1e-5)
    assert explanation.pop("probability") == pytest.approx(expected.pop("probability"), abs=1e-5)
    assert explanation == expected
    times = explanation["time_edges_seconds"]
    assert times[-1] - times[0] == pytest.approx(64 * 1024 / 22_050, abs=0.01)
    assert "explanation" not in predict(song_wav).json()


def test_no_challenger_is_compared_where_there_is_none(predict: Predict, rock_mp3: bytes) -> None:
    assert "challenger" not in predict(rock_mp3, compare="true").json()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json", "/docs", "/model", "/model/card", "/"])
def test_path_is_served(server: httpx.Client, path: str) -> None:
    assert server.get(path).status_code == 200


def test_api_is_documented(server: httpx.Client) -> None:
    paths = server.get("/docs.json").json()["paths"]
    assert "post" in paths["/predict"]
    assert "get" in paths["/model"]


def error_message(response: httpx.Response, status: int, code: str) -> str:
    """The message of an error response, whose format is checked."""
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
def test_file_without_bytes_is_empty(predict: Predict) -> None:
    error_message(predict(b""), 422, "empty")


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
def test_file_that_is_not_audio_is_undecodable(predict: Predict, content: bytes) -> None:
    error_message(predict(content), 422, "undecodable")


@pytest.mark.usefixtures("server_unaffected")
def test_silence_is_silent(predict: Predict, encode_wav: Callable[..., bytes]) -> None:
    error_message(predict(encode_wav(np.zeros(3 * 22_050))), 422, "silent")


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize("seconds", [0.05, 0.9])
def test_short_clip_is_too_short(
    predict: Predict, synth_tone: Callable[..., np.ndarray], encode_wav: Callable[..., bytes], seconds: float
) -> None:
    assert "the minimum duration is 1 s" in error_message(
        predict(encode_wav(synth_tone("Rock", 1, seconds))), 422, "too_short"
    )


@pytest.mark.usefixtures("server_unaffected")
def test_long_recording_is_too_long(predict: Predict, encode_wav: Callable[..., bytes]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4000 * 905).astype(np.float32)
    assert "900" in error_message(predict(encode_wav(noise, 4000)), 413, "too_long")


@pytest.mark.usefixtures("server_unaffected")
def test_form_without_file_is_unsupported(server: httpx.Client) -> None:
    message = error_message(server.post("/predict", files={"timeline": (None, "true")}), 415, "unsupported")
    assert "audio" in message


@pytest.mark.usefixtures("server_unaffected")
def test_file_in_another_field_is_unsupported(server: httpx.Client, song_wav: bytes) -> None:
    message = error_message(
        server.post("/predict", files={"file": ("song.wav", song_wav, "audio/wav")}), 415, "unsupported"
    )
    assert "audio" in message


@pytest.mark.usefixtures("server_unaffected")
def test_url_in_place_of_a_file_is_not_fetched(server: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/song.mp3"
        error_message(server.post("/predict", files={"audio": (None, address)}), 415, "unsupported")
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize("path", ["file:///etc/passwd", "/etc/passwd"])
def test_path_in_place_of_a_file_is_not_opened(server: httpx.Client, path: str) -> None:
    message = error_message(server.post("/predict", files={"audio": (None, path)}), 415, "unsupported")
    assert "root" not in message


@pytest.mark.usefixtures("server_unaffected")
def test_two_files_are_unsupported(server: httpx.Client, song_wav: bytes) -> None:
    files = [("audio", ("a.wav", song_wav, "audio/wav")), ("audio", ("b.wav", song_wav, "audio/wav"))]
    error_message(server.post("/predict", files=files), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_long_form_field_is_unsupported(predict: Predict, song_wav: bytes) -> None:
    error_message(predict(song_wav, timeline="x" * 100_000), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
@pytest.mark.parametrize(
    "content_type",
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
def test_body_that_is_not_a_form_is_unsupported(
    server: httpx.Client, song_wav: bytes, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    error_message(server.post("/predict", content=song_wav, headers=headers), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_request_without_body_is_unsupported(server: httpx.Client) -> None:
    error_message(server.post("/predict"), 415, "unsupported")


@pytest.mark.usefixtures("server_unaffected")
def test_other_method_is_not_allowed(server: httpx.Client) -> None:
    assert error_message(server.get("/predict"), 405, "not_allowed")


@pytest.mark.parametrize("path", ["/predicts", "/models/1", "/.env", "/static/../../etc/passwd"])
def test_unknown_path_is_not_found(server: httpx.Client, path: str) -> None:
    error_message(server.get(path), 404, "not_found")


HEAD = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


@pytest.mark.usefixtures("server_unaffected")
def test_request_with_a_large_content_length_is_refused_before_it_is_sent(port: int) -> None:
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
def test_request_without_content_length_is_refused_at_the_limit(port: int) -> None:
    connection, sent = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", FORM)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    chunk = bytes(2**20)
    try:
        for data in (HEAD, *([chunk] * 400)):
            connection.send(b"%x\r\n%s\r\n" % (len(data), data))
            sent += len(data)
    except OSError:
        pass  # the server has closed the connection
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert response.status == 413
    assert body["error"]["code"] == "too_large"


@pytest.mark.usefixtures("server_unaffected")
def test_disconnecting_client_has_no_effect(port: int) -> None:
    for content_length in (str(2 * len(HEAD)), str(10 * 2**20)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", FORM)
        connection.putheader("Content-Length", content_length)
        connection.endheaders(HEAD)
        connection.close()


def test_server_without_champion_ends_with_one_line_of_advice(
    server_without_champion: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, log = server_without_champion
    assert process.wait(40) == 1
    (reason,) = [line for line in log.read_text().splitlines() if "INFO" not in line]
    assert "music-genre has no champion" in reason
    assert "`dvc repro`" in reason
    assert "`music-genre promote`" in reason


EXAMPLE = Path(__file__).parents[3] / "examples/client.py"


def test_example_client_prints_each_prediction_and_each_error(checkout: Path, port: int, tmp_path: Path) -> None:
    (tmp_path / "none.mp3").write_bytes(b"no music")
    files = [str(checkout / "music/Rock/1.mp3"), str(tmp_path / "none.mp3"), str(checkout / "music/Folk/2.wav")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *files, "--timeline", "--url", f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines if not line.startswith(" ")] == [files[0], files[2]]
    assert [line.strip().startswith("0.0 - ") for line in lines if line.startswith(" ")] == [True, True]
    assert done.stderr.splitlines() == [f"{files[1]}: no recording, but text; known are {SUPPORTED_FORMATS}"]
    assert done.returncode == 1


def test_example_client_reports_a_missing_file_and_a_service_that_is_not_there(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "song.mp3").write_bytes(b"no music")
    files = [str(tmp_path / name) for name in ("missing.mp3", "song.mp3")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *files, "--url", f"http://127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == files


def test_documentation_of_the_api_is_complete(server: httpx.Client) -> None:
    page = server.get("/docs.json").json()
    assert server.get("/openapi.json").json()["paths"]["/predict"] == page["paths"]["/predict"]
    operation = page["paths"]["/predict"]["post"]
    body = operation["requestBody"]["content"]["multipart/form-data"]
    form = body["schema"]
    assert (set(form["properties"]), form["required"]) == ({"audio", "timeline", "compare", "explain"}, ["audio"])
    assert [set(example["value"]) for example in body["examples"].values()] == [{"audio"}, {"audio", "timeline"}]
    assert set(operation["responses"]) == {"200", "401", "408", "413", "415", "422", "503"}
    for status, response in operation["responses"].items():
        content = response["content"]["application/json"]
        assert content["schema"]["$ref"].endswith("Prediction" if status == "200" else "ErrorResponse")
        assert status == "200" or set(content["example"]["error"]) == {"code", "message"}
    properties = page["components"]["schemas"]["Prediction"]["properties"]
    assert all("examples" in properties[name] for name in ("genre", "confidence", "probabilities"))


def test_responses_match_their_documentation(
    checkout: Path, predict: Predict, server: httpx.Client, song_wav: bytes
) -> None:
    asked = {"timeline": "true", "explain": "true"}
    schemas.Prediction.model_validate(predict(song_wav, **asked).json(), extra="forbid")
    schemas.Prediction.model_validate(predict(song_wav).json(), extra="forbid")
    ModelInfo.model_validate(server.get("/model").json(), extra="forbid")
    schemas.ErrorResponse.model_validate(predict(b"").json(), extra="forbid")
