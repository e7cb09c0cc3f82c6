"""The section ``encoders`` of ``params.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from music_genre.config import OptionalPath, ParamsModel


class EncoderParams(ParamsModel):
    """Where an encoder comes from: one of three.

    Args:
        package: one that the set-up brings.
        path: a folder with ``encoder.json`` and ``encoder.onnx``.
        url: an address below which the two files are.
        sha256: of ``encoder.json``, which names that of ``encoder.onnx``; for ``path`` and ``url``, so that another
            encoder is another training.
    """

    package: Literal["musicnn"] | None
    path: OptionalPath
    url: str | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None

    @model_validator(mode="after")
    def check_one_source(self) -> EncoderParams:
        """One source must be named, and one of the user's by its digest."""
        if sum(bool(source) for source in (self.package, self.path, self.url)) != 1:
            raise ValueError("package: name one of package, path and url")
        if not self.package and self.sha256 is None:
            raise ValueError("sha256: is missing; `sha256sum encoder.json` prints it")
        return self
