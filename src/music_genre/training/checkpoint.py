"""Checkpoints: after each epoch, everything that the next epochs depend on is written to disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model
from keras.callbacks import Callback

from music_genre.files import atomic_write_text

STATE, WEIGHTS, BEST = "state.json", "epoch-{:04d}.npz", "best-{:04d}.npz"
# What Keras' early stopping and reduction of the learning rate remember from epoch to epoch.
CALLBACK_STATE = ("best", "best_epoch", "wait", "cooldown_counter")


class Checkpoint(Callback):  # type: ignore[misc]  # Keras has no types
    """Writes the model (weights, optimizer, state of random number generators), the other callbacks' state and the
    history after each epoch. It must be the last callback, because it writes what the others have changed.

    An interruption leaves the checkpoint of the last finished epoch: ``state.json`` names the other files and is
    replaced as a whole.

    Args:
        folder: of the checkpoint; made where it does not exist.
        callbacks: those with ``CALLBACK_STATE`` attributes, and maybe ``best_weights``.
        history: a row an epoch; grows with every epoch.
    """

    def __init__(self, folder: Path, callbacks: Sequence[Callback], history: list[dict[str, float]]) -> None:
        super().__init__()
        self.folder, self.callbacks, self.history = folder, callbacks, history
        self.state: dict[str, Any] = {}

    def restore(self, model: Model) -> int:
        """Set a compiled model to the last checkpoint, if there is one; returns the number of finished epochs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / STATE).is_file():
            return 0
        self.state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        self.history.extend(self.state["history"])
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(_variables(model), _read(self.folder / self.state["weights"]), strict=True):
            variable.assign(value)
        return len(self.history)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Restore the other callbacks' state, which Keras has just reset."""
        for callback, values in zip(self.callbacks, self.state.get("callbacks", []), strict=False):
            for name, value in values.items():
                setattr(callback, name, value)
            if "best" in self.state and hasattr(callback, "best_weights"):
                callback.best_weights = _read(self.folder / self.state["best"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the checkpoint, then delete the files of the one before."""
        state: dict[str, Any] = {
            "history": self.history,
            "callbacks": [_callback_state(callback) for callback in self.callbacks],
            "weights": WEIGHTS.format(epoch),
        }
        np.savez(self.folder / state["weights"], *(variable.numpy() for variable in _variables(self.model)))
        for callback in self.callbacks:
            if getattr(callback, "best_weights", None) is not None:
                state["best"] = BEST.format(callback.best_epoch)
                if state["best"] != self.state.get("best"):
                    np.savez(self.folder / state["best"], *callback.best_weights)
        atomic_write_text(self.folder / STATE, json.dumps(state))
        self.state = state
        for file in self.folder.iterdir():
            if file.name not in {STATE, state["weights"], state.get("best")}:
                file.unlink()


def _variables(model: Model) -> list[Any]:
    """Weights, the states of random number generators, which Keras' weight files leave out, and the optimizer's."""
    return [*model.variables, *model.optimizer.variables]


def _read(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def _callback_state(callback: Callback) -> dict[str, Any]:
    values = {name: getattr(callback, name) for name in CALLBACK_STATE if hasattr(callback, name)}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
