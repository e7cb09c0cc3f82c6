"""The script that MLflow stores as the model and runs to load it: no pickle, only a packed folder and the code that
reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class GenreModel(PythonModel):  # type: ignore[misc]  # MLflow has no types here
    """(n, frames, n_mels) float32 dB to (n, classes) probabilities in label order."""

    def load_context(self, context: PythonModelContext) -> None:
        from music_genre.models.bundle import ModelBundle

        self.packed = ModelBundle(Path(context.artifacts["packed"]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        return self.packed.predict(model_input)


mlflow.models.set_model(GenreModel())
