"""Pack trained models into a bundle."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from music_genre.encoders.description import CONFIG, NETWORK
from music_genre.encoders.encoder import Encoder
from music_genre.errors import MusicGenreError
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import ENCODERS, MANIFEST, BundledMember, BundleManifest
from music_genre.models.calibration import read_temperature
from music_genre.models.ensemble import EnsembleMember, read_ensemble
from music_genre.models.linear_head import StoredHead
from music_genre.models.registry import ENSEMBLE
from music_genre.models.serialization import (
    HEAD_SUFFIX,
    answering_file,
    model_file,
    read_training_clips,
    write_training_clips,
)


@contextmanager
def temporary_bundle(models: Path, name: str, data: SpectrogramStore) -> Iterator[Path]:
    """A bundle of a trained model that is deleted when the block ends.

    Args:
        models: a folder with ``<name>/model.<format>`` for every model, and ``ensemble/ensemble.json``.
        name: of a model in it.
        data: what the model was trained on.

    Yields:
        The bundle's folder.

    Raises:
        MusicGenreError: the model, or a member of the ensemble, has not been trained.
    """
    with tempfile.TemporaryDirectory() as temporary:
        bundle_dir = Path(temporary) / "bundle"
        _write_bundle(bundle_dir, _manifest(models, name, data), models)
        yield bundle_dir


def _manifest(models: Path, name: str, data: SpectrogramStore) -> BundleManifest:
    if name == ENSEMBLE:
        members, temperature = read_ensemble(models)
    else:
        members, temperature = [EnsembleMember(name, 1.0, read_temperature(models / name))], 1.0
    files = {member.name: answering_file(models, member.name) for member in members}
    trained = {member.name: model_file(models, member.name) for member in members}
    heads = {member: StoredHead.read(file) for member, file in trained.items() if file.suffix == HEAD_SUFFIX}
    inputs = {member: heads[member].encoder if member in heads else SPECTROGRAMS for member in files}
    encoders = {head.encoder: Encoder.open(models / ENCODERS / head.encoder).config for head in heads.values()}
    for member, head in heads.items():
        if encoders[head.encoder].digest != head.encoder_digest:
            raise MusicGenreError(f"{member} was trained on another {head.encoder}: `dvc repro` trains it anew")
    return BundleManifest(
        name=name,
        members=tuple(
            BundledMember(
                **asdict(member),
                file=f"{member.name}{file.suffix}",
                input=inputs[member.name],
                trained=f"{member.name}{trained[member.name].suffix}" if trained[member.name] != file else "",
            )
            for member, file in zip(members, files.values(), strict=True)
        ),
        temperature=temperature,
        genres=data.genres,
        shape=data.shape,
        transform=data.transform,
        features_version=data.features_version,
        min_duration_s=data.min_duration_s,
        encoders=encoders,
    )


def _write_bundle(bundle_dir: Path, manifest: BundleManifest, models: Path) -> None:
    bundle_dir.mkdir()
    for member in manifest.members:
        shutil.copyfile(answering_file(models, member.name), bundle_dir / member.file)
        if member.trained:
            shutil.copyfile(model_file(models, member.name), bundle_dir / member.trained)
    trained_on = [read_training_clips(models / member.name) for member in manifest.members]
    write_training_clips(bundle_dir, np.concatenate(trained_on))
    for name in manifest.encoders:
        target = bundle_dir / ENCODERS / name
        target.mkdir(parents=True)
        for file in (CONFIG, NETWORK):
            shutil.copyfile(models / ENCODERS / name / file, target / file)
    values = asdict(manifest) | {
        "transform": manifest.transform.model_dump() if manifest.transform else None,
        "encoders": {name: config.model_dump() for name, config in manifest.encoders.items()},
    }
    (bundle_dir / MANIFEST).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
