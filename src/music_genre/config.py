"""What the sections of ``params.yaml`` are made of: each package describes its own section with these."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
FractionOrZero = Annotated[float, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
OptionalPath = Annotated[Path | None, BeforeValidator(lambda path: path or None)]  # "" is none, not the current folder

SECTION_NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a model or a data set, which is also the name of its module


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


def load_description(package: str, name: str, attribute: str) -> Any:
    """What the module ``<package>.<name>`` says about the section ``name`` of ``params.yaml``.

    Args:
        package: of the modules that describe sections of one kind.
        name: of the section.
        attribute: of the module.

    Returns:
        The attribute's value; None where the name is none of a section, or there is no such module or attribute.
    """
    module = f"{package}.{name}"
    if not SECTION_NAME.fullmatch(name) or find_spec(module) is None:
        return None
    return getattr(import_module(module), attribute, None)
