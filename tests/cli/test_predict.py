"""``music-genre predict FILE|FOLDER...``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.inference.predictor import CONFIDENCE_THRESHOLD_TAG
from music_genre.registry.listing import list_versions
from music_genre.tracking import runs

Command = Callable[..., Any]
SynthTone = Callable[..., np.ndarray]

GENRES = ["Folk", "R&B", "Rock"]


def test_file_is_predicted_with_genre_and_confidence(command: Command, in_checkout: Path) -> None:
    predicted = command("predict", "music/Rock/1.mp3")
    assert (predicted.code, predicted.err) == (0, "")
    match = re.fullmatch(r"music/Rock/1\.mp3: (.+) \(\d+%(, low confidence)?\)\n", predicted.out)
    assert match
    assert match[1] in GENRES


@pytest.mark.parametrize("file", ["music/Rock/1.mp3", "music/Folk/2.wav"])
def test_json_is_one_object_on_one_line(command: Command, in_checkout: Path, file: str) -> None:
    predicted = command("predict", "--json", file)
    assert (predicted.code, predicted.err) == (0, "")
    (line,) = predicted.lines
    prediction = json.loads(line)
    assert prediction["file"] == file
    assert list(prediction["probabilities"]) == GENRES
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert prediction["confidence"] == max(prediction["probabilities"].values())
    assert prediction["confidence"] == prediction["probabilities"][prediction["genre"]]
    assert prediction["duration_seconds"] == pytest.approx(3.8, abs=0.05)
    assert "segments" not in prediction


@pytest.mark.parametrize(("threshold", "confident"), [("1.1", False), ("0.0", True)])
def test_confidence_below_the_versions_threshold_is_low(
    command: Command, writable_checkout: Path, synth_tone: SynthTone, threshold: str, confident: bool
) -> None:
    client = runs.connect(writable_checkout)
    client.set_model_version_tag("music-genre", "1", CONFIDENCE_THRESHOLD_TAG, threshold)
    soundfile.write(writable_checkout / "a.wav", synth_tone("Rock", 1, 3.8), 22_050)
    assert ("low confidence" in command("predict", "a.wav").out) is not confident
    assert json.loads(command("predict", "a.wav", "--json").out)["confident"] is confident


def test_timeline_predicts_each_segment(command: Command, in_checkout: Path, song_wav: Path) -> None:
    prediction = json.loads(command("predict", song_wav, "--timeline", "--json").out)
    segments = prediction["segments"]
    assert len(segments) > 2
    assert segments[0]["start_seconds"] == 0
    assert segments[-1]["end_seconds"] == pytest.approx(9, abs=0.01)
    assert all(list(segment["probabilities"]) == GENRES for segment in segments)
    assert [segment.get("edge", False) for segment in segments] == [True, *[False] * (len(segments) - 2), True]
    lines = command("predict", song_wav, "--timeline").lines
    assert len(lines) == 1 + len(segments)
    assert lines[0].startswith(f"{song_wav}: ")
    for line, segment in zip(lines[1:], segments, strict=True):
        assert f"{segment['start_seconds']:.1f} - {segment['end_seconds']:.1f} s  {segment['genre']}" in line


def test_missing_file_of_several_exits_with_3_and_the_others_are_predicted(command: Command, in_checkout: Path) -> None:
    predicted = command("predict", "music/Rock/1.mp3", "nowhere.mp3", "music/Folk/0.wav", "--json")
    assert predicted.code == 3
    assert [json.loads(line)["file"] for line in predicted.lines] == ["music/Rock/1.mp3", "music/Folk/0.wav"]
    assert predicted.err == "music-genre: nowhere.mp3: missing: no such file\n"


def test_unusable_files_are_one_line_each(
    command: Command, in_checkout: Path, tmp_path: Path, synth_tone: SynthTone
) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("This is no music. " * 50)
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * 22_050), 22_050)
    soundfile.write(tmp_path / "short.wav", synth_tone("Rock", 1, 0.5), 22_050)
    (tmp_path / "folder.wav").mkdir()
    names = ("empty.mp3", "text.mp3", "silent.wav", "short.wav", "folder.wav")
    predicted = command("predict", *(tmp_path / name for name in names), "music/Folk/0.wav")
    assert predicted.code == 3
    assert len(predicted.lines) == 1
    errors = dict(zip(names, predicted.err.splitlines(), strict=True))
    for name, reason in zip(names, ("empty", "undecodable", "silent", "short", "missing"), strict=True):
        assert errors[name].startswith(f"music-genre: {tmp_path / name}: {reason}: ")


def test_only_file_that_is_unusable_exits_with_1(command: Command, in_checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"no music")
    assert "a.mp3: undecodable: " in command("predict", tmp_path / "a.mp3").reason
    assert "nowhere.mp3: missing: " in command("predict", "nowhere.mp3").reason
    (tmp_path / "folder").mkdir()
    assert "no audio files in this folder" in command("predict", tmp_path / "folder").reason


def test_folder_with_a_file_that_is_unusable_exits_with_3(command: Command, in_checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"no music")
    assert command("predict", tmp_path).code == 3


def test_file_names_that_are_not_text_are_escaped(
    command: Command, in_checkout: Path, tmp_path: Path, synth_tone: SynthTone
) -> None:
    soundfile.write(tmp_path / "a.wav", synth_tone("Rock", 1, 3.8), 22_050)
    path = (tmp_path / "a.wav").rename(tmp_path / "\udcff.wav")
    predicted = command("predict", path)
    assert (predicted.code, predicted.err) == (0, "")
    assert "\\udcff.wav: " in predicted.out


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory, synth_tone: SynthTone) -> Path:
    """A folder of three audio files in two folders, one broken audio file and a text."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "b/c").mkdir(parents=True)
    for name, genre in (("a.wav", "Rock"), ("b/c/d.WAV", "Folk"), ("z.flac", "R&B")):
        soundfile.write(folder / name, synth_tone(genre, 77, 3.8), 22_050)
    (folder / "b/torn.mp3").write_bytes(b"no music")
    (folder / "notes.txt").write_text("not named like audio")
    return folder


