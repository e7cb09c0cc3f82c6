"""What the sections of ``params.yaml`` are made of: each package describes its own section with these."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from music_genre.errors import MusicGenreError

Model = TypeVar("Model", bound=BaseModel)

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


def read_yaml(path: Path) -> Any:
    """The values of a YAML file, as DVC reads it (YAML 1.2); none contains itself.

    Raises:
        MusicGenreError: the file cannot be read, is not YAML, or has a value that DVC cannot read.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        json.dumps(values, default=repr, skipkeys=True)
    except OSError as error:
        raise MusicGenreError(f"{path} cannot be read: {error.strerror}") from error
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise MusicGenreError(f"{path} is not YAML: {line}{error.problem}") from error
    except RecursionError as error:
        raise MusicGenreError(f"{path}: values are nested too deep") from error
    except (
        YAMLError,
        ValueError,
    ) as error:  # ValueError: not UTF-8, an endless number, or a value that contains itself
        raise MusicGenreError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    for key, value in _leaves(values):
        if not isinstance(value, (str, int, float, type(None))):
            raise MusicGenreError(f"{path}: {key}: found {value!r}, which DVC cannot read: put it in quotes")
    return values


def validate(model: type[Model], values: Any, path: Path) -> Model:
    """The values of a file as a model.

    Raises:
        MusicGenreError: a key is missing or unknown, or a value is impossible; the message names each.
    """
    try:
        # As strict JSON: text is no number and `yes` is text, as for DVC, but lists may be tuples and text a path.
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise MusicGenreError(f"{path}: {problems}") from error


def _leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every name and every value that is no mapping or list, with its dotted key."""
    if isinstance(values, (dict, list)):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        for name, value in items:
            child = f"{key}.{name}".lstrip(".")
            yield child, name
            yield from _leaves(value, child)
    else:
        yield key, values


def _describe(problem: ErrorDetails) -> str:
    """What is wrong, with the dotted key that it is wrong with."""
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a known key{_describe_unknown_section(problem)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # Of a section's values together: the message begins with a key of the section.
        return ".".join([*map(str, problem["loc"]), message])
    return f"{key}: found {problem['input']!r}: {message}"


def _describe_unknown_section(problem: ErrorDetails) -> str:
    """Why there is no such section, where it is one of a model or of a data set; else an empty text."""
    section, name = map(str, (*problem["loc"], "", "")[:2])
    described_by = {"models": ("models", "MODEL"), "data": ("datasets", "DATASET")}
    if section not in described_by or len(problem["loc"]) != 2 or not isinstance(problem["input"], dict):
        return ""
    if not SECTION_NAME.fullmatch(name):
        return ": such names are lower-case letters, digits and underscores"
    package, attribute = described_by[section]
    return f": there is no src/music_genre/{package}/{name}.py with a {attribute}"
