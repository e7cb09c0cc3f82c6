"""Bundles: one folder that says everything about a model, the same wherever it is made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np
import pandas as pd
import pytest

from music_genre.errors import MusicGenreError
from music_genre.features.params import FEATURES_VERSION, SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.models.baseline import MODEL as BASELINE
from music_genre.models.bundle import MANIFEST, ModelBundle, load_predictor, read_manifest
from music_genre.models.calibration import apply_temperature, read_temperature
from music_genre.models.ensemble import EnsembleMember, write_ensemble
from music_genre.models.packing import temporary_bundle
from music_genre.models.serialization import (
    EXPORTED,
    TRAINING_CLIPS,
    answering_file,
    load_classifier,
    model_file,
    read_training_clips,
)

MEMBERS = ("crnn", "parallel")
MODEL_NAMES = ("baseline", *MEMBERS, "ensemble")

MEMBER = {"name": "crnn", "file": "crnn.onnx", "input": "spectrograms", "trained": "crnn.keras"}


@pytest.fixture(scope="module")
def data(trained_checkout: Path) -> SpectrogramStore:
    return SpectrogramStore.open(trained_checkout / "data/spectrograms")


@pytest.fixture(scope="module")
def mel(data: SpectrogramStore) -> np.ndarray:
    """(6, frames, n_mels) dB of the test split."""
    test = data.split("test")
    return test.read(np.arange(len(test)))


@pytest.fixture
def models(trained_checkout: Path, tmp_path: Path) -> Path:
    """A copy of the trained models, to be changed."""
    return Path(shutil.copytree(trained_checkout / "models", tmp_path / "models"))


def bundle_digest(models: Path, name: str, data: SpectrogramStore) -> str:
    with temporary_bundle(models, name, data) as bundle_dir:
        return folder_sha256(bundle_dir)


def change_manifest(bundle_dir: Path, **values: object) -> None:
    path = bundle_dir / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


@pytest.mark.parametrize("name", ["baseline", "crnn", "parallel"])
def test_bundle_of_one_model_predicts_as_the_model_at_its_temperature(
    name: str, trained_checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
        probabilities = ModelBundle(bundle_dir).predict({SPECTROGRAMS: mel})
    model = load_predictor(model_file(trained_checkout / "models", name), name)
    temperature = read_temperature(trained_checkout / "models" / name)
    np.testing.assert_allclose(probabilities, apply_temperature(model.predict(mel), temperature), atol=1e-5)
    assert probabilities.shape == (len(mel), 3)
    assert probabilities.dtype == np.float32


@pytest.mark.parametrize(("weights", "temperature"), [([0.5, 0.5], 1.0), ([0.8, 0.2], 2.5), ([3.0, 1.0], 0.5)])
def test_ensemble_predicts_the_weighted_mean_of_its_members_at_its_temperature(
    models: Path, data: SpectrogramStore, mel: np.ndarray, weights: list[float], temperature: float
) -> None:
    members = [EnsembleMember(name, weight, 1.0) for name, weight in zip(MEMBERS, weights, strict=True)]
    write_ensemble(models, members, temperature, data.genres)
    with temporary_bundle(models, "ensemble", data) as bundle_dir:
        probabilities = ModelBundle(bundle_dir).predict({SPECTROGRAMS: mel})
    first, second = (load_predictor(model_file(models, name), name).predict(mel) for name in MEMBERS)
    mean = (weights[0] * first + weights[1] * second) / sum(weights)
    expected = np.maximum(mean, 1e-7) ** (1 / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_members_are_calibrated_before_they_are_averaged(models: Path, data: SpectrogramStore, mel: np.ndarray) -> None:
    plain = [load_predictor(model_file(models, name), name).predict(mel) for name in MEMBERS]
    write_ensemble(models, [EnsembleMember("crnn", 0.5, 0.5), EnsembleMember("parallel", 0.5, 3.0)], 1.0, data.genres)
    with temporary_bundle(models, "ensemble", data) as bundle_dir:
        probabilities = ModelBundle(bundle_dir).predict({SPECTROGRAMS: mel})
    powers = [np.maximum(plain[0], 1e-7) ** 2, np.maximum(plain[1], 1e-7) ** (1 / 3)]
    expected = np.mean([power / power.sum(axis=1, keepdims=True) for power in powers], axis=0)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_trained_ensemble_is_calibrated_and_names_its_members(trained_checkout: Path, data: SpectrogramStore) -> None:
    stored = json.loads((trained_checkout / "models/ensemble/ensemble.json").read_text())
    with temporary_bundle(trained_checkout / "models", "ensemble", data) as bundle_dir:
        manifest = read_manifest(bundle_dir)
    assert [(member.name, member.weight) for member in manifest.members] == [("crnn", 0.5), ("parallel", 0.5)]
    assert manifest.temperature == stored["temperature"] != 1.0
    assert [member.temperature for member in manifest.members] == [m["temperature"] for m in stored["members"]]
    assert all(member.temperature != 1.0 for member in manifest.members)
    assert stored["genres"] == ["Folk", "R&B", "Rock"]


def test_manifest_describes_the_clips(trained_checkout: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        manifest = read_manifest(bundle_dir)
    assert manifest.name == "crnn"
    assert manifest.genres == ("Folk", "R&B", "Rock")
    assert manifest.shape == (64, 32)
    assert manifest.transform == data.transform
    assert manifest.features_version == FEATURES_VERSION
    assert manifest.min_duration_s == 1


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_bundle_tells_the_clips_that_it_was_trained_on(
    name: str, trained_checkout: Path, data: SpectrogramStore
) -> None:
    with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
        np.testing.assert_array_equal(read_training_clips(bundle_dir), np.sort(data.split("training").track_id))


def test_temporary_bundle_is_deleted(trained_checkout: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        assert bundle_dir.is_dir()
    assert not bundle_dir.exists()


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_same_model_has_the_same_digest_wherever_it_is_bundled(
    name: str, trained_checkout: Path, models: Path, data: SpectrogramStore, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(trained_checkout / "data/spectrograms", tmp_path / "elsewhere"))
    first, second = (bundle_digest(trained_checkout / "models", name, data) for _ in range(2))
    assert first == second == bundle_digest(models, name, SpectrogramStore.open(moved))
    assert len({bundle_digest(models, other, data) for other in MODEL_NAMES}) == len(MODEL_NAMES)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1.5},
        {"genres": ["Folk", "Rap", "Rock"]},
        {"genres": ["R&B", "Folk", "Rock"]},
        {"min_duration_s": 2.0},
        {"members": [MEMBER | {"weight": 2.0, "temperature": 1.0}]},
        {"members": [MEMBER | {"weight": 1.0, "temperature": 2.0}]},
        {"transform": None},
        {"features_version": 0},
    ],
    ids=str,
)
def test_every_value_of_the_manifest_is_part_of_the_digest(
    trained_checkout: Path, data: SpectrogramStore, values: dict[str, object]
) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        before = folder_sha256(bundle_dir)
        change_manifest(bundle_dir, **values)
        assert folder_sha256(bundle_dir) != before


@pytest.mark.parametrize("key", ["sample_rate_hz", "n_fft", "hop_length", "clip_duration_s"])
def test_another_transform_is_another_digest(trained_checkout: Path, data: SpectrogramStore, key: str) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        before = folder_sha256(bundle_dir)
        transform = data.transform.model_dump()
        change_manifest(bundle_dir, transform=transform | {key: transform[key] + 1})
        assert folder_sha256(bundle_dir) != before


def test_one_changed_weight_of_one_member_is_another_digest(models: Path, data: SpectrogramStore) -> None:
    before = {name: bundle_digest(models, name, data) for name in MODEL_NAMES}
    path = models / "crnn/model.keras"
    with ZipFile(path) as content:
        entries = {name: content.read(name) for name in content.namelist()}
    weights = bytearray(entries["model.weights.h5"])
    weights[-5000] ^= 1
    with ZipFile(path, "w") as content:
        for name, value in (entries | {"model.weights.h5": bytes(weights)}).items():
            content.writestr(name, value)
    after = {name: bundle_digest(models, name, data) for name in MODEL_NAMES}
    assert {name for name in MODEL_NAMES if before[name] != after[name]} == {"crnn", "ensemble"}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("baseline", {MANIFEST, TRAINING_CLIPS, "baseline.onnx", "baseline.skops"}),
        ("crnn", {MANIFEST, TRAINING_CLIPS, "crnn.onnx", "crnn.keras"}),
        ("ensemble", {MANIFEST, TRAINING_CLIPS, *(f"{name}.{kind}" for name in MEMBERS for kind in ("onnx", "keras"))}),
    ],
)
def test_bundle_holds_its_members_and_nothing_pickled(
    trained_checkout: Path, data: SpectrogramStore, name: str, files: set[str]
) -> None:
    with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
        assert {path.name for path in bundle_dir.iterdir()} == files
        for path in bundle_dir.iterdir():
            contents = {path.name: path.read_bytes()}
            if is_zipfile(path):
                with ZipFile(path) as archive:
                    contents = {entry: archive.read(entry) for entry in archive.namelist()}
            for entry, content in contents.items():
                assert not entry.endswith((".pkl", ".pickle", ".joblib", ".pt")), entry
                assert not content.startswith(b"\x80"), f"{entry} begins as a pickle does"
                assert not (entry.endswith(".npy") and b"'|O'" in content[:128]), f"{entry} holds pickled objects"


def test_parameters_are_counted_over_all_members(trained_checkout: Path, data: SpectrogramStore) -> None:
    import keras

    counted = {}
    for name in MODEL_NAMES:
        with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
            counted[name] = ModelBundle(bundle_dir).n_parameters
    networks = {
        name: keras.models.load_model(trained_checkout / f"models/{name}/model.keras", compile=False).count_params()
        for name in MEMBERS
    }
    classifier, _ = load_classifier(trained_checkout / "models/baseline/model.skops", BASELINE)
    n_vectors = len(classifier["svc"].calibrated_classifiers_[0].estimator.support_vectors_)
    # A support vector has four statistics of 32 bands; three genres make three one-against-one classifiers.
    assert counted == networks | {
        "ensemble": sum(networks.values()),
        "baseline": n_vectors * 4 * 32 + n_vectors * 2 + 3,
    }
    table = pd.read_csv(trained_checkout / "reports/evaluation/comparison.csv")
    assert dict(zip(table["model"], table["parameters"], strict=True)) == counted


@pytest.mark.parametrize("name", ["baseline", "crnn", "parallel"])
def test_prediction_for_a_clip_does_not_depend_on_its_batch(
    name: str, trained_checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    many = np.tile(mel, (25, 1, 1))  # 150 clips: two full forward passes and a rest
    with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
        model = ModelBundle(bundle_dir)
    together = model.predict({SPECTROGRAMS: many})
    assert together.shape == (150, 3)
    alone = np.concatenate([model.predict({SPECTROGRAMS: clip[None]}) for clip in mel])
    np.testing.assert_allclose(together, np.tile(alone, (25, 1)), atol=1e-5)


def test_predictions_for_a_split_are_in_its_order(trained_checkout: Path, data: SpectrogramStore) -> None:
    training = data.split("training")
    with temporary_bundle(trained_checkout / "models", "parallel", data) as bundle_dir:
        model = ModelBundle(bundle_dir)
    expected = model.predict({SPECTROGRAMS: training.read(np.arange(len(training)))})
    np.testing.assert_allclose(model.predict_split(data, "training"), expected, atol=1e-5)


@pytest.mark.parametrize("name", MEMBERS)
def test_no_clips_give_no_predictions(name: str, trained_checkout: Path) -> None:
    predictor = load_predictor(answering_file(trained_checkout / "models", name), name)
    assert predictor.predict(np.empty((0, 64, 32), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("version", [FEATURES_VERSION + 1, None])
def test_model_of_another_features_version_is_refused(
    trained_checkout: Path, data: SpectrogramStore, version: int | None
) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        change_manifest(bundle_dir, features_version=version)
        with pytest.raises(MusicGenreError) as refused:
            ModelBundle(bundle_dir)
    assert str(refused.value) == (
        f"the model crnn was trained on features of version {version}, and this code makes version {FEATURES_VERSION}:"
        " train it again, or use the release that trained it"
    )


@pytest.mark.parametrize("key", ["file", "trained"])
@pytest.mark.parametrize("file", ["../crnn.keras", "/tmp/crnn.keras", "sub/crnn.keras"])
def test_member_outside_of_the_bundle_is_refused(
    trained_checkout: Path, data: SpectrogramStore, file: str, key: str
) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        member = {**MEMBER, key: file, "weight": 1.0, "temperature": 1.0}
        change_manifest(bundle_dir, members=[member])
        with pytest.raises(ValueError, match="not a file of the bundle"):
            ModelBundle(bundle_dir)


def test_model_of_ready_spectrograms_is_independent_of_transform_and_features_version(
    trained_checkout: Path, data: SpectrogramStore, mel: np.ndarray
) -> None:
    with temporary_bundle(trained_checkout / "models", "crnn", data) as bundle_dir:
        change_manifest(bundle_dir, transform=None, features_version=FEATURES_VERSION + 1)
        model = ModelBundle(bundle_dir)
    assert model.manifest.transform is None
    assert model.predict({SPECTROGRAMS: mel}).shape == (len(mel), 3)


@pytest.mark.parametrize(
    ("name", "expected"), [("baseline", {"baseline.skops"}), ("ensemble", {"crnn.keras", "parallel.keras"})]
)
def test_models_that_an_earlier_release_trained_are_answered_by_what_trained_them(
    models: Path, data: SpectrogramStore, mel: np.ndarray, name: str, expected: set[str]
) -> None:
    predictions = []
    for _ in range(2):
        with temporary_bundle(models, name, data) as bundle_dir:
            files = {member.file for member in read_manifest(bundle_dir).members}
            predictions.append(ModelBundle(bundle_dir).predict({SPECTROGRAMS: mel}))
        for exported in models.glob(f"*/{EXPORTED}"):
            exported.unlink()
    assert files == expected
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1e-5)


@pytest.mark.parametrize("name", ["baseline", "ensemble"])
def test_model_answers_without_what_trains_it(
    name: str, trained_checkout: Path, data: SpectrogramStore, mel: np.ndarray, tmp_path: Path
) -> None:
    absent = ("tensorflow", "keras", "sklearn", "skops", "onnx", "mlflow", "matplotlib", "librosa", "pandas")
    script = f"""
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys({absent}))
import numpy as np
from music_genre.models.bundle import ModelBundle
print(ModelBundle(Path(sys.argv[1])).predict({{"spectrograms": np.load(sys.argv[2])}}).tolist())
"""
    np.save(tmp_path / "mel.npy", mel)
    with temporary_bundle(trained_checkout / "models", name, data) as bundle_dir:
        command = [sys.executable, "-c", script, str(bundle_dir), str(tmp_path / "mel.npy")]
        done = subprocess.run(command, capture_output=True, text=True)
        expected = ModelBundle(bundle_dir).predict({SPECTROGRAMS: mel})
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)
