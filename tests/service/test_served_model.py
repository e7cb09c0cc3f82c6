"""Which models can be served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from music_genre.models.bundle import MANIFEST
from music_genre.service import environment
from music_genre.service.served_model import (
    IncompatibleModelError,
    RegistryClient,
    ServedModel,
    load_and_warm_up,
    warm_up_features,
)


@pytest.fixture
def champion(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ServedModel, Path]:
    """The champion of the checkout, which is the working directory, and the folder of its bundle."""
    monkeypatch.chdir(checkout)
    registry = RegistryClient()
    return registry.download(registry.champion())


def with_manifest(served: ServedModel, **changes: Any) -> ServedModel:
    """The same version with another manifest."""
    manifest_json = json.dumps(json.loads(served.manifest_json) | changes)
    return ServedModel(**served.to_payload() | {"manifest_json": manifest_json})


def test_champion_predicts_before_it_is_served(champion: tuple[ServedModel, Path]) -> None:
    served, bundle_dir = champion
    probabilities = load_and_warm_up(served, bundle_dir).bundle.predict(
        {"spectrograms": np.zeros((2, 64, 32), np.float32)}
    )
    assert probabilities.shape == (2, 3)


def test_payload_makes_an_equal_model_in_another_process(champion: tuple[ServedModel, Path]) -> None:
    served, _ = champion
    copy = ServedModel(**json.loads(json.dumps(served.to_payload())))
    assert copy == served
    assert copy.manifest == served.manifest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transform", {"sample_rate_hz": 22050}),
        ("transform", "mel"),
        ("shape", [64]),
        ("genres", None),
        ("members", [{"name": "crnn"}]),
        ("temperature", "warm"),
    ],
)
def test_model_with_a_broken_manifest_is_incompatible(
    champion: tuple[ServedModel, Path], key: str, value: object
) -> None:
    with pytest.raises(IncompatibleModelError, match="version 1 cannot be served by this code"):
        with_manifest(champion[0], **{key: value})


def test_model_whose_transform_gives_another_shape_is_incompatible(champion: tuple[ServedModel, Path]) -> None:
    with pytest.raises(IncompatibleModelError, match=r"gives \(64, 32\), it takes \(64, 31\)"):
        warm_up_features(with_manifest(champion[0], shape=[64, 31]))


def test_model_of_truncated_files_is_incompatible(champion: tuple[ServedModel, Path], tmp_path: Path) -> None:
    served, bundle_dir = champion
    copy = tmp_path / "bundle"
    shutil.copytree(bundle_dir, copy)
    weights = copy / served.manifest.members[0].file
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(IncompatibleModelError):
        load_and_warm_up(served, copy)


def test_model_of_another_features_version_is_incompatible(champion: tuple[ServedModel, Path], tmp_path: Path) -> None:
    served, bundle_dir = champion
    copy = tmp_path / "bundle"
    shutil.copytree(bundle_dir, copy)
    other = with_manifest(served, features_version=10_000)
    (copy / MANIFEST).write_text(other.manifest_json)
    with pytest.raises(IncompatibleModelError, match="features of version 10000"):
        load_and_warm_up(other, copy)


@pytest.fixture
def settings_cache() -> Iterator[None]:
    """No settings are cached, before the test and after it."""
    environment.service_settings.cache_clear()
    yield
    environment.service_settings.cache_clear()


@pytest.mark.usefixtures("settings_cache")
def test_bento_has_the_settings_of_the_working_directory_also_in_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bento = tmp_path / "bento"
    bento.mkdir()
    monkeypatch.setattr(environment, "BENTO_ROOT", bento)
    assert not environment.in_bento()
    (bento / "bento.yaml").touch()
    assert environment.in_bento()
    (tmp_path / "settings.toml").write_text("shadow = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(environment.SETTINGS_DIR_VARIABLE, "")  # so that it is reset after the test
    monkeypatch.delenv(environment.SETTINGS_DIR_VARIABLE)
    environment.share_settings_dir()
    monkeypatch.chdir(bento)
    assert environment.service_settings().shadow
