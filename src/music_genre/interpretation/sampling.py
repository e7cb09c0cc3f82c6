"""Samples of a split: enough clips to interpret a network by, few enough to be quick."""

from __future__ import annotations

from music_genre.features.store import ClipDataset

N_FILTER_CLIPS = 512  # training clips whose activations filters are compared by
N_SALIENCY_CLIPS = 16  # test clips whose predictions are explained
N_EMBEDDING_CLIPS = 2000  # test clips that are projected and clustered


def sample_clips(clips: ClipDataset, count: int) -> ClipDataset:
    """About ``count`` of the clips, in equal fractions of every genre; at least one of each."""
    return clips.subsample(min(1.0, count / len(clips)))
