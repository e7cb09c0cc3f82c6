"""What the sections of ``params.yaml`` are made of: each package describes its own section with these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
FractionOrZero = Annotated[float, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class ParamsModel(BaseModel):
    """A section of ``params.yaml``: unknown keys and numbers that are not finite are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SectionMap(ParamsModel):
    """Sections whose names are known only when the file is read, in its order: ``sections["crnn"]``."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sections, in the order of the file."""
        return tuple(type(self).model_fields)

    def __getitem__(self, name: str) -> Any:
        """A section by its name.

        Raises:
            KeyError: there is none.
        """
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)
