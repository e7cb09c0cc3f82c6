"""What holds a recording in the tracking store: artifacts of runs, examples of logged models, registered versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from music_genre.features.params import SPECTROGRAMS
from music_genre.forgetting.holders import CLIP_PLOTS, Holder, file_holder, table_holder
from music_genre.forgetting.recording import Recording
from music_genre.registry.versions import all_versions
from music_genre.tracking.runs import EXPERIMENT

DATA_DIGEST_TAG = "data_digest"
EXAMPLES = ("input_example.json", "serving_input_example.json")  # a validation clip, see tracking.models
TABLES = ("predictions*.csv", "embedding.csv")  # with a column track_id
RUNS_PER_PAGE, MODELS_PER_PAGE = 1000, 50


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of all runs and logged models of the project.

    Args:
        client: of the connected store.
        recording: to be forgotten.
        clips: its features, as stores have or had them.
    """

    client: MlflowClient
    recording: Recording
    clips: Sequence[np.ndarray]

    def holders(self) -> Iterator[Holder]:
        """Files below the local artifact folders."""
        if self.recording.track_id is None:
            return
        for run in self._runs():
            folder = _local(run.info.artifact_uri)
            if folder is not None and folder.is_dir():
                yield from self._of_run(run, folder)
        for folder in self._model_folders():
            paths = [folder / name for name in EXAMPLES]
            for path in paths:
                if path.is_file() and self._has_clip(path):
                    yield file_holder(path, str(path))

    def remote_uris(self) -> list[str]:
        """Where artifacts are that this machine cannot rewrite."""
        uris = {run.info.artifact_uri.rpartition("/artifacts")[0] for run in self._runs()}
        return sorted({uri.rpartition("/")[0] for uri in uris if _local(uri) is None})

    def _of_run(self, run: Run, folder: Path) -> Iterator[Holder]:
        ids = {self.recording.track_id}
        tables = [
            holder
            for pattern in TABLES
            for path in sorted(folder.rglob(pattern))
            for holder in table_holder(path, str(path), "track_id", ids)
        ]
        if tables or run.data.tags.get(DATA_DIGEST_TAG) in self.recording.splits:
            # Plots first: the rows say that they show it.
            for path in sorted(folder.rglob("*.png")):
                if path.name in CLIP_PLOTS:
                    yield file_holder(path, str(path))
        yield from tables

    def _runs(self) -> Iterator[Run]:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        token = None
        while experiment is not None:
            page = self.client.search_runs(
                [experiment.experiment_id], run_view_type=ViewType.ALL, max_results=RUNS_PER_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _model_folders(self) -> Iterator[Path]:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        token = None
        while experiment is not None:
            page = self.client.search_logged_models(
                [experiment.experiment_id], max_results=MODELS_PER_PAGE, page_token=token
            )
            yield from (folder for model in page if (folder := _local(model.artifact_location)) is not None)
            token = page.token
            if not token:
                return

    def _has_clip(self, example: Path) -> bool:
        """Whether an input example is one of the recording's spectrograms."""
        arrays = list(_arrays(json.loads(example.read_text(encoding="utf-8"))))
        return any(
            array.shape == clip.shape and np.allclose(array, clip, atol=1e-3) for array in arrays for clip in self.clips
        )


def version_notes(
    client: MlflowClient, name: str, recording: Recording, known_digests: set[str]
) -> dict[str, list[str]]:
    """The numbers of registered versions by whether they know the recording.

    Args:
        client: of the connected store.
        name: of the registered model.
        recording: to be forgotten.
        known_digests: of spectrograms of which it is known whether they have it.

    Returns:
        By ``training``, ``validation`` and ``test`` versions whose data have it in that split; by ``unknown`` those
        whose data are no longer known.
    """
    splits: Mapping[str, str] = recording.splits
    versions: dict[str, list[str]] = {}
    for version in all_versions(client, name):
        digest = _data_digest(client, version.run_id)
        split = splits.get(digest) or (None if digest in known_digests else "unknown")
        if split:
            versions.setdefault(split, []).append(str(version.version))
    return versions


def _data_digest(client: MlflowClient, run_id: str | None) -> str:
    try:
        return str(client.get_run(run_id).data.tags.get(DATA_DIGEST_TAG, "")) if run_id else ""
    except MlflowException:  # the run was deleted
        return ""


def _local(uri: str) -> Path | None:
    """The folder that an address of artifacts stands for; None where it is on a server."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _arrays(example: object) -> Iterator[np.ndarray]:
    """The spectrograms (frames, n_mels) of an input example, as MLflow writes it."""
    if isinstance(example, dict):
        for key in ("inputs", "instances", SPECTROGRAMS):
            if key in example:
                yield from _arrays(example[key])
        return
    try:
        array = np.asarray(example, dtype=np.float32)
    except (TypeError, ValueError):
        return
    if array.ndim == 3:
        yield from array
