"""Where files are. Only stages, the command line and the service know."""

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
    def find(cls) -> ProjectPaths:
        """The checkout that the working directory belongs to.

        Raises:
            MusicGenreError: it belongs to none.
        """
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
    def cache(self) -> Path:
        """What must outlive an interrupted stage; ignored by git and DVC."""
        return self.root / ".cache"

    @property
    def outs(self) -> tuple[Path, ...]:
        """Folders in which DVC or a stage removes files; nothing of a user's may lie in them, or hold them."""
        data = (self.audio, self.spectrograms, self.embeddings, self.root / "data/predictions")
        own = (*data, self.models, self.reports)
        return (*own, self.cache, self.root / ".dvc")

    @property
    def audio(self) -> Path:
        """The pipeline's own copy of recordings and metadata. ``data/raw`` is the user's: nothing is written there."""
        return self.root / "data/audio"

    @property
    def listing(self) -> Path:
        """What lies at the sources."""
        return self.root / "data/listing.parquet"

    @property
    def corrections(self) -> Path:
        return self.root / "data/corrections.csv"

    @property
    def tracks(self) -> Path:
        return self.root / "data/tracks.parquet"

    @property
    def inspection(self) -> Path:
        """The issues that stage ``inspect`` found."""
        return self.root / "data/inspection.csv"

    @property
    def faults(self) -> Path:
        """The issues that any stage found."""
        return self.root / "data/faults.csv"

    @property
    def splits(self) -> Path:
        return self.root / "data/splits.parquet"

    @property
    def split_ledger(self) -> Path:
        """The split that each track was dealt to, for ever."""
        return self.root / "data/split_ledger.csv"

    @property
    def spectrograms(self) -> Path:
        return self.root / "data/spectrograms"

    @property
    def spectrogram_faults(self) -> Path:
        """The clips that stage ``spectrograms`` dropped."""
        return self.spectrograms / "faults.csv"

    @property
    def embeddings(self) -> Path:
        """A folder for each encoder."""
        return self.root / "data/embeddings"

    def embedding_cache(self, encoder: str) -> Path:
        """What outlives an interrupted run."""
        return self.cache / "embeddings" / encoder

    def predictions(self, name: str) -> Path:
        """Probabilities of a model for the evaluated splits."""
        return self.root / "data/predictions" / f"{name}.npz"

    @property
    def models(self) -> Path:
        """A folder for each model; see ``models.bundle``."""
        return self.root / "models"

    def encoder(self, name: str) -> Path:
        """A pretrained encoder; see ``encoders.encoder``."""
        return self.models / "encoders" / name

    def history(self, name: str) -> Path:
        return self.models / name / "history.csv"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def mlflow_ref(self, name: str) -> Path:
        """Which MLflow run a model has in this checkout's store; neither in git nor in DVC."""
        return self.reports / "runs" / f"{name}.json"

    @property
    def split_table(self) -> Path:
        return self.reports / "splits.csv"

    @property
    def split_notes(self) -> Path:
        """What was asked of the splits and could not be met."""
        return self.reports / "split_notes.csv"

    @property
    def split_changes(self) -> Path:
        """The tracks that fit into no split any more, and why."""
        return self.reports / "split_changes.csv"

    @property
    def label_issues(self) -> Path:
        """The tracks whose labels look wrong."""
        return self.reports / "label_issues.csv"

    @property
    def data_quality(self) -> Path:
        return self.reports / "data_quality"

    @property
    def data_checks(self) -> Path:
        return self.data_quality / "summary.json"

    @property
    def evaluation(self) -> Path:
        """A folder for each model, and the tables that compare them; see ``evaluation.results``."""
        return self.reports / "evaluation"

    def metrics(self, name: str) -> Path:
        """The metrics of a model on the evaluated splits."""
        return self.evaluation / name / "metrics.json"

    def metrics_summary(self, name: str) -> Path:
        """The metrics of a model that git keeps; see ``evaluation.results``."""
        return self.reports / "metrics" / f"{name}.json"

    @property
    def risk_coverage_plot(self) -> Path:
        return self.evaluation / "plots/risk_coverage.png"

    def interpretation(self, name: str) -> Path:
        return self.reports / "interpretation" / name

    def encoder_tags(self, name: str) -> Path:
        """What the encoder of a model says about each genre."""
        return self.interpretation(name) / "tables/tags.csv"

    @property
    def genre_examples_plot(self) -> Path:
        return self.reports / "genre_examples.png"

    @property
    def run_report(self) -> Path:
        return self.reports / "index.html"

    @property
    def gate(self) -> Path:
        return self.reports / "gate.json"

    @property
    def registration(self) -> Path:
        return self.reports / "registration.json"

    @property
    def registered(self) -> Path:
        """What stage ``register`` has registered, in words that are the same on every machine: DVC's out."""
        return self.reports / "registered.json"

    @property
    def drift(self) -> Path:
        return self.reports / "drift"
