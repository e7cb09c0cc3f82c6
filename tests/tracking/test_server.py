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
import numpy as np
import pytest
import requests

from music_genre.errors import MusicGenreError
from music_genre.evaluation.results import read_result
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.models.bundle import ModelBundle
from music_genre.models.packing import temporary_bundle
from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.registry.gate import GateResult
from music_genre.registry.versions import download_bundle, register, resolve
from music_genre.tracking.artifacts import log_card, log_evaluation
from music_genre.tracking.models import log_trained
from music_genre.tracking.provenance import RunProvenance
from music_genre.tracking.runs import best_effort_run, connect, find_run, run

PROVENANCE = RunProvenance("folder", "5d41402abc4b2a76b9719d911017c592.dir")


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
            str(folder / "artifacts"),
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
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        """End the server and its workers at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of this module; the last one kills it."""
    process = Server(tmp_path_factory.mktemp("server"))
    process.wait()
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def default_http_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what ``connect`` sets for the whole process."""
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def test_model_is_logged_registered_and_loaded_through_a_server(
    server: Server, trained_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    client, data = connect(tmp_path), SpectrogramStore.open(trained_checkout / "data/spectrograms")
    with run("baseline", {"seed": 7}, PROVENANCE):
        ref = log_trained(trained_checkout / "models", "baseline", data, PROVENANCE.data_digest)
    evaluation = trained_checkout / "reports/evaluation"
    log_evaluation(client, ref, evaluation / "baseline", data, PROVENANCE.data_digest)
    log_card(client, ref, "# card", "<h1>card</h1>")
    with temporary_bundle(trained_checkout / "models", "baseline", data) as bundle:
        digest = folder_sha256(bundle)
        assert find_run(client, digest) == ref
        gate = GateResult("baseline", [], [Criterion(CriterionName.DATA_QUALITY, True, True, True)])
        register(client, "remote", digest, ref, read_result(evaluation, "baseline"), gate, "# card")
        registered = ModelBundle(download_bundle(resolve(client, "remote", "champion")))
        clips = data.split("test").read(np.arange(2))
        inputs = {SPECTROGRAMS: clips}
        np.testing.assert_array_equal(registered.predict(inputs), ModelBundle(bundle).predict(inputs))
    artifacts = {item.path for item in client.list_artifacts(ref.run_id)}
    assert {"evaluation", "model_card.html"} <= artifacts
    assert client.get_run(ref.run_id).data.metrics["test_accuracy"] == 1.0
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlartifacts").exists()


def test_absent_server_is_reported_before_training(
    writable_checkout: Path, start_module: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(MusicGenreError, match=f"MLFLOW_TRACKING_URI names {uri}, where no server answers"):
        connect(writable_checkout)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    before = (writable_checkout / "models/crnn/model.keras").stat().st_mtime_ns
    completed = subprocess.run(
        [sys.executable, "-m", "music_genre.pipeline.train", "crnn"],
        cwd=writable_checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 1
    assert completed.stderr.splitlines()[-1].startswith(f"train: MLFLOW_TRACKING_URI names {uri}")
    assert (writable_checkout / "models/crnn/model.keras").stat().st_mtime_ns == before


def test_training_goes_on_where_the_server_is_killed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    connect(tmp_path)
    epochs = []
    with best_effort_run("crnn", {"seed": 7}, PROVENANCE) as logger:
        for epoch in range(4):
            if epoch == 2:
                server.kill()
            epochs.append(epoch)
            logger.log_epoch({"epoch": epoch, "loss": 1.0})
    assert epochs == [0, 1, 2, 3]
    message = capsys.readouterr().err
    assert message.count("The tracking store is lost") == 1
    assert "`music-genre register` logs what models/ holds" in message
    assert mlflow.active_run() is None
