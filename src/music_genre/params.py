"""A typed, frozen, validated view of ``params.yaml``.

Every key must be there and no other may be: a value lives in ``params.yaml`` alone, never as a default here, so that
DVC sees every change that can alter a result.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from music_genre.errors import MusicGenreError
from music_genre.features.config import MelConfig

Share = Annotated[float, Field(gt=0, lt=1)]
ShareOrNone = Annotated[float, Field(ge=0, lt=1)]
TrainingShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Pool = tuple[Count, Count]
NetworkName = Literal["crnn", "parallel"]
SplitMethod = Literal["official", "artist", "random"]
Features = Literal["bands", "mfcc"]


class Section(BaseModel):
    """A part of ``params.yaml``: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SampleParams(Section):
    tracks_per_genre: Annotated[int, Field(ge=3)]
    seconds: Annotated[float, Field(gt=0, le=600)]


class FmaParams(Section):
    subset: Literal["small", "medium", "large", "full"]
    path: Path | None
    mirror: str | None


class FolderParams(Section):
    path: Path | None
    artist_pattern: str | None

    @field_validator("artist_pattern")
    @classmethod
    def name_an_artist(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and re.compile(pattern).groups < 1:
                raise ValueError("a regular expression with a group is needed")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern


class ArraysParams(Section):
    path: Path | None
    scale: Literal["db", "ln_power"]


class DataParams(Section):
    source: Literal["sample", "fma", "folder", "arrays"]
    min_seconds: Annotated[float, Field(gt=0)]
    max_fault_share: Annotated[float, Field(ge=0, le=1)]
    sample: SampleParams
    fma: FmaParams
    folder: FolderParams
    arrays: ArraysParams


class SplitParams(Section):
    """``official`` keeps the source's split and, where it has none, is ``artist``: no artist is in two splits.
    ``random`` looks at genres alone; it flatters.
    """

    method: SplitMethod
    validation: Share
    test: Share

    @model_validator(mode="after")
    def leave_something_to_train_on(self) -> SplitParams:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together must be below 1")
        return self


class BaselineParams(Section):
    """``features``: what a clip's statistics are of."""

    features: Features
    training_share: TrainingShare
    c: Annotated[float, Field(gt=0)]
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)]


class NetworkParams(Section):
    """What both networks share. All below ``precision`` is the improved recipe's.

    Args:
        training_share: share of the training clips to learn from; a smaller one is part of every larger one.
        learning_rate: published: the first epoch's; improved: the highest.
        precision: that training computes in; weights, and whoever answers, are in float32.
        copies: trainings from seed, seed + 1, ...; their answers are averaged.
        parts: equal parts of a clip whose answers are averaged; 1 takes it whole.
        crop: share of a clip that a training step sees, from anywhere in it; 0: one of its parts.
        standardise: every band to mean 0 and deviation 1; else the published scale.
        relative: a second channel without the clip's own mean spectrum.
        dropout: share of features.
        weight_decay: AdamW's, of kernels.
        warm_up: share of the steps in which the learning rate rises.
        weight_average: share of the steps that the final weights are an average over.
        label_smoothing: share of a target spread over all classes.
        time_mask: the longest stretch of frames that is hidden, as a share.
        band_mask: the same of bands.
        mixup: alpha of the beta distribution of blends.
        equaliser: deviation of a random tone curve in dB.
    """

    recipe: Literal["published", "improved"]
    training_share: TrainingShare
    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"]
    copies: Count
    parts: Count
    crop: Annotated[float, Field(ge=0, le=1)]
    standardise: bool
    relative: bool
    dropout: ShareOrNone
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up: ShareOrNone
    weight_average: ShareOrNone
    label_smoothing: ShareOrNone
    time_mask: ShareOrNone
    band_mask: ShareOrNone
    mixup: Annotated[float, Field(ge=0)]
    equaliser: Annotated[float, Field(ge=0)]


class CrnnParams(NetworkParams):
    """``pools``: frames pooled after each of the three published convolutions."""

    pools: tuple[Count, Count, Count]


class ParallelParams(NetworkParams):
    """What only the parallel network has.

    Args:
        pools: (frames, bands) pooled after each of the five published convolutions.
        recurrent_pool: (frames, bands) pooled before the recurrent branch of either recipe.
        reset_after: of the published GRU.
    """

    pools: tuple[Pool, Pool, Pool, Pool, Pool]
    recurrent_pool: Pool
    reset_after: bool


class ModelsParams(Section):
    baseline: BaselineParams
    crnn: CrnnParams
    parallel: ParallelParams


class EnsembleParams(Section):
    members: Annotated[tuple[NetworkName, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def name_each_member_once(self) -> EnsembleParams:
        if len(set(self.members)) < len(self.members):
            raise ValueError("a member is named twice")
        return self


class GateParams(Section):
    """What a model must reach on validation before it may become challenger.

    Args:
        macro_f1: floor.
        recall: floor of every genre.
        ece: ceiling of the expected calibration error.
        champion_margin: how far below the champion's macro-F1, on the same clips, the upper end of the paired 95 %
            interval may lie.
        features_db: ceiling of the distance between features made by the model and the pipeline's.
        megabytes: ceiling of the packed model's size.
        latency_ms: ceiling of one clip's forward pass on the machine that registers.
    """

    macro_f1: Annotated[float, Field(ge=0, le=1)]
    recall: Annotated[float, Field(ge=0, le=1)]
    ece: Annotated[float, Field(ge=0, le=1)]
    champion_margin: Annotated[float, Field(ge=0, le=1)]
    features_db: Annotated[float, Field(ge=0)]
    megabytes: Annotated[float, Field(gt=0)]
    latency_ms: Annotated[float, Field(gt=0)]


class RegistryParams(Section):
    name: Annotated[str, Field(min_length=1)]
    gate: GateParams


class ServingParams(Section):
    """How the service answers.

    Args:
        confident_accuracy: share of the answers that are called sure which must be right, on validation.
        request_log: folder for a line a request, or None for no such log.
        shadow: whether the challenger answers, too, unseen.
    """

    confident_accuracy: Annotated[float, Field(gt=0, le=1)]
    request_log: Path | None
    shadow: bool


class DriftParams(Section):
    """What counts as drift.

    Args:
        distance: Jensen-Shannon distances up to here do not matter.
        false_alarm: how often clips of the reference's own kind may be told as drift.
        requests: the newest that are looked at.
        least: fewer requests tell nothing.
    """

    distance: Annotated[float, Field(ge=0, lt=1)]
    false_alarm: Annotated[float, Field(gt=0, lt=1)]
    requests: Count
    least: Count


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataParams
    split: SplitParams
    spectrogram: MelConfig
    models: ModelsParams
    ensemble: EnsembleParams
    registry: RegistryParams
    serving: ServingParams
    drift: DriftParams

    def of_model(self, name: str) -> dict[str, Any]:
        """What a model was made with, for its run: its own section and the seed."""
        section: Section = self.ensemble if name == "ensemble" else getattr(self.models, name)
        return section.model_dump() | {"seed": self.seed}


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        MusicGenreError: a key is missing or unknown, or a value is impossible; the message names each.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Params.model_validate(values)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MusicGenreError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise MusicGenreError(f"{path}: {problems}") from error


def _describe(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a known key"
    return f"{key}: found {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"
