"""Labels that look wrong: tracks whose genre a model does not believe that was trained on other artists' tracks.

The out-of-fold probability of the given label is the *self-confidence* of confident learning (Northcutt, Jiang and
Chuang, JAIR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from music_genre.files import sha256
from music_genre.models.calibration import apply_temperature, fit_temperature

N_FOLDS = 5
PENALTY = 10.0  # of the support-vector machine, as in the section of the baseline
ISSUE_COLUMNS = ["track_id", "genre", "suggested", "self_confidence", "suggested_confidence", "note"]


def find_label_issues(
    features: np.ndarray, tracks: pd.DataFrame, recordings: Sequence[str], genres: Sequence[str], seed: int
) -> pd.DataFrame:
    """Tracks whose label looks wrong, the most suspicious first.

    First come copies of one recording under two labels, one of which must be wrong; then tracks of which a
    support-vector machine believes another genre more, by how little it believes the label.

    Args:
        features: (n, d) of the clips.
        tracks: (n,) columns track_id, genre, artist_id (may be null).
        recordings: (n,) equal for copies of one recording.
        genres: in label order.
        seed: of the folds.

    Returns:
        ``ISSUE_COLUMNS``; probabilities are in [0, 1].
    """
    labels = pd.Categorical(tracks["genre"], categories=list(genres)).codes.astype(np.int64)
    copies = pd.Series(recordings, tracks.index)
    groups = pd.factorize(tracks["artist_id"].astype("string").fillna(copies))[0]
    probabilities = out_of_fold_probabilities(features, labels, groups, len(genres), seed)
    own = probabilities[np.arange(len(labels)), labels]
    suggested = probabilities.argmax(axis=1)
    table = pd.DataFrame(
        {
            "track_id": tracks["track_id"],
            "genre": tracks["genre"],
            "suggested": np.asarray(genres, dtype=object)[suggested],
            "self_confidence": own.round(4),
            "suggested_confidence": probabilities.max(axis=1).round(4),
            "note": "",
        }
    )
    rivals = tracks.groupby(copies)["genre"].transform("nunique") > 1
    for recording in copies[rivals].unique():
        same = tracks[copies == recording]
        for row in same.itertuples():
            others = same.loc[(same["genre"] != row.genre), ["track_id", "genre"]]
            texts = [f"{other.track_id} as {other.genre}" for other in others.itertuples()]
            table.loc[row.Index, "note"] = f"the same recording is {', '.join(texts)}"
    is_issue = (table["note"] != "") | ((suggested != labels) & ~np.isnan(own))
    table["is_copy"] = table["note"] != ""
    order = ["is_copy", "self_confidence", "track_id"]
    return table[is_issue].sort_values(order, ascending=[False, True, True], ignore_index=True)[ISSUE_COLUMNS]


def out_of_fold_probabilities(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_genres: int, seed: int
) -> np.ndarray:
    """(n, n_genres) probabilities of every clip by a model that saw no clip of its group, at the temperature that fits
    the labels best; NaN for genres of a single group, which no other group can tell of.
    """
    from scipy.special import softmax
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    n_groups = pd.Series(groups).groupby(labels).nunique()
    judged = np.isin(labels, n_groups.index[n_groups > 1])
    probabilities = np.full((len(labels), n_genres), np.nan)
    present = np.unique(labels[judged])
    if len(present) < 2:
        return probabilities
    folds = StratifiedGroupKFold(min(N_FOLDS, int(n_groups[present].min())), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), SVC(C=PENALTY, decision_function_shape="ovr"))
    scores = cross_val_predict(
        model, features[judged], labels[judged], groups=groups[judged], cv=folds, method="decision_function", n_jobs=-1
    )
    if len(present) == 2:  # one score, of the second genre
        scores = np.stack([-scores, scores], axis=1)
    positions = np.searchsorted(present, labels[judged])
    filled = np.zeros((int(judged.sum()), n_genres))
    believed = softmax(scores, axis=1)
    filled[:, present] = apply_temperature(believed, fit_temperature(believed, positions))
    probabilities[judged] = filled
    return probabilities


def recording_digest(mel: np.ndarray) -> str:
    """Equal for clips with the same spectrogram (n_frames, n_mels)."""
    return sha256(np.ascontiguousarray(mel, dtype=np.float16).tobytes())
