"""Networks to interpret: small ones that were trained a little, and one that averages others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.interpretation.activations import load_network
from music_genre.models import parallel
from music_genre.models.layers import average_over_segments
from music_genre.params import load_params

if TYPE_CHECKING:
    import keras

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data(trained_checkout: Path) -> SpectrogramStore:
    return SpectrogramStore.open(trained_checkout / "data/spectrograms")


@pytest.fixture(scope="session")
def clips(data: SpectrogramStore) -> ClipDataset:
    """Training clips of 64 frames and 32 bands."""
    return data.split("training")


@pytest.fixture(scope="session")
def networks(trained_checkout: Path) -> dict[str, keras.Model]:
    """By name, both published networks, trained for two epochs."""
    return {name: load_network(trained_checkout / f"models/{name}/model.keras") for name in ("crnn", "parallel")}


@pytest.fixture(scope="session")
def averaged() -> keras.Model:
    """Two copies of an improved network, averaged over three segments of a clip of 96 frames."""
    import keras

    keras.utils.set_random_seed(3)
    recipe = load_params(ROOT / "params.yaml").models["parallel"].improved
    return average_over_segments([parallel.build_improved((32, 32), 3, recipe) for _ in range(2)], (96, 32), 3)


@pytest.fixture
def noise() -> np.ndarray:
    """Two clips of 64 frames and 32 bands, (2, 64, 32) dB."""
    return np.random.default_rng(0).uniform(-80, 0, (2, 64, 32)).astype(np.float32)
