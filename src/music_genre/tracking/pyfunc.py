"""The script that MLflow stores with a model and runs to load it ("models from code"): nothing is pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from music_genre.tracking import BUNDLE_ARTIFACT


class GenreModel(PythonModel):  # type: ignore[misc]  # MLflow has no types here
    """From (n, frames, n_mels) float32 dB to (n, classes) float32 probabilities in label order."""

    def load_context(self, context: PythonModelContext) -> None:
        from music_genre.models.bundle import ModelBundle

        self.bundle = ModelBundle(Path(context.artifacts[BUNDLE_ARTIFACT]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        return self.bundle.predict(model_input)


mlflow.models.set_model(GenreModel())
