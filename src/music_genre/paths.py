"""Where everything lies. Only stages, the command line and the service ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from music_genre.errors import MusicGenreError


@dataclass(frozen=True)
class ProjectPaths:
    """The files of one checkout.

    Args:
        root: the folder that holds ``dvc.yaml``.
    """

    root: Path

    @classmethod
    def here(cls) -> ProjectPaths:
        """The checkout that the working directory belongs to."""
        start = Path.cwd()
        for folder in (start, *start.parents):
            if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
                return cls(folder)
        raise MusicGenreError(f"no dvc.yaml and params.yaml in {start} or above: run this inside the project")

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "dvc.lock"

    @property
    def raw(self) -> Path:
        return self.root / "data/raw"

    @property
    def tracks(self) -> Path:
        return self.root / "data/tracks.parquet"

    @property
    def faults(self) -> Path:
        return self.root / "data/faults.csv"

    @property
    def splits(self) -> Path:
        return self.root / "data/splits.parquet"

    @property
    def split_table(self) -> Path:
        return self.root / "reports/splits.csv"

    @property
    def spectrograms(self) -> Path:
        return self.root / "data/spectrograms"

    @property
    def data_quality(self) -> Path:
        return self.root / "reports/data_quality"

    @property
    def comparison(self) -> Path:
        return self.root / "reports/evaluation/comparison.csv"

    @property
    def coverage_picture(self) -> Path:
        return self.root / "reports/evaluation/coverage.png"

    @property
    def genre_sheet(self) -> Path:
        return self.root / "reports/genres.png"

    @property
    def page(self) -> Path:
        return self.root / "reports/index.html"

    @property
    def registration(self) -> Path:
        return self.root / "reports/registration.json"

    @property
    def gate(self) -> Path:
        return self.root / "reports/gate.json"

    @property
    def drift(self) -> Path:
        return self.root / "reports/drift"

    @property
    def models(self) -> Path:
        """A folder a model; see ``packed``."""
        return self.root / "models"

    @property
    def cache(self) -> Path:
        """What must outlive an interrupted stage; ignored by git and DVC."""
        return self.root / ".cache"

    def model_file(self, name: str) -> Path:
        """Of a trained model; all but the baseline are networks."""
        return self.models / name / ("model.skops" if name == "baseline" else "model.keras")

    def history(self, name: str) -> Path:
        return self.models / name / "history.csv"

    def pointer(self, name: str) -> Path:
        return self.models / name / "run.json"

    def explanation(self, name: str) -> Path:
        return self.root / "reports/explain" / name

    def evaluation(self, name: str) -> Path:
        return self.root / "reports/evaluation" / name
