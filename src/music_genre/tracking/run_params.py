"""The params of a model, as ``params.yaml`` has them and as its MLflow run does, under the same dotted keys."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from music_genre.features.params import EMBEDDINGS
from music_genre.models.params import NetworkParams
from music_genre.models.registry import ENSEMBLE

SHARED_KEYS = frozenset(NetworkParams.model_fields) - {"improved"}  # of a network's section, whatever its recipe
OWN_KEYS = ("seed", "data.source")  # what a run has besides the section of its model


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def active_params(values: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What a model depends on in ``params.yaml``: no section of another model, recipe, data set or encoder.

    Args:
        values: of the file at any commit, which today's checks need not accept.
        model: its name.

    Returns:
        Values under dotted keys; ``data.source`` of several is one word, ``fma+folder``.
    """
    data, ensemble = _section(values, "data"), _section(values, "ensemble")
    source = data.get("source")
    sources = source if isinstance(source, list) else [source]
    members = ensemble.get("members") or [] if model == ENSEMBLE else [model]
    models = {name: _active_section(_section(_section(values, "models"), name)) for name in members}
    encoders = {str(section.get("input")).removeprefix(f"{EMBEDDINGS}/") for section in models.values()}
    composed = {
        "data": {key: value for key, value in data.items() if not isinstance(value, dict) or key in sources}
        | {"source": "+".join(map(str, sources))},
        "encoders": {key: value for key, value in _section(values, "encoders").items() if key in encoders},
        "models": models,
        "ensemble": ensemble if model == ENSEMBLE else {},
    }
    return flatten({**values, **composed})


def _section(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = values.get(key)
    return section if isinstance(section, dict) else {}


def _active_section(section: Mapping[str, Any]) -> dict[str, Any]:
    recipe = section.get("recipe")
    return {key: value for key, value in section.items() if not isinstance(value, dict) or key == recipe}


def logged_params(params: Mapping[str, str], model: str, source: str | None) -> dict[str, Any]:
    """The params of an MLflow run under the keys that they have in ``params.yaml``.

    Args:
        params: of the run.
        model: its name.
        source: ``data.source``; None where the run does not say.
    """
    section = ENSEMBLE if model == ENSEMBLE else f"models.{model}"
    recipe = params.get("recipe")
    keys = {
        name: name
        if name == "seed"
        else f"{section}.{recipe}.{name}"
        if recipe and name not in SHARED_KEYS
        else f"{section}.{name}"
        for name in params
    }
    return {keys[name]: value for name, value in params.items()} | ({"data.source": source} if source else {})


def is_own(key: str, model: str) -> bool:
    """Whether an MLflow run of a model has this key of ``params.yaml``."""
    section = "ensemble." if model == ENSEMBLE else f"models.{model}."
    return key in OWN_KEYS or key.startswith(section)


def relative_key(key: str, model: str, params: Mapping[str, Any]) -> str:
    """A key of the model's own section without the names of model and recipe, as its run has it; others as they are."""
    section = f"models.{model}."
    if not key.startswith(section):
        return key
    return key.removeprefix(section).removeprefix(f"{params.get(f'{section}recipe')}.")


def canonical(value: Any) -> Any:
    """A value in the form that is the same for ``params.yaml`` and for its text in MLflow: whole numbers are int,
    tuples lists, and text that reads like such a value is that value.
    """
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
