"""A model as it travels: one folder that says everything, the same wherever it is packed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np
import pandas as pd
import pytest

from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.models.baseline import load as load_baseline
from music_genre.models.bundle import (
    ModelBundle,
    Share,
    digest,
    load_predictor,
    read_manifest,
    temporary_bundle,
    write_ensemble,
)

MEMBERS = ("crnn", "parallel")


@pytest.fixture(scope="module")
def data(checkout: Path) -> SpectrogramStore:
    return SpectrogramStore.open(checkout / "data/spectrograms")


@pytest.fixture(scope="module")
def mel(data: SpectrogramStore) -> np.ndarray:
    """(6, frames, n_mels) dB of the test split."""
    test = data.split("test")
    return test.read(np.arange(len(test)))


@pytest.fixture
def models(checkout: Path, tmp_path: Path) -> Path:
    """A copy of the trained models, to be changed."""
    return Path(shutil.copytree(checkout / "models", tmp_path / "models"))


def digest_of(models: Path, name: str, data: SpectrogramStore) -> str:
    with temporary_bundle(models, name, data) as folder:
        return digest(folder)


def changed(folder: Path, **values: object) -> None:
    path = folder / "packed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


@pytest.mark.parametrize("name", ["baseline", "crnn", "parallel"])
def test_a_packed_model_answers_as_its_one_file(
    name: str, checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    with temporary_bundle(checkout / "models", name, data) as folder:
        answers = ModelBundle(folder).predict(mel)
    file = next((checkout / "models" / name).glob("model.*"))
    np.testing.assert_allclose(answers, load_predictor(file).predict(mel), atol=1e-5)
    assert answers.shape == (len(mel), 3)
    assert answers.dtype == np.float32


@pytest.mark.parametrize(("weights", "temperature"), [([0.5, 0.5], 1.0), ([0.8, 0.2], 2.5), ([3.0, 1.0], 0.5)])
def test_a_packed_ensemble_is_the_weighted_mean_of_its_members_at_its_temperature(
    models: Path, data: SpectrogramStore, mel: np.ndarray, weights: list[float], temperature: float
) -> None:
    shares = [Share(name, weight, 1.0) for name, weight in zip(MEMBERS, weights, strict=True)]
    write_ensemble(models, shares, temperature, data.genres)
    with temporary_bundle(models, "ensemble", data) as folder:
        answers = ModelBundle(folder).predict(mel)
    first, second = (load_predictor(models / name / "model.keras").predict(mel) for name in MEMBERS)
    mean = (weights[0] * first + weights[1] * second) / sum(weights)
    expected = np.maximum(mean, 1e-7) ** (1 / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_members_are_calibrated_before_they_are_averaged(models: Path, data: SpectrogramStore, mel: np.ndarray) -> None:
    plain = [load_predictor(models / name / "model.keras").predict(mel) for name in MEMBERS]
    write_ensemble(models, [Share("crnn", 0.5, 0.5), Share("parallel", 0.5, 3.0)], 1.0, data.genres)
    with temporary_bundle(models, "ensemble", data) as folder:
        answers = ModelBundle(folder).predict(mel)
    powers = [np.maximum(plain[0], 1e-7) ** 2, np.maximum(plain[1], 1e-7) ** (1 / 3)]
    expected = np.mean([power / power.sum(axis=1, keepdims=True) for power in powers], axis=0)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_the_ensemble_that_was_trained_here_is_calibrated_and_names_its_members(
    checkout: Path, data: SpectrogramStore
) -> None:
    stored = json.loads((checkout / "models/ensemble/ensemble.json").read_text())
    with temporary_bundle(checkout / "models", "ensemble", data) as folder:
        packing = read_manifest(folder)
    assert [(member.name, member.weight) for member in packing.members] == [("crnn", 0.5), ("parallel", 0.5)]
    assert packing.temperature == stored["temperature"] != 1.0
    assert [member.temperature for member in packing.members] == [m["temperature"] for m in stored["members"]]
    assert all(member.temperature != 1.0 for member in packing.members)
    assert stored["genres"] == ["Folk", "R&B", "Rock"]


def test_a_packed_folder_says_what_made_its_clips(checkout: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(checkout / "models", "crnn", data) as folder:
        packing = read_manifest(folder)
    assert packing.name == "crnn"
    assert packing.genres == ("Folk", "R&B", "Rock")
    assert packing.shape == (64, 32)
    assert packing.transform == data.transform
    assert packing.min_duration_s == 1


def test_the_folder_is_gone_when_its_block_ends(checkout: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(checkout / "models", "crnn", data) as folder:
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.parametrize("name", packed.NAMES)
def test_the_same_model_has_the_same_digest_wherever_it_is_packed(
    name: str, checkout: Path, models: Path, data: SpectrogramStore, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(checkout / "data/spectrograms", tmp_path / "elsewhere"))
    first, second = (digest_of(checkout / "models", name, data) for _ in range(2))
    assert first == second == digest_of(models, name, SpectrogramStore.open(moved))
    assert len({digest_of(models, other, data) for other in packed.NAMES}) == len(packed.NAMES)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1.5},
        {"genres": ["Folk", "Rap", "Rock"]},
        {"genres": ["R&B", "Folk", "Rock"]},
        {"min_duration_s": 2.0},
        {"members": [{"name": "crnn", "file": "crnn.keras", "weight": 2.0, "temperature": 1.0}]},
        {"members": [{"name": "crnn", "file": "crnn.keras", "weight": 1.0, "temperature": 2.0}]},
        {"transform": None},
    ],
    ids=str,
)
def test_whatever_a_packed_folder_says_is_part_of_its_digest(
    checkout: Path, data: SpectrogramStore, values: dict[str, object]
) -> None:
    with temporary_bundle(checkout / "models", "crnn", data) as folder:
        before = digest(folder)
        changed(folder, **values)
        assert digest(folder) != before


@pytest.mark.parametrize("key", ["sample_rate_hz", "n_fft", "hop_length", "clip_duration_s"])
def test_another_transform_is_another_model(checkout: Path, data: SpectrogramStore, key: str) -> None:
    with temporary_bundle(checkout / "models", "crnn", data) as folder:
        before = digest(folder)
        transform = data.transform.model_dump()
        changed(folder, transform=transform | {key: transform[key] + 1})
        assert digest(folder) != before


def test_one_changed_weight_of_one_member_is_another_model(models: Path, data: SpectrogramStore) -> None:
    before = {name: digest_of(models, name, data) for name in packed.NAMES}
    path = models / "crnn/model.keras"
    with ZipFile(path) as content:
        entries = {name: content.read(name) for name in content.namelist()}
    weights = bytearray(entries["model.weights.h5"])
    weights[-5000] ^= 1
    with ZipFile(path, "w") as content:
        for name, value in (entries | {"model.weights.h5": bytes(weights)}).items():
            content.writestr(name, value)
    after = {name: digest_of(models, name, data) for name in packed.NAMES}
    assert {name for name in packed.NAMES if before[name] != after[name]} == {"crnn", "ensemble"}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("baseline", {"packed.json", "baseline.skops"}),
        ("crnn", {"packed.json", "crnn.keras"}),
        ("ensemble", {"packed.json", "crnn.keras", "parallel.keras"}),
    ],
)
def test_a_packed_folder_holds_its_members_and_nothing_pickled(
    checkout: Path, data: SpectrogramStore, name: str, files: set[str]
) -> None:
    with temporary_bundle(checkout / "models", name, data) as folder:
        assert {path.name for path in folder.iterdir()} == files
        for path in folder.iterdir():
            contents = {path.name: path.read_bytes()}
            if is_zipfile(path):
                with ZipFile(path) as archive:
                    contents = {entry: archive.read(entry) for entry in archive.namelist()}
            for entry, content in contents.items():
                assert not entry.endswith((".pkl", ".pickle", ".joblib", ".pt")), entry
                assert not content.startswith(b"\x80"), f"{entry} begins as a pickle does"
                assert not (entry.endswith(".npy") and b"'|O'" in content[:128]), f"{entry} holds pickled objects"


def test_parameters_are_counted_over_all_members(checkout: Path, data: SpectrogramStore) -> None:
    import keras

    counted = {}
    for name in packed.NAMES:
        with temporary_bundle(checkout / "models", name, data) as folder:
            counted[name] = ModelBundle(folder).parameters
    networks = {
        name: keras.models.load_model(checkout / f"models/{name}/model.keras", compile=False).count_params()
        for name in MEMBERS
    }
    svm = load_baseline(checkout / "models/baseline/model.skops")[-1].calibrated_classifiers_[0].estimator
    # A support vector has four figures a band; three classes make three one-against-one machines.
    vectors = len(svm.support_vectors_)
    assert counted == networks | {
        "ensemble": sum(networks.values()),
        "baseline": vectors * 4 * 32 + vectors * 2 + 3,
    }
    table = pd.read_csv(checkout / "reports/evaluation/comparison.csv")
    assert dict(zip(table["model"], table["parameters"], strict=True)) == counted


@pytest.mark.parametrize("name", ["baseline", "crnn", "parallel"])
def test_the_company_a_clip_is_in_does_not_change_its_answer(
    name: str, checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    many = np.tile(mel, (25, 1, 1))  # 150 clips: two full forward passes and a rest
    with temporary_bundle(checkout / "models", name, data) as folder:
        model = ModelBundle(folder)
    together = model.predict(many)
    assert together.shape == (150, 3)
    alone = np.concatenate([model.predict(clip[None]) for clip in mel])
    np.testing.assert_allclose(together, np.tile(alone, (25, 1)), atol=1e-5)


def test_the_answers_for_a_split_come_in_its_order(checkout: Path, data: SpectrogramStore) -> None:
    training = data.split("training")
    with temporary_bundle(checkout / "models", "parallel", data) as folder:
        model = ModelBundle(folder)
    expected = model.predict(training.read(np.arange(len(training))))
    np.testing.assert_allclose(model.predict_split(training), expected, atol=1e-5)


@pytest.mark.parametrize("name", MEMBERS)
def test_no_clips_have_no_answers(name: str, checkout: Path) -> None:
    predictor = load_predictor(checkout / f"models/{name}/model.keras")
    assert predictor.predict(np.empty((0, 64, 32), np.float32)).shape == (0, 3)


def test_a_model_of_ready_spectrograms_has_no_transform(
    checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    with temporary_bundle(checkout / "models", "crnn", data) as folder:
        changed(folder, transform=None)
        model = ModelBundle(folder)
    assert model.manifest.transform is None
    assert model.predict(mel).shape == (len(mel), 3)
