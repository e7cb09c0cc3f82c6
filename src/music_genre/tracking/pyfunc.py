"""The script that MLflow stores with a model and runs to load it ("models from code"): nothing is pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from music_genre.tracking import BUNDLE_ARTIFACT


class GenreModel(PythonModel):  # type: ignore[misc]  # MLflow has no types here
    """From (n, frames, n_mels) float32 dB, or (n, windows, window_length) float32 audio where the model has an encoder,
    to (n, classes) float32 probabilities in label order. A model that takes both takes them by name.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from music_genre.models.bundle import ModelBundle

        self.bundle = ModelBundle(Path(context.artifacts[BUNDLE_ARTIFACT]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        inputs = model_input if isinstance(model_input, dict) else {self.bundle.manifest.inputs[0]: model_input}
        return self.bundle.predict(inputs)


mlflow.models.set_model(GenreModel())
