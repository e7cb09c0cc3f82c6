"""Turn every clip that has a spectrogram into the embeddings of each encoder: ``data/embeddings/<encoder>``."""

from __future__ import annotations

import shutil

import pandas as pd

from music_genre.datasets.splits import SPLITS
from music_genre.encoders.encoder import Encoder
from music_genre.errors import MusicGenreError
from music_genre.features.cache import build_store
from music_genre.features.extraction import EmbeddingExtractor, audio_clips
from music_genre.features.store import INDEX
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.settings import load_settings


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    shutil.rmtree(project.embeddings, ignore_errors=True)
    project.embeddings.mkdir(parents=True)
    if not params.data.has_audio:
        for name in params.encoders:
            (project.embeddings / name).mkdir()
        print(f"{params.data.source_name} has no audio: no embeddings, and no model is trained on them")
        return
    clips = pd.read_parquet(project.spectrograms / INDEX)[["track_id", "split", "genre"]]
    splits = clips.merge(pd.read_parquet(project.splits)[["track_id", "artist_id"]], on="track_id")
    tracks = pd.read_parquet(project.tracks)
    audio = load_settings(project.root).audio_folder(project.audio)
    for name in params.encoders:
        extractor = EmbeddingExtractor(Encoder.open(project.encoder(name)), params.spectrogram)
        source = audio_clips(audio, tracks, extractor, project.cache / "journal")
        folder = project.embeddings / name
        failed = build_store(folder, project.embedding_cache(name), splits, SPLITS, source, params.data.min_duration_s)
        if failed:
            raise MusicGenreError(f"{name}: track {failed[0].track_id} has no embedding: {failed[0].detail}")
        print(f"{name}: {len(splits)} clips")


if __name__ == "__main__":
    main()
