"""What every model's section of ``params.yaml`` has, and the sections of the two recipes of networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from music_genre.config import Count, FractionOrZero, ParamsModel, PositiveFraction
from music_genre.features.params import EMBEDDINGS

Pool = tuple[Count, Count]  # (frames, bands)


class ModelParams(ParamsModel):
    """What the section of every model has.

    Args:
        input: what it is trained on: the folder in ``data/``.
        train_fraction: fraction of the training clips; a smaller fraction is a subset of every larger one.
    """

    input: str
    train_fraction: PositiveFraction

    @property
    def encoder(self) -> str | None:
        """The encoder whose embeddings it takes; None where it takes spectrograms."""
        folder, _, name = self.input.partition("/")
        return name if folder == EMBEDDINGS else None

    @property
    def active(self) -> dict[str, Any]:
        """The values that a training uses."""
        return self.model_dump()


class RecipeParams(ParamsModel):
    """What every recipe has.

    Args:
        epochs: of each training.
        batch_size: clips a step.
        learning_rate: the highest.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]


class ImprovedParams(RecipeParams):
    """The improved recipe.

    Args:
        n_seeds: trainings from seed, seed + 1, ...; their predictions are averaged.
        n_segments: equal segments of a clip whose predictions are averaged; 1: the whole clip.
        crop_fraction: fraction of a clip that a training step sees, from anywhere in it; 0: one of its segments.
        normalize: ``per_band``: every band to mean 0 and deviation 1 over the training clips; ``ln_power``: the
            study's scale.
        mean_subtracted_channel: a second channel without the clip's own mean spectrum.
        dropout: fraction of the features.
        weight_decay: AdamW's, of kernels.
        warmup_fraction: fraction of the steps in which the learning rate rises.
        ema_fraction: fraction of the steps that the final weights are an exponential moving average over.
        label_smoothing: fraction of a target that is spread over all classes.
        max_time_mask: the longest mask of SpecAugment, as a fraction of the frames.
        max_freq_mask: the same, as a fraction of the bands.
        mixup: alpha of the beta distribution of mixup's weights; 0: no mixup.
        random_eq_db: standard deviation of a random equalizer curve; 0: none.
    """

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


class PublishedParams(RecipeParams):
    """The study's recipe.

    Args:
        optimizer: the name of Keras' class, in lower case.
    """

    optimizer: Literal["adam", "rmsprop"]


class NetworkParams(ModelParams):
    """The section of a network: ``recipe`` names the section of the active recipe. A network that has further recipes
    adds a field for each.

    Args:
        input: ``spectrograms``.
        recipe: name of the recipe that the network is trained by.
        precision: Keras' dtype policy of training; stored weights and predictions are in float32.
        improved: section of the improved recipe.
    """

    input: Literal["spectrograms"]
    recipe: str
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"]
    improved: ImprovedParams

    @field_validator("recipe")
    @classmethod
    def check_recipe(cls, recipe: str) -> str:
        """Refuse a recipe that the network has no section for."""
        recipes = sorted(cls.model_fields.keys() - NetworkParams.model_fields.keys() | {"improved"})
        if recipe not in recipes:
            raise ValueError(f"choose one of: {', '.join(recipes)}")
        return recipe

    @property
    def active_recipe(self) -> RecipeParams:
        """The section of the active recipe."""
        section: RecipeParams = getattr(self, self.recipe)
        return section

    @property
    def active(self) -> dict[str, Any]:
        """The values that a training uses: those of the active recipe, and what all recipes share."""
        shared = {name: getattr(self, name) for name in ("input", "recipe", "train_fraction", "precision")}
        return shared | self.active_recipe.model_dump()


class EnsembleParams(ParamsModel):
    """The section ``ensemble``.

    Args:
        members: names of the networks whose predictions are averaged.
    """

    members: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def check_unique_members(self) -> EnsembleParams:
        """Refuse a member that is named twice."""
        if len(set(self.members)) < len(self.members):
            raise ValueError("members: one is named twice")
        return self
