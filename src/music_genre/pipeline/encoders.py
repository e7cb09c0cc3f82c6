"""Bring every pretrained encoder to ``models/encoders/<name>``, and make sure that it does what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from music_genre.datasets.download import download_part
from music_genre.encoders.description import CONFIG, MAX_CONFIG_BYTES, NETWORK
from music_genre.encoders.encoder import Encoder
from music_genre.encoders.package import WHEEL, write_encoder
from music_genre.encoders.params import EncoderParams
from music_genre.encoders.sessions import is_self_contained
from music_genre.errors import MusicGenreError
from music_genre.files import file_sha256
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

MAX_NETWORK_BYTES = 2**31  # no ONNX file is larger


@stage
def main(project: ProjectPaths) -> None:
    encoders = load_params(project.params).encoders
    shutil.rmtree(project.models / "encoders", ignore_errors=True)
    (project.models / "encoders").mkdir(parents=True)
    for name, params in encoders.items():
        folder = project.encoder(name)
        folder.mkdir()
        bring_encoder(params, folder, project.cache / "downloads" / name)
        found = file_sha256(folder / CONFIG)
        if params.sha256 and found != params.sha256:
            raise MusicGenreError(f"encoders.{name}.sha256: found {params.sha256}; {CONFIG} has {found}")
        encoder = Encoder.open(folder)
        if not is_self_contained(folder / NETWORK):
            raise MusicGenreError(f"encoders.{name}: {NETWORK} cannot be loaded: it is not ONNX in one file")
        encoder.load().check()
        about = encoder.config
        print(
            f"{name}: {about.name}, {about.dimension} numbers a window of {about.window_seconds:g} s, {about.license}"
        )


def bring_encoder(params: EncoderParams, folder: Path, downloads: Path) -> None:
    """Put ``encoder.json`` and ``encoder.onnx`` into a folder.

    Args:
        params: where they come from.
        folder: exists.
        downloads: for what is being downloaded.
    """
    if params.path:
        for file in (CONFIG, NETWORK):
            if not (params.path / file).is_file():
                raise MusicGenreError(f"{params.path / file} is missing")
            shutil.copyfile(params.path / file, folder / file)
    elif params.url:
        downloads.mkdir(parents=True, exist_ok=True)
        for file, max_bytes in ((CONFIG, MAX_CONFIG_BYTES), (NETWORK, MAX_NETWORK_BYTES)):
            part = downloads / f"{file}.part"
            download_part(f"{params.url.rstrip('/')}/{file}", part, max_bytes)
            part.replace(folder / file)
    else:
        write_encoder(Path(sys.prefix) / "share" / WHEEL, folder)


if __name__ == "__main__":
    main()
