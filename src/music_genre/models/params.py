"""What every model's section of ``params.yaml`` has, and the two recipes of networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from music_genre.config import Count, FractionOrZero, ParamsModel, PositiveFraction

Pool = tuple[Count, Count]
"""(frames, bands)."""


class ModelParams(ParamsModel):
    """What the section of every model has.

    Args:
        train_fraction: of the training clips; a smaller fraction is a subset of every larger one.
    """

    train_fraction: PositiveFraction

    @property
    def active(self) -> dict[str, Any]:
        """The values that a training uses, nested as in the file."""
        return self.model_dump()


class ImprovedParams(ParamsModel):
    """The improved recipe.

    Args:
        epochs: of each training.
        batch_size: clips a step.
        learning_rate: the highest.
        n_seeds: trainings from seed, seed + 1, ...; their predictions are averaged.
        n_segments: equal segments of a clip whose predictions are averaged; 1 takes it whole.
        crop_fraction: of a clip, that a training step sees, from anywhere in it; 0: one of its segments.
        normalize: ``per_band``: every band to mean 0 and deviation 1 over the training clips; ``ln_power``: the
            study's scale.
        mean_subtracted_channel: a second channel without the clip's own mean spectrum.
        dropout: fraction of the features.
        weight_decay: of AdamW, on kernels.
        warmup_fraction: of the steps, in which the learning rate rises.
        ema_fraction: of the steps, that the final weights are an exponential moving average over.
        label_smoothing: fraction of a target that is spread over all classes.
        max_time_mask: the longest masked stretch of frames, as a fraction (SpecAugment).
        max_freq_mask: the same of bands.
        mixup: alpha of the beta distribution of blends.
        random_eq_db: standard deviation of a random tone curve.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    n_seeds: Count
    n_segments: Count
    crop_fraction: Annotated[float, Field(ge=0, le=1)]
    normalize: Literal["per_band", "ln_power"]
    mean_subtracted_channel: bool
    dropout: FractionOrZero
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_fraction: FractionOrZero
    ema_fraction: FractionOrZero
    label_smoothing: FractionOrZero
    max_time_mask: FractionOrZero
    max_freq_mask: FractionOrZero
    mixup: Annotated[float, Field(ge=0)]
    random_eq_db: Annotated[float, Field(ge=0)]


class PublishedParams(ParamsModel):
    """The study's recipe.

    Args:
        epochs: of the training; the best by validation accuracy is kept.
        batch_size: clips a step.
        learning_rate: the first epoch's; halved where validation accuracy has not risen by 0.01 for 10 epochs.
        optimizer: Keras' class of that name.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    optimizer: Literal["adam", "rmsprop"]


class NetworkParams(ModelParams):
    """The section of a network: ``recipe`` names the section of the recipe that is used. A network with further recipes
    adds a section for each.

    Args:
        recipe: the one that is trained by.
        precision: that training computes in; stored weights, and predictions, are in float32.
        improved: values of the improved recipe.
    """

    recipe: str
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"]
    improved: ImprovedParams

    @field_validator("recipe")
    @classmethod
    def check_recipe(cls, recipe: str) -> str:
        recipes = sorted(cls.model_fields.keys() - NetworkParams.model_fields.keys() | {"improved"})
        if recipe not in recipes:
            raise ValueError(f"choose one of: {', '.join(recipes)}")
        return recipe

    @property
    def hyperparameters(self) -> Any:
        """The section of the active recipe."""
        return getattr(self, self.recipe)

    @property
    def active(self) -> dict[str, Any]:
        common = {"recipe": self.recipe, "train_fraction": self.train_fraction, "precision": self.precision}
        values: dict[str, Any] = self.hyperparameters.model_dump()
        return common | values


class EnsembleParams(ParamsModel):
    """The section ``ensemble``. ``members``: networks whose predictions are averaged."""

    members: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def check_unique_members(self) -> EnsembleParams:
        """Each member counts once."""
        if len(set(self.members)) < len(self.members):
            raise ValueError("a member is named twice")
        return self