def test_output_is_a_table_with_a_row_a_file_in_order(
    command: Command, in_checkout: Path, tmp_path: Path, music: Path
) -> None:
    output = tmp_path / "out.csv"
    written = command("predict", music, "music/Rock/1.mp3", tmp_path / "nowhere.mp3", "--output", output)
    assert written.code == 3
    assert written.out == f"4 predictions, 2 errors written to {output}\n"
    assert written.err.endswith(f"music-genre: 2 of 6 files have no prediction; see {output}\n")
    table = pd.read_csv(output)
    assert list(table) == ["file", "genre", "confidence", "confident", "duration_seconds", "notes", "error", *GENRES]
    inside = [str(music / name) for name in ("a.wav", "b/c/d.WAV", "b/torn.mp3", "z.flac")]
    assert table["file"].tolist() == [*inside, "music/Rock/1.mp3", str(tmp_path / "nowhere.mp3")]
    assert table["error"].isna().tolist() == [True, True, False, True, True, False]
    assert table["error"][2].startswith("undecodable: ")
    for row in table[table["error"].isna()].to_dict("records"):
        alone = json.loads(command("predict", row["file"], "--json").out)
        assert [row[key] for key in ("genre", "confident", "duration_seconds")] == [
            alone[key] for key in ("genre", "confident", "duration_seconds")
        ]
        assert [row[genre] for genre in GENRES] == pytest.approx(list(alone["probabilities"].values()), abs=1e-6)


def test_json_output_has_predictions_and_errors(
    command: Command, in_checkout: Path, tmp_path: Path, music: Path
) -> None:
    output = tmp_path / "out.jsonl"
    written = command("predict", music, "--json", "--timeline", "--output", output)
    assert written.code == 3
    assert written.out == f"3 predictions, 1 errors written to {output}\n"
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["a.wav", "d.WAV", "torn.mp3", "z.flac"]
    assert set(rows[2]) == {"file", "error"}
    for row in (rows[0], rows[1], rows[3]):
        printed = command("predict", row["file"], "--json", "--timeline").out
        assert row == json.loads(printed)


