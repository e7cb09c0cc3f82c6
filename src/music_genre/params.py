"""A typed, frozen, validated view of ``params.yaml``, composed of the sections that the packages own.

Every key must be there and no other may be: a value lives in ``params.yaml`` alone, never as a default here, so that
DVC sees every change that can alter a result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model, model_validator

from music_genre.config import SECTION_NAME, ParamsModel, SectionMap, read_yaml, validate
from music_genre.datasets.registry import DataParams, get_dataset
from music_genre.datasets.splits import SplitParams
from music_genre.encoders.params import EncoderParams
from music_genre.evaluation.params import EvaluationParams
from music_genre.features.params import MelConfig
from music_genre.models.params import EnsembleParams
from music_genre.models.registry import ENSEMBLE, Classifier, Network, get_model
from music_genre.registry.params import RegistryParams

EncoderName = Annotated[str, Field(pattern=f"^{SECTION_NAME.pattern}$")]


class Params(ParamsModel):
    """``params.yaml``. ``models`` has a section for each model that there is a module for."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataParams
    split: SplitParams
    spectrogram: MelConfig
    encoders: dict[EncoderName, EncoderParams]
    models: SectionMap
    ensemble: EnsembleParams
    evaluation: EvaluationParams
    registry: RegistryParams

    @model_validator(mode="after")
    def check_encoders(self) -> Params:
        """A model's encoder must be one of ``encoders``."""
        for name in self.models.names:
            encoder = self.models[name].encoder
            if encoder is not None and encoder not in self.encoders:
                known = ", ".join(self.encoders) or "none"
                raise ValueError(f"models.{name}.input: found {encoder!r}, the encoders are: {known}")
        return self

    @model_validator(mode="after")
    def check_members(self) -> Params:
        """The ensemble's members must be models that are trained."""
        if not self.trained:
            raise ValueError("models: none of them can be trained, and the ensemble needs one")
        unknown = [name for name in self.ensemble.members if name not in self.trained]
        if unknown:
            raise ValueError(f"ensemble.members: {', '.join(unknown)}: choose from {', '.join(self.trained)}")
        return self

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the models that are networks, in the order of the file."""
        return tuple(name for name in self.models.names if isinstance(get_model(name), Network))

    @property
    def trained(self) -> tuple[str, ...]:
        """The models that this collection can train: without audio there are no embeddings."""
        return tuple(name for name in self.models.names if self.data.has_audio or self.models[name].encoder is None)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The classical ones of ``trained``, which no registered model may be certainly worse than."""
        return tuple(name for name in self.trained if isinstance(get_model(name), Classifier))

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every model there is, in the order of tables: those of the file, then the ensemble."""
        return (*self.trained, ENSEMBLE)

    def members_of(self, name: str) -> tuple[str, ...]:
        """The models that a model consists of: those of the ensemble, or itself."""
        return self.ensemble.members if name == ENSEMBLE else (name,)

    def active(self, name: str) -> dict[str, Any]:
        """What a model is made with, for its run: the values that it uses, and the seed."""
        section = self.ensemble.model_dump() if name == ENSEMBLE else self.models[name].active
        return section | {"seed": self.seed}


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``, as DVC reads it (YAML 1.2).

    Raises:
        MusicGenreError: the file cannot be read, a key is missing or unknown, or a value is impossible; the message
            names each.
    """
    values = read_yaml(path)
    return validate(_params_class(values), values, path)


def _params_class(values: Any) -> type[Params]:
    """``Params`` with the sections of those models and data sets that the file has and that there are modules for."""
    sections = values if isinstance(values, dict) else {}
    data = _with_sections(DataParams, sections.get("data"), lambda name: get_dataset(name).params)
    models = _with_sections(SectionMap, sections.get("models"), lambda name: get_model(name).params)
    return create_model("Params", __base__=Params, data=(data, ...), models=(models, ...))


def _with_sections(base: type[ParamsModel], section: Any, params_class: Callable[[str], type[ParamsModel]]) -> Any:
    """``base`` with a field for every key of ``section`` that ``params_class`` knows."""
    keys = section if isinstance(section, dict) else {}
    fields: dict[str, Any] = {}
    for name in keys:
        if name in base.model_fields:
            continue
        try:
            fields[name] = (params_class(str(name)), ...)
        except ValueError:
            continue
    return create_model(base.__name__, __base__=base, **fields)
