"""``music-genre retrain``: train again on what the collection holds now; a job that can be killed and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music_genre.cli._context import ExitCode, connect
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from music_genre.pipeline.register import Registration
    from music_genre.registry.promotion import ChallengerEvidence
    from music_genre.settings import Settings


def retrain(
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="The summary; default: reports/retrain.md.")
    ] = None,
) -> None:
    """Train again on what the collection holds now.

    Runs dvc repro, which sees what changed; registers the model that the gate selects as challenger, and sums up what
    happened. A challenger is promoted only with the setting promote = "automatic", once it has predicted enough in
    shadow mode and feedback does not speak against it. Killed, it goes on when it is called again. Exit code 3: the
    gate refused the model.
    """
    project = ProjectPaths.find()
    target = output or project.reports / "retrain.md"
    from music_genre.files import atomic_write_text
    from music_genre.pipeline.register import register_selected
    from music_genre.registry import REFUSED
    from music_genre.settings import load_settings

    settings = load_settings(project.root)
    with one_at_a_time(project.cache / "retrain.lock"):
        job = RetrainJob.begin(project)
        run_pipeline(project)
        registration = job.find_registration(project)
        if registration is None:  # stage register had nothing to do, but the store may be new or lost
            registration = register_selected(project)
        client, name = connect(project)
        promotion = consider_promotion(client, name, project, settings)
        atomic_write_text(target, summarize(job, project, registration, client, name, promotion))
        job.end()
    typer.echo(f"\n{target.read_text(encoding='utf-8')}\nThis summary: {target}")
    if registration.verdict == REFUSED:
        typer.echo(f"music-genre: the gate refused {registration.model}; the champion stays", err=True)
        raise typer.Exit(ExitCode.REFUSED)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock of the job during the block; a killed process releases it.

    Raises:
        MusicGenreError: another process holds it.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise MusicGenreError("another retrain is running in this checkout") from error


@dataclass(frozen=True)
class RetrainJob:
    """A job that has begun; a file keeps it until it ends.

    Args:
        file: that keeps it.
        begun: when, ISO 8601.
        genres: by track id, before anything was trained.
        champion: the version that was served then; None where there was none.
    """

    file: Path
    begun: str
    genres: dict[str, str]
    champion: str | None

    @classmethod
    def begin(cls, project: ProjectPaths) -> RetrainJob:
        """Begin a job, or take up the one that a killed process left."""
        from datetime import UTC, datetime

        from music_genre.files import atomic_write_text
        from music_genre.registry.history import isoformat
        from music_genre.registry.versions import champion

        file = project.cache / "retrain.json"
        if file.is_file():
            job = cls(file, **json.loads(file.read_text(encoding="utf-8")))
            typer.echo(f"Going on with the job of {job.begun}")
            return job
        values: dict[str, Any] = {
            "begun": isoformat(datetime.now(UTC)),
            "genres": read_genres(project),
            "champion": champion(*connect(project)),
        }
        atomic_write_text(file, json.dumps(values))
        return cls(file, **values)

    def find_registration(self, project: ProjectPaths) -> Registration | None:
        """What stage ``register`` wrote since the job began; None where it did not run."""
        from datetime import datetime

        from music_genre.pipeline.register import read_registration

        file = project.registration
        if not file.is_file() or file.stat().st_mtime < datetime.fromisoformat(self.begun).timestamp():
            return None
        return read_registration(file)

    def end(self) -> None:
        """Forget the job: the next call begins another."""
        self.file.unlink()


def read_genres(project: ProjectPaths) -> dict[str, str]:
    """The genre of each track of the collection, by its id; none before the first run."""
    import pandas as pd

    if not project.tracks.is_file():
        return {}
    tracks = pd.read_parquet(project.tracks, columns=["track_id", "genre"])
    return dict(zip(tracks["track_id"].astype(str), tracks["genre"].astype(str), strict=True))


def run_pipeline(project: ProjectPaths) -> None:
    """Run ``dvc repro``, which goes on where a killed one was.

    Raises:
        MusicGenreError: a stage failed; it has said why.
    """
    python, check_sources = sys.executable, "from music_genre.pipeline import scan; scan.check()"
    for command in ([python, "-c", check_sources], [python, "-m", "dvc", "repro"]):
        if subprocess.run(command, cwd=project.root, check=False).returncode:  # noqa: S603  # both are our own
            raise MusicGenreError(
                "dvc repro failed; call retrain again once its cause is mended: it goes on from there"
            )


@dataclass(frozen=True)
class Promotion:
    """What became of the challenger.

    Args:
        challenger: its version.
        champion: the version that was champion before.
        evidence: of the challenger.
        obstacle: why it was not promoted; empty where it was.
    """

    challenger: str
    champion: str
    evidence: ChallengerEvidence
    obstacle: str


def consider_promotion(client: MlflowClient, name: str, project: ProjectPaths, settings: Settings) -> Promotion | None:
    """Promote the challenger if the settings ask for it and their criteria are met; None where there is none.

    Args:
        client: of the connected store.
        name: of the registered model.
        project: the checkout.
        settings: of the project.
    """
    from music_genre.registry import versions
    from music_genre.registry.promotion import PromotionCriteria, collect_evidence
    from music_genre.registry.shadow import read_shadow
    from music_genre.validation.feedback import read_feedback
    from music_genre.validation.request_log import read_shadow_predictions

    with versions.registry_lock(project.root):
        champion, challenger = versions.champion(client, name), versions.challenger(client, name)
        if champion is None or challenger is None or champion == challenger:
            return None
        stats, log = read_shadow(client.get_model_version(name, challenger).tags), settings.request_log
        judged = (read_shadow_predictions(log), read_feedback(log)) if log else None
        evidence = collect_evidence(champion, challenger, stats, judged)
        if settings.promote == "manual":
            return Promotion(challenger, champion, evidence, "`music-genre promote` does it")
        criteria = PromotionCriteria(settings.promote_min_shadow, settings.promote_min_feedback)
        obstacle = evidence.obstacle(criteria)
        if not obstacle:
            versions.promote(client, name, challenger, None, reason=f"promoted by retrain: {evidence}")
        return Promotion(challenger, champion, evidence, obstacle)


def summarize(
    job: RetrainJob,
    project: ProjectPaths,
    registration: Registration,
    client: MlflowClient,
    name: str,
    promotion: Promotion | None,
) -> str:
    """What happened, in Markdown."""
    from music_genre.registry.versions import champion

    lines = [
        f"# Retrained {name}, {job.begun}",
        "",
        f"- Collection: {describe_changes(job.genres, read_genres(project))}.",
        f"- The gate {registration.verdict} {registration.model}, version {registration.version}"
        f"{'' if promotion else '; it needs no promotion'}.",
        *(f"  - {criterion}" for criterion in registration.criteria),
        *(f"  - note: {note}" for note in registration.notes),
    ]
    if promotion:
        state = "was promoted" if not promotion.obstacle else f"was not promoted: {promotion.obstacle}"
        lines += [f"- Challenger, version {promotion.challenger}: {promotion.evidence}. It {state}."]
    lines += [f"- Champion: version {champion(client, name) or 'none'}, before {job.champion or 'none'}.", ""]
    return "\n".join(lines)


def describe_changes(before: dict[str, str], after: dict[str, str]) -> str:
    """How a collection changed, from the genres by track id."""
    new, gone = after.keys() - before.keys(), before.keys() - after.keys()
    relabelled = sum(before[track] != after[track] for track in before.keys() & after.keys())
    return f"{len(after):,} tracks, {len(new):,} new, {len(gone):,} gone, {relabelled:,} with another genre"
