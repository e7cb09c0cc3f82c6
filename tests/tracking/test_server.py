"""A real ``mlflow server`` on loopback: used, absent, and killed while a model is trained."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import requests

from music_genre.errors import MusicGenreError
from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.registry import versions as registry
from music_genre.registry.gate import Candidate, Criterion, GateResult
from music_genre.tracking import artifacts as completion
from music_genre.tracking import runs as tracking
from music_genre.tracking.provenance import Origin

ORIGIN = Origin("folder", "5d41402abc4b2a76b9719d911017c592.dir")


class Server:
    """``mlflow server`` with a store of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        store = [
            "--backend-store-uri",
            f"sqlite:///{folder}/server.db",
            "--artifacts-destination",
            str(folder / "kept"),
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        for _ in range(1200):
            try:
                requests.get(f"{self.uri}/health", timeout=5)
                return
            except requests.RequestException:
                assert self.process.poll() is None
                time.sleep(0.1)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        """With its workers, at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The last test here kills it."""
    process = Server(tmp_path_factory.mktemp("server"))
    process.wait()
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``connect`` sets for the whole process is put back."""
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def test_a_model_goes_through_a_server_from_its_run_to_its_answer(
    server: Server, trained_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    client, data = tracking.connect(tmp_path), SpectrogramStore.open(trained_checkout / "data/spectrograms")
    with tracking.run("baseline", {"seed": 7}, ORIGIN):
        pointer = tracking.log_trained(trained_checkout / "models", "baseline", data, ORIGIN.data)
    completion.log_evaluation(client, pointer, trained_checkout / "reports/evaluation/baseline", data, ORIGIN.data)
    completion.log_card(client, pointer, "# card", "<h1>card</h1>")
    with packed.temporary_bundle(trained_checkout / "models", "baseline", data) as folder:
        digest = packed.digest(folder)
        assert tracking.find(client, digest) == pointer
        passed = [Criterion("data_quality", True, True, True)]
        judged = GateResult(Candidate("baseline", 1, {"validation": {"macro_f1": 1.0}}, data.index), passed)
        registry.register(client, "remote", digest, pointer, judged, "# card")
        answer = packed.ModelBundle(registry.packed_folder(registry.resolve(client, "remote", "champion")))
        clips = data.split("test").read([0, 1])
        assert (answer.predict(clips) == packed.ModelBundle(folder).predict(clips)).all()
    kept = {item.path for item in client.list_artifacts(pointer.run_id)}
    assert {"evaluation", "per_class.json", "model_card.html"} <= kept
    assert client.get_run(pointer.run_id).data.metrics["test_accuracy"] == 1.0
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlartifacts").exists()


def test_a_server_that_is_not_there_is_told_before_training(
    writable_checkout: Path, start_module: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(MusicGenreError, match=f"MLFLOW_TRACKING_URI names {uri}, where no server answers"):
        tracking.connect(writable_checkout)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    before = (writable_checkout / "models/crnn/model.keras").stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "-m", "music_genre.pipeline.train", "crnn"],
        cwd=writable_checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"train: MLFLOW_TRACKING_URI names {uri}")
    assert (writable_checkout / "models/crnn/model.keras").stat().st_mtime_ns == before


def test_a_server_that_is_killed_costs_no_model_and_the_message_says_how_to_go_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    tracking.connect(tmp_path)
    epochs = []
    with tracking.recorded_run("crnn", {"seed": 7}, ORIGIN) as record:
        for epoch in range(4):
            if epoch == 2:
                server.kill()
            epochs.append(epoch)
            record(lambda row={"epoch": epoch, "loss": 1.0}: tracking.log_epoch(row))
    assert epochs == [0, 1, 2, 3]
    told = capsys.readouterr().err
    assert told.count("The tracking store is lost") == 1
    assert "`music-genre register` records what models/ holds" in told
    assert mlflow.active_run() is None
