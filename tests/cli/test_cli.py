"""The ``music-genre`` command: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from music_genre import cli
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import ModelBundle
from music_genre.registry import versions as registry
from music_genre.tracking import runs as tracking

GENRES = ["Folk", "R&B", "Rock"]


@dataclass(frozen=True)
class Done:
    """A command that ran: its exit code and what it printed."""

    code: int
    out: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``music-genre <arguments>`` in the working directory, in this process: TensorFlow starts once."""

    def run(*arguments: object) -> Done:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def here(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is the checkout, which is only read."""
    monkeypatch.chdir(checkout)
    return checkout


@pytest.fixture(scope="module")
def song_wav(tmp_path_factory: pytest.TempPathFactory, synth_tone: Callable[..., np.ndarray]) -> Path:
    """9 s: a tone of Rock, then one of Folk."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, np.concatenate([synth_tone("Rock", 50, 4.5), synth_tone("Folk", 51, 4.5)]), 22_050)
    return path


def one_line_of_reason(done: Done) -> str:
    """The message of a command that failed for a reason it knows."""
    assert done.code == 1
    assert done.out == ""
    assert done.errors.count("\n") == 1, done.errors
    assert done.errors.startswith("music-genre: ")
    return done.errors


def test_help_answers_without_the_heavy_libraries() -> None:
    script = (
        "import sys\nfrom music_genre.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print('LOADED', *(n for n in ('tensorflow', 'keras', 'mlflow', 'librosa', 'pandas') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"
    for name in ("predict", "explain", "filters", "versions", "register", "promote", "rollback"):
        assert name in done.stdout


def test_the_installed_command_is_this_one() -> None:
    done = subprocess.run([Path(sys.executable).parent / "music-genre", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: music-genre" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("predict",),
        ("explain",),
        ("explain", "a.wav", "b.wav"),
        ("explain", "a.wav", "--out", "a.pdf"),
        ("filters", "crnn"),
        ("filters", "crnn", "conv1", "--out", "a.pdf"),
        ("filters", "crnn", "conv1", "--count", "0"),
        ("sing",),
        ("predict", "a.wav", "--loud"),
        ("predict", "a.wav", "--arrays", "a.npz", "--out", "a.csv"),
        ("predict", "--arrays", "a.npz"),
        ("predict", "--out", "a.csv"),
        ("predict", "a.wav", "--out", "a.csv"),
        ("predict", "--csv", "a.csv"),
        ("predict", "a.wav", "--csv", "a.csv", "--timeline"),
        ("predict", "--arrays", "a.npz", "--out", "b.csv", "--csv", "a.csv"),
        ("promote", "--force"),
        ("promote", "--reason", "because"),
        ("promote", "--version"),
        ("rollback", "3"),
        ("versions", "3"),
    ],
)
def test_wrong_usage_is_2_and_says_how(command: Command, here: Path, arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.errors.startswith("usage: music-genre")


@pytest.mark.parametrize("arguments", [("versions",), ("register",), ("promote",), ("rollback",), ("predict", "a.wav")])
def test_outside_a_checkout_one_line_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no dvc.yaml and params.yaml in {tmp_path}" in one_line_of_reason(command(*arguments))


def test_a_broken_params_file_is_told_in_one_line(command: Command, writable_checkout: Path) -> None:
    params = yaml.safe_load((writable_checkout / "params.yaml").read_text())
    params["registry"]["gate"]["macro_f1"] = 3
    (writable_checkout / "params.yaml").write_text(yaml.safe_dump(params))
    assert "registry.gate.macro_f1: found 3" in one_line_of_reason(command("versions"))


def test_it_works_in_any_folder_of_the_checkout(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "models/crnn")
    done = command("versions")
    assert done.code == 0
    assert "parallel" in done.out or "crnn" in done.out or "ensemble" in done.out
    assert not (here / "models/crnn/mlflow.db").exists()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, describe_project: Callable[[Path], None]) -> Path:
    """A fresh clone: nothing was ever made in it."""
    folder = tmp_path_factory.mktemp("clone")
    describe_project(folder)
    return folder


@pytest.fixture
def untrained(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(clone)
    return clone


def test_a_fresh_clone_has_no_versions_and_says_how_to_make_one(command: Command, untrained: Path) -> None:
    done = command("versions")
    assert done.code == 0
    assert "`dvc repro`" in done.out
    assert command("versions", "--json").out.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [("predict", "a.wav"), ("promote",), ("promote", "--version", "1"), ("rollback",), ("register",)],
    ids=" ".join,
)
def test_a_fresh_clone_can_do_nothing_else_and_says_so(
    command: Command, untrained: Path, arguments: tuple[str, ...]
) -> None:
    one_line_of_reason(command(*arguments))


def test_predicting_in_a_fresh_clone_says_what_to_do_first(command: Command, untrained: Path) -> None:
    assert "`dvc repro`" in one_line_of_reason(command("predict", "a.wav"))


def test_a_file_is_answered_by_genre_and_confidence(command: Command, here: Path) -> None:
    done = command("predict", "music/Rock/1.mp3")
    assert (done.code, done.errors) == (0, "")
    (line,) = done.lines
    assert line.startswith("music/Rock/1.mp3: ")
    assert line.split(": ")[1].split(" (")[0] in GENRES


@pytest.mark.parametrize("file", ["music/Rock/1.mp3", "music/Folk/2.wav"])
def test_json_gives_the_whole_answer_on_one_line(command: Command, here: Path, file: str) -> None:
    done = command("predict", "--json", file)
    assert (done.code, done.errors) == (0, "")
    answer = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert answer["file"] == file
    assert list(answer["probabilities"]) == GENRES
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["confidence"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["genre"]]
    assert answer["confident"] is (answer["confidence"] >= 0.5)
    assert answer["seconds"] == pytest.approx(3.8, abs=0.05)
    assert "segments" not in answer


def test_a_doubtful_answer_says_so(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sure = command("predict", "music/Rock/1.mp3").out
    monkeypatch.setattr("music_genre.inference.predictor.confident_from", lambda tags: 1.1)
    assert "not sure" in command("predict", "music/Rock/1.mp3").out
    monkeypatch.setattr("music_genre.inference.predictor.confident_from", lambda tags: 0.0)
    assert "not sure" not in command("predict", "music/Rock/1.mp3").out
    assert sure.startswith("music/Rock/1.mp3: ")


def test_the_timeline_answers_for_each_part(command: Command, here: Path, song_wav: Path) -> None:
    answer = json.loads(command("predict", song_wav, "--timeline", "--json").out)
    segments = answer["segments"]
    assert len(segments) > 2
    assert segments[0]["start_seconds"] == 0
    assert segments[-1]["end_seconds"] == pytest.approx(9, abs=0.01)
    assert all(list(part["probabilities"]) == GENRES for part in segments)
    means = np.mean([list(part["probabilities"].values()) for part in segments], axis=0)
    np.testing.assert_allclose(list(answer["probabilities"].values()), means, atol=1e-5)
    lines = command("predict", song_wav, "--timeline").lines
    assert len(lines) == 1 + len(segments)
    assert lines[0].startswith(f"{song_wav}: ")
    for line, part in zip(lines[1:], segments, strict=True):
        assert f"{part['start_seconds']:.1f} - {part['end_seconds']:.1f} s  {part['genre']}" in line


def test_a_file_that_is_missing_costs_one_line_and_the_others_are_answered(command: Command, here: Path) -> None:
    done = command("predict", "music/Rock/1.mp3", "nowhere.mp3", "music/Folk/0.wav", "--json")
    assert done.code == 1
    assert [json.loads(line)["file"] for line in done.lines] == ["music/Rock/1.mp3", "music/Folk/0.wav"]
    assert done.errors == "music-genre: nowhere.mp3: missing: no such file\n"


def test_a_folder_is_tagged_into_a_table_in_order_faults_and_all(
    command: Command, here: Path, tmp_path: Path, synth_tone: Callable[..., np.ndarray]
) -> None:
    folder = tmp_path / "music"
    (folder / "b/c").mkdir(parents=True)
    for name, genre in (("a.wav", "Rock"), ("b/c/d.WAV", "Folk"), ("z.flac", "R&B")):
        soundfile.write(folder / name, synth_tone(genre, 77, 3.8), 22_050)
    (folder / "b/torn.mp3").write_bytes(b"no music")
    (folder / "notes.txt").write_text("no music, and not said to be any")
    done = command("predict", folder, "music/Rock/1.mp3", tmp_path / "nowhere.mp3", "--csv", tmp_path / "out.csv")
    assert done.code == 0
    assert done.lines == [f"4 answers and 2 faults in {tmp_path / 'out.csv'}"]
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["file", "genre", "confidence", "confident", "seconds", "error", *GENRES]
    inside = [str(folder / name) for name in ("a.wav", "b/c/d.WAV", "b/torn.mp3", "z.flac")]
    assert table["file"].tolist() == [*inside, "music/Rock/1.mp3", str(tmp_path / "nowhere.mp3")]
    assert table["error"].isna().tolist() == [True, True, False, True, True, False]
    assert table["error"][2].startswith("undecodable: ")
    answered = table[table["error"].isna()]
    for row in answered.to_dict("records"):
        alone = json.loads(command("predict", row["file"], "--json").out)
        assert (row["genre"], row["confident"], row["seconds"]) == (
            alone["genre"],
            alone["confident"],
            alone["seconds"],
        )
        assert [row[genre] for genre in GENRES] == pytest.approx(list(alone["probabilities"].values()), abs=1e-6)


def test_a_table_that_cannot_be_written_is_told(command: Command, here: Path, tmp_path: Path) -> None:
    out = tmp_path / "nowhere/out.csv"
    assert str(out) in one_line_of_reason(command("predict", "music/Rock/1.mp3", "--csv", out))


def test_files_that_are_no_music_cost_a_line_each(
    command: Command, here: Path, tmp_path: Path, synth_tone: Callable[..., np.ndarray]
) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("This is no music. " * 50)
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * 22_050), 22_050)
    soundfile.write(tmp_path / "short.wav", synth_tone("Rock", 1, 0.5), 22_050)
    (tmp_path / "folder.wav").mkdir()
    names = ("empty.mp3", "text.mp3", "silent.wav", "short.wav", "folder.wav")
    done = command("predict", *(tmp_path / name for name in names), "music/Folk/0.wav")
    assert done.code == 1
    assert len(done.lines) == 1
    told = dict(zip(names, done.errors.splitlines(), strict=True))
    for name, reason in zip(names, ("empty", "undecodable", "silent", "too_short", "missing"), strict=True):
        assert told[name].startswith(f"music-genre: {tmp_path / name}: {reason}: ")


def test_a_version_is_asked_by_number_or_alias(command: Command, here: Path) -> None:
    answers = {
        which: json.loads(command("predict", "music/Rock/1.mp3", "--json", "--model", which).out)
        for which in ("champion", "challenger", "1")
    }
    assert answers["champion"] == answers["challenger"] == answers["1"]


def test_another_version_is_another_model(
    command: Command, writable_checkout: Path, synth_tone: Callable[..., np.ndarray]
) -> None:
    client = tracking.connect(writable_checkout)
    served = registry.versions(client, "music-genre")[0].model
    other = next(name for name in ("crnn", "parallel") if name != served)
    model_id = json.loads((writable_checkout / f"reports/runs/{other}.json").read_text())["model_id"]
    client.create_model_version("music-genre", f"models:/{model_id}", model_id=model_id)
    soundfile.write(writable_checkout / "a.wav", synth_tone("R&B", 70, 3.8), 22_050)
    first, second = (
        json.loads(command("predict", "a.wav", "--json", "--model", which).out)["probabilities"] for which in ("1", "2")
    )
    assert first != second


def test_a_trained_model_answers_before_it_is_registered(
    command: Command, writable_checkout: Path, synth_tone: Callable[..., np.ndarray]
) -> None:
    soundfile.write(writable_checkout / "a.wav", synth_tone("R&B", 70, 3.8), 22_050)
    served = registry.versions(tracking.connect(writable_checkout), "music-genre")[0].model
    first, second = (
        json.loads(command("predict", "a.wav", "--json", "--model", which).out)["probabilities"]
        for which in ("champion", served)
    )
    assert first == second
    shutil.rmtree(writable_checkout / "models/parallel")
    message = one_line_of_reason(command("predict", "a.wav", "--model", "ensemble"))
    assert "models/parallel" in message
    assert "`dvc repro`" in message


@pytest.mark.parametrize("which", ["7", "0", "newest", "champion@1"])
def test_a_version_that_is_not_there_is_told_in_one_line(command: Command, here: Path, which: str) -> None:
    message = one_line_of_reason(command("predict", "music/Rock/1.mp3", "--model", which))
    assert which in message
    assert "`music-genre versions`" in message or "`music-genre promote`" in message


@pytest.fixture(scope="module")
def clips(checkout: Path) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms (6, 64, 32) float32 dB and track ids of the test split."""
    test = SpectrogramStore.open(checkout / "data/spectrograms").split("test")
    return test.read(np.arange(len(test))), test.track_id


def expected_answers(folder: Path, mel: np.ndarray) -> np.ndarray:
    client = tracking.connect(folder)
    return ModelBundle(registry.packed_folder(registry.resolve(client, "music-genre", "champion"))).predict(mel)


def test_arrays_are_answered_in_a_table(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    mel, track_id = clips
    np.savez(tmp_path / "test.npz", mel=mel, track_id=track_id)
    done = command("predict", "--arrays", tmp_path / "test.npz", "--out", tmp_path / "answers.csv")
    assert (done.code, done.errors) == (0, "")
    with (tmp_path / "answers.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["track_id", "genre", *GENRES]
    table = pd.read_csv(tmp_path / "answers.csv")
    assert table["track_id"].tolist() == track_id.tolist()
    np.testing.assert_allclose(table[GENRES], expected_answers(here, mel), atol=1e-5)
    assert table["genre"].tolist() == table[GENRES].idxmax(axis=1).tolist()


@pytest.mark.parametrize(
    "labels", [np.array([0, 0, 1, 1, 2, 2]), np.eye(3)[[0, 0, 1, 1, 2, 2]]], ids=["numbers", "one-hot"]
)
def test_labels_in_arrays_change_nothing(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray], labels: np.ndarray
) -> None:
    mel, track_id = clips
    np.savez(tmp_path / "without.npz", mel=mel, track_id=track_id)
    np.savez(tmp_path / "with.npz", mel=mel, track_id=track_id, label=labels)
    for name in ("without", "with"):
        assert command("predict", "--arrays", tmp_path / f"{name}.npz", "--out", tmp_path / f"{name}.csv").code == 0
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_arrays_without_ids_are_counted_from_0(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez(tmp_path / "a.npz", clips[0])
    assert command("predict", "--arrays", tmp_path / "a.npz", "--out", tmp_path / "a.csv").code == 0
    assert pd.read_csv(tmp_path / "a.csv")["track_id"].tolist() == list(range(6))


def test_bytes_in_arrays_stand_for_decibels(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    stored = np.round((np.clip(clips[0], -80, 0) + 80) * 255 / 80).astype(np.uint8)
    np.savez(tmp_path / "a.npz", mel=stored)
    assert command("predict", "--arrays", tmp_path / "a.npz", "--out", tmp_path / "a.csv").code == 0
    wanted = expected_answers(here, stored.astype(np.float32) / 255 * 80 - 80)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "a.csv")[GENRES], wanted, atol=1e-4)


def test_more_arrays_than_one_forward_pass_keep_their_order(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    mel = np.tile(clips[0], (25, 1, 1))
    np.savez(tmp_path / "a.npz", mel=mel, track_id=np.arange(150) * 3)
    assert command("predict", "--arrays", tmp_path / "a.npz", "--out", tmp_path / "a.csv").code == 0
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["track_id"].tolist() == list(range(0, 450, 3))
    np.testing.assert_allclose(table[GENRES], np.tile(expected_answers(here, clips[0]), (25, 1)), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 64, 31), (4, 32, 64), (64, 32), (0, 64, 32), (4, 64, 32, 1)])
def test_arrays_of_another_shape_are_told_in_one_line(
    command: Command, here: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "a.npz", mel=np.zeros(shape, np.float32))
    message = one_line_of_reason(command("predict", "--arrays", tmp_path / "a.npz", "--out", tmp_path / "a.csv"))
    assert str(tmp_path / "a.npz") in message
    assert str(shape) in message or str(shape[1:]) in message
    assert not (tmp_path / "a.csv").exists()


def test_arrays_that_cannot_be_read_are_told_in_one_line(command: Command, here: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickled.npz", mel=np.array([{}], dtype=object))
    for name in ("missing.npz", "text.npz", "pickled.npz"):
        message = one_line_of_reason(command("predict", "--arrays", tmp_path / name, "--out", tmp_path / "a.csv"))
        assert name in message


def test_arrays_with_values_that_are_no_numbers_are_not_answered(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    mel = clips[0].copy()
    mel[2, 5, 5] = np.nan
    np.savez(tmp_path / "a.npz", mel=mel)
    one_line_of_reason(command("predict", "--arrays", tmp_path / "a.npz", "--out", tmp_path / "a.csv"))


def test_a_table_that_cannot_be_written_is_told_in_one_line(
    command: Command, here: Path, tmp_path: Path, clips: tuple[np.ndarray, np.ndarray]
) -> None:
    np.savez(tmp_path / "a.npz", mel=clips[0])
    out = tmp_path / "nowhere/a.csv"
    assert str(out) in one_line_of_reason(command("predict", "--arrays", tmp_path / "a.npz", "--out", out))


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_versions_are_listed_as_json(command: Command, here: Path) -> None:
    done = command("versions", "--json")
    assert (done.code, done.errors) == (0, "")
    (version,) = strict_json(done.out)
    assert list(version) == [
        "version",
        "aliases",
        "model",
        "validation_macro_f1",
        "test_macro_f1",
        "verdict",
        "created",
        "failed",
        "forced",
        "shadow",
    ]
    assert (version["version"], version["aliases"], version["verdict"]) == ("1", ["challenger", "champion"], "passed")
    metrics = json.loads((here / f"reports/evaluation/{version['model']}/metrics.json").read_text())
    assert version["validation_macro_f1"] == metrics["validation"]["macro_f1"]
    assert version["test_macro_f1"] == metrics["test"]["macro_f1"]
    age = pd.Timestamp.now("UTC") - pd.Timestamp(version["created"])
    assert pd.Timedelta(0) <= age < pd.Timedelta("1h")


def test_versions_are_listed_for_people(command: Command, here: Path) -> None:
    heading, line, _, _, reign = command("versions").lines
    assert heading.split()[:3] == ["version", "model", "verdict"]
    assert line.split()[0] == "1"
    assert line.endswith("challenger, champion")
    assert reign.split()[0] == "1"
    assert reign.endswith("now                        the first to pass the gate")


def register_by_hand(folder: Path) -> None:
    """What somebody may do in MLflow's own pages: a version that no gate has judged."""
    model_id = json.loads((folder / "reports/runs/crnn.json").read_text())["model_id"]
    tracking.connect(folder).create_model_version("music-genre", f"models:/{model_id}", model_id=model_id)


def test_a_version_registered_by_hand_is_listed_as_json_that_every_parser_reads(
    command: Command, writable_checkout: Path
) -> None:
    register_by_hand(writable_checkout)
    by_hand, _ = strict_json(command("versions", "--json").out)
    assert (by_hand["version"], by_hand["verdict"], by_hand["validation_macro_f1"]) == ("2", "unknown", None)


def test_a_version_registered_by_hand_is_listed_for_people(command: Command, writable_checkout: Path) -> None:
    register_by_hand(writable_checkout)
    done = command("versions")
    assert done.code == 0
    assert [line.split()[0] for line in done.lines[1:3]] == ["2", "1"]


def listed(command: Command) -> dict[str, list[str]]:
    return {version["version"]: version["aliases"] for version in json.loads(command("versions", "--json").out)}


def change_model(folder: Path) -> None:
    """Make another model of the one that is chosen: the ensemble's temperature, and it alone is the best."""
    path = folder / "models/ensemble/ensemble.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"temperature": values["temperature"] * 1.1}))


def judged(folder: Path, name: str, macro_f1: float) -> None:
    """Change what the evaluation said about a model on validation."""
    path = folder / f"reports/evaluation/{name}/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["validation"]["macro_f1"] = macro_f1
    path.write_text(json.dumps(metrics))


def set_gate(folder: Path, macro_f1: float) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["registry"]["gate"]["macro_f1"] = macro_f1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def all_judged(folder: Path, macro_f1: float) -> None:
    for name in ("crnn", "parallel", "ensemble"):
        judged(folder, name, macro_f1)


def test_registering_again_registers_nothing(command: Command, writable_checkout: Path) -> None:
    before = {path: path.read_bytes() for path in (writable_checkout / "models").rglob("run.json")}
    for _ in range(2):
        done = command("register")
        assert (done.code, done.errors) == (0, "")
        assert done.lines[0].startswith("music-genre version 1: ")
    assert listed(command) == {"1": ["challenger", "champion"]}
    assert {path: path.read_bytes() for path in (writable_checkout / "models").rglob("run.json")} == before
    client = tracking.connect(writable_checkout)
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4
    for run in runs:
        assert len(client.get_metric_history(run.info.run_id, "test_macro_f1")) == 1


@pytest.mark.parametrize(
    "lost",
    [
        "data/spectrograms/spectrogram.json",
        "models/crnn/model.keras",
        "models/ensemble/ensemble.json",
        "reports/evaluation/crnn/metrics.json",
        "reports/evaluation/crnn/predictions.csv",
        "reports/evaluation/comparison.csv",
        "reports/data_quality/summary.json",
    ],
)
def test_registering_what_dvc_has_not_made_yet_names_it(command: Command, writable_checkout: Path, lost: str) -> None:
    (writable_checkout / lost).unlink()
    message = one_line_of_reason(command("register"))
    assert str(Path(lost).parent) in message
    assert "`dvc repro`" in message


def test_a_refused_model_is_registered_without_an_alias_and_the_exit_code_is_1(
    command: Command, writable_checkout: Path
) -> None:
    all_judged(writable_checkout, 0.25)
    set_gate(writable_checkout, 0.6)
    client = tracking.connect(writable_checkout)
    client.delete_registered_model("music-genre")
    done = command("register")
    assert done.code == 1
    assert done.out == ""
    assert "refused version 1" in done.errors
    assert "validation_macro_f1 0.250, asked for 0.6" in done.errors
    assert listed(command) == {"1": []}
    written = json.loads((writable_checkout / "reports/registration.json").read_text())
    assert (written["version"], written["verdict"]) == ("1", "refused")
    assert [c["name"] for c in written["criteria"] if not c["passed"]] == ["validation_macro_f1"]
    assert "refused" in one_line_of_reason(command("promote", "--version", "1"))
    assert "no champion" in one_line_of_reason(command("predict", "music/Rock/1.mp3"))


def test_data_that_failed_its_checks_is_refused_by_name(command: Command, writable_checkout: Path) -> None:
    summary = writable_checkout / "reports/data_quality/summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"success": False}))
    done = command("register")
    assert done.code == 1
    assert "FAILED  data_quality False" in done.errors


def test_a_stage_that_is_refused_fails_too(writable_checkout: Path) -> None:
    from music_genre.pipeline import register

    set_gate(writable_checkout, 1.0)
    all_judged(writable_checkout, 0.9)
    with pytest.raises(SystemExit, match=r"FAILED  validation_macro_f1 0\.900"):
        register.main()
    assert json.loads((writable_checkout / "reports/gate.json").read_text())["criteria"][0]["passed"] is False


def test_an_experiment_registers_nothing(
    writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from music_genre.pipeline import register

    (writable_checkout / "reports/gate.json").unlink()
    (writable_checkout / "reports/registration.json").unlink()
    tracking.connect(writable_checkout).delete_registered_model("music-genre")
    monkeypatch.setenv("DVC_EXP_NAME", "sweep-1")
    register.main()
    assert "nothing is registered" in capsys.readouterr().out
    gate = json.loads((writable_checkout / "reports/gate.json").read_text())
    assert {"validation_macro_f1", "data_quality"} < {criterion["name"] for criterion in gate["criteria"]}
    assert not (writable_checkout / "reports/registration.json").exists()
    monkeypatch.delenv("DVC_EXP_NAME")
    assert listed(command) == {}


def second_version(folder: Path, command: Command) -> None:
    """Register the ensemble, by far the best and a little changed, as version 2."""
    change_model(folder)
    for name in ("crnn", "parallel"):
        predictions = folder / f"reports/evaluation/{name}/predictions.csv"
        table = pd.read_csv(predictions)
        table["predicted"] = table["actual"].map({"Folk": "Rock", "Rock": "R&B", "R&B": "Folk"})
        table.to_csv(predictions, index=False)
        judged(folder, name, 0.0)
    judged(folder, "ensemble", 0.9)
    predictions = folder / "reports/evaluation/ensemble/predictions.csv"
    table = pd.read_csv(predictions)
    table.assign(predicted=table["actual"]).to_csv(predictions, index=False)
    done = command("register")
    assert done.code == 0, done.errors
    assert done.lines[0] == "music-genre version 2: ensemble, passed"


def test_the_way_of_a_model_from_challenger_to_champion_and_back(command: Command, writable_checkout: Path) -> None:
    second_version(writable_checkout, command)
    assert listed(command) == {"1": ["champion"], "2": ["challenger"]}
    done = command("promote")
    assert (done.code, done.out) == (0, "music-genre version 2 is champion\n")
    assert listed(command) == {"1": [], "2": ["challenger", "champion"]}
    done = command("rollback")
    assert (done.code, done.out) == (0, "music-genre version 1 is champion again\n")
    assert listed(command) == {"1": ["champion"], "2": ["challenger"]}
    assert command("promote", "--version", "2").code == 0
    assert listed(command)["2"] == ["challenger", "champion"]


def test_a_refused_version_is_promoted_by_force_and_the_reason_is_kept(
    command: Command, writable_checkout: Path
) -> None:
    set_gate(writable_checkout, 1.0)
    change_model(writable_checkout)
    all_judged(writable_checkout, 0.5)
    register_by_hand(writable_checkout)
    message = one_line_of_reason(command("promote", "--version", "2"))
    assert "refused by the gate" in message
    assert "--force --reason" in message
    done = command("promote", "--version", "2", "--force", "--reason", "the demo is tonight")
    assert (done.code, done.out) == (0, "music-genre version 2 is champion\n")
    entries = registry.history(tracking.connect(writable_checkout), "music-genre")
    assert (entries[-1].version, entries[-1].reason) == ("2", "forced: the demo is tonight")


def test_promoting_and_rolling_back_what_is_not_there_is_told_in_one_line(
    command: Command, writable_checkout: Path
) -> None:
    assert "no version 9" in one_line_of_reason(command("promote", "--version", "9"))
    assert "no earlier champion" in one_line_of_reason(command("rollback"))
    assert listed(command) == {"1": ["challenger", "champion"]}


def test_a_store_whose_artifacts_are_gone_is_told_in_one_line(
    command: Command, writable_checkout: Path, synth_tone: Callable[..., np.ndarray]
) -> None:
    import sqlite3

    with sqlite3.connect(writable_checkout / "mlflow.db") as store:
        for table, column in (("logged_models", "artifact_location"), ("model_versions", "storage_location")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, '/mlartifacts/', '/lost/')")
    soundfile.write(writable_checkout / "a.wav", synth_tone("Rock", 1, 3), 22_050)
    assert "music-genre" in one_line_of_reason(command("predict", "a.wav"))


def test_explain_names_the_genre_and_draws_beside_the_file(here: Path, command: Command, song_wav: Path) -> None:
    predicted, done = command("predict", song_wav), command("explain", song_wav)
    assert done.code == 0
    assert done.lines[0] == predicted.lines[0].replace(", not sure", "")
    assert re.fullmatch(
        r"  \S+ to \S+ s, \d+ to \d+ Hz \(mel\) speaks most for .+ less likely without it", done.lines[1]
    )
    picture = song_wav.with_name("song.explained.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    first = picture.read_bytes()
    assert command("explain", song_wav).code == 0
    assert picture.read_bytes() == first
    picture.unlink()


def test_explain_says_in_one_line_why_it_cannot(here: Path, command: Command, song_wav: Path, tmp_path: Path) -> None:
    assert "no such file" in one_line_of_reason(command("explain", tmp_path / "lost.mp3"))
    (tmp_path / "noise.mp3").write_bytes(b"not audio at all" * 100)
    assert "undecodable" in one_line_of_reason(command("explain", tmp_path / "noise.mp3"))
    assert not list(tmp_path.glob("*.png"))
    assert "is no folder" in one_line_of_reason(command("explain", song_wav, "--out", tmp_path / "lost/a.png"))
    (tmp_path / "taken.png").mkdir()
    assert "cannot be written" in one_line_of_reason(command("explain", song_wav, "--out", tmp_path / "taken.png"))


def test_any_convolution_is_drawn_by_its_name(here: Path, command: Command, tmp_path: Path) -> None:
    done = command("filters", "parallel", "conv3", "--count", "2", "--out", tmp_path / "third.png")
    assert done.code == 0
    assert "2 of the 64 filters of conv3 of parallel" in done.lines[0]
    assert (tmp_path / "third.png").read_bytes().startswith(b"\x89PNG")


def test_filters_says_in_one_line_what_there_is_instead(here: Path, command: Command) -> None:
    assert "there are conv1, conv2, conv3" in one_line_of_reason(command("filters", "crnn", "conv9"))
    assert "there are crnn, parallel" in one_line_of_reason(command("filters", "baseline", "conv1"))