def test_output_without_errors_exits_with_0(command: Command, in_checkout: Path, tmp_path: Path) -> None:
    written = command("predict", "music/Rock/1.mp3", "music/Folk/0.wav", "--output", tmp_path / "out.csv")
    assert written.code == 0
    assert written.out.startswith("2 predictions, 0 errors written to ")


def test_output_that_cannot_be_written_is_one_line(command: Command, in_checkout: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "nowhere/out.csv", tmp_path):
        assert f"{output} cannot be written" in command("predict", "music/Rock/1.mp3", "--output", output).reason


def test_in_a_fresh_clone_the_reason_says_how_to_train(command: Command, in_clone: Path, song_wav: Path) -> None:
    assert "`dvc repro`" in command("predict", song_wav).reason
    assert "`dvc repro`" in command("predict", song_wav, "--model", "crnn").reason


def test_version_is_chosen_by_number_or_alias(command: Command, in_checkout: Path) -> None:
    champion, challenger, first = (
        json.loads(command("predict", "music/Rock/1.mp3", "--json", "--model", which).out)
        for which in ("champion", "challenger", "1")
    )
    assert champion == challenger == first


def probabilities(command: Command, file: str, model: str) -> dict[str, float]:
    prediction = json.loads(command("predict", file, "--json", "--model", model).out)
    values: dict[str, float] = prediction["probabilities"]
    return values


def test_another_version_is_another_model(command: Command, writable_checkout: Path, synth_tone: SynthTone) -> None:
    client = runs.connect(writable_checkout)
    served = list_versions(client, "music-genre")[0].model
    other = next(name for name in ("crnn", "parallel") if name != served)
    model_id = json.loads((writable_checkout / f"reports/runs/{other}.json").read_text())["model_id"]
    client.create_model_version("music-genre", f"models:/{model_id}", model_id=model_id)
    soundfile.write(writable_checkout / "a.wav", synth_tone("R&B", 70, 3.8), 22_050)
    assert probabilities(command, "a.wav", "1") != probabilities(command, "a.wav", "2")


def test_trained_model_is_chosen_by_name(command: Command, writable_checkout: Path, synth_tone: SynthTone) -> None:
    soundfile.write(writable_checkout / "a.wav", synth_tone("R&B", 70, 3.8), 22_050)
    served = list_versions(runs.connect(writable_checkout), "music-genre")[0].model
    assert probabilities(command, "a.wav", "champion") == probabilities(command, "a.wav", served)
    shutil.rmtree(writable_checkout / "models/parallel")
    reason = command("predict", "a.wav", "--model", "ensemble").reason
    assert "models/parallel" in reason
    assert "`dvc repro`" in reason


@pytest.mark.parametrize("which", ["7", "0", "newest", "champion@1"])
def test_unknown_version_is_one_line(command: Command, in_checkout: Path, which: str) -> None:
    reason = command("predict", "music/Rock/1.mp3", "--model", which).reason
    assert which in reason
    assert "`music-genre versions`" in reason or "`music-genre promote`" in reason


def test_lost_artifacts_are_one_line(command: Command, writable_checkout: Path, synth_tone: SynthTone) -> None:
    import sqlite3

    with sqlite3.connect(writable_checkout / "mlflow.db") as store:
        for table, column in (("logged_models", "artifact_location"), ("model_versions", "storage_location")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, '/mlartifacts/', '/lost/')")
    soundfile.write(writable_checkout / "a.wav", synth_tone("Rock", 1, 3), 22_050)
    assert "music-genre version 1" in command("predict", "a.wav").reason


@pytest.mark.parametrize("which", ["crn", "latest", ""])
def test_unknown_model_is_refused_with_those_that_there_are(command: Command, in_checkout: Path, which: str) -> None:
    reason = command("predict", "music/Rock/1.mp3", "--model", which).reason
    assert f"no model {which!r}; there are champion, challenger, the numbers" in reason
    assert "baseline, crnn, parallel, ensemble" in reason
