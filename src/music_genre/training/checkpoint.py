"""Training that survives an interruption: after each epoch, everything that the next one depends on is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model
from keras.callbacks import Callback

STATE, WEIGHTS, BEST = "state.json", "epoch-{:04d}.npz", "best-{:04d}.npz"
REMEMBERED = ("best", "best_epoch", "wait", "cooldown_counter")
"""What Keras' rules between epochs (early stopping, plateaus) count on from epoch to epoch."""


class Checkpoint(Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the model (weights, optimizer, state of its random numbers), the rules between epochs, and the history.

    The last of the callbacks: it keeps what the others have done. Nothing that looks finished is left half written:
    ``state.json``, replaced as a whole, names the other files.

    Args:
        folder: made where it does not exist.
        rules: callbacks with ``REMEMBERED`` figures, and maybe ``best_weights``.
        rows: the history; grows with every epoch.
    """

    def __init__(self, folder: Path, rules: Sequence[Callback], rows: list[dict[str, float]]) -> None:
        super().__init__()
        self.folder, self.rules, self.rows = folder, rules, rows
        self.state: dict[str, Any] = {}

    def restore(self, model: Model) -> int:
        """Put a compiled model where the last finished epoch left it; returns how many epochs are done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / STATE).is_file():
            return 0
        self.state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        self.rows.extend(self.state["rows"])
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(_variables(model), _read(self.folder / self.state["weights"]), strict=True):
            variable.assign(value)
        return len(self.rows)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """The rules have just forgotten what they knew: remind them."""
        for rule, known in zip(self.rules, self.state.get("rules", []), strict=False):
            for name, value in known.items():
                setattr(rule, name, value)
            if "best" in self.state and hasattr(rule, "best_weights"):
                rule.best_weights = _read(self.folder / self.state["best"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        state: dict[str, Any] = {
            "rows": self.rows,
            "rules": [_remembered(rule) for rule in self.rules],
            "weights": WEIGHTS.format(epoch),
        }
        np.savez(self.folder / state["weights"], *(variable.numpy() for variable in _variables(self.model)))
        for rule in self.rules:
            if getattr(rule, "best_weights", None) is not None:
                state["best"] = BEST.format(rule.best_epoch)
                if state["best"] != self.state.get("best"):
                    np.savez(self.folder / state["best"], *rule.best_weights)
        unfinished = self.folder / f"{STATE}.part"
        unfinished.write_text(json.dumps(state), encoding="utf-8")
        unfinished.replace(self.folder / STATE)
        self.state = state
        for file in self.folder.iterdir():
            if file.name not in {STATE, state["weights"], state.get("best")}:
                file.unlink()


def _variables(model: Model) -> list[Any]:
    """Weights, the states of random numbers (which Keras' own files of weights leave out), and the optimizer's."""
    return [*model.variables, *model.optimizer.variables]


def _read(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def _remembered(rule: Callback) -> dict[str, Any]:
    found = {name: getattr(rule, name) for name in REMEMBERED if hasattr(rule, name)}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
