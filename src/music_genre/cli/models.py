"""Commands on registered models: list, register, promote, roll back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.cli._context import connect, open_registry
from music_genre.errors import GateRefusedError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from music_genre.cli._tables import Cell
    from music_genre.registry.listing import VersionInfo
    from music_genre.validation.feedback import FeedbackAccuracy

VERSION_COLUMNS = (
    "version",
    "model",
    "verdict",
    "validation macro-F1",
    "test macro-F1",
    "created (UTC)",
    "aliases, notes",
)


def versions(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of tables.")] = False,
) -> None:
    """List the registered versions and the champions.

    Versions are listed newest first, champions oldest first.
    """
    project = ProjectPaths.find()
    from music_genre.cli._tables import print_table
    from music_genre.registry.history import periods_of
    from music_genre.registry.listing import describe_versions

    registry = open_registry(project)
    listed, feedback = describe_versions(registry), feedback_accuracy(project)
    if as_json:
        values = [
            asdict(v)
            | {"shadow": v.shadow and v.shadow.model_dump()}
            | {"feedback": asdict(feedback[v.version]) if v.version in feedback else None}
            for v in listed
        ]
        typer.echo(json.dumps(values, indent=2))
        return
    if not listed:
        typer.echo(f"{registry.name} has no versions yet: `dvc repro` trains one, `music-genre register` registers it")
        return
    print_table(VERSION_COLUMNS, [version_row(version) for version in listed])
    for version in listed:
        if version.shadow:
            typer.echo(f"\nversion {version.version} {version.shadow}")
        if version.version in feedback:
            typer.echo(f"\nversion {version.version} {feedback[version.version]}")
    periods = periods_of(registry)
    if periods:
        typer.echo("")
        print_table(
            ("champion", "from", "to", "reason"),
            [(period.version, period.since, period.until or "now", period.reason) for period in periods],
        )


def version_row(version: VersionInfo) -> tuple[Cell, ...]:
    """A version's cells of ``VERSION_COLUMNS``."""
    aliases = ", ".join(version.aliases)
    failed = f"failed {', '.join(version.failed)}" if version.failed else ""
    forced = f"forced: {version.forced}" if version.forced else ""
    notes = "; ".join(filter(None, (aliases, failed, forced)))
    created = version.created[: len("2030-01-01T00:00")].replace("T", " ")
    f1 = version.validation_macro_f1, version.test_macro_f1
    return version.version, version.model, version.verdict, *f1, created, notes


def feedback_accuracy(project: ProjectPaths) -> dict[str, FeedbackAccuracy]:
    """The accuracy of each version on the service's requests with feedback; empty where there is no request log."""
    from music_genre.settings import load_settings

    folder = load_settings(project.root).request_log
    if folder is None:
        return {}
    from music_genre.validation.feedback import accuracy_by_version, read_feedback

    return accuracy_by_version(read_feedback(folder))


def register() -> None:
    """Register the best model of models/.

    A model that is registered keeps its version. Exit code 3: the gate refused the model, which is registered without
    an alias.
    """
    project = ProjectPaths.find()
    from music_genre.pipeline.register import register_selected
    from music_genre.registry import REFUSED

    registration = register_selected(project)
    typer.echo(registration)
    if registration.verdict == REFUSED:
        raise GateRefusedError(f"the gate refused {registration.name} version {registration.version}")


def promote(
    version: Annotated[str | None, typer.Option(metavar="N", help="Default: the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote what the gate refused; takes --reason.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; stored in the history of champions.")] = None,
) -> None:
    """Make a version champion, which is served.

    Exit code 3: the gate refused the version.
    """
    if force != bool(reason):
        raise typer.BadParameter("--force and --reason TEXT go together")
    project = ProjectPaths.find()
    if version is not None and version.isdigit():
        open_registry(project).resolve(version)  # an unknown one is refused before MLflow is imported
    from music_genre.registry import versions as registry

    client, name = connect(project)
    with registry.registry_lock(project.root):
        promoted = registry.promote(client, name, version, reason)
    typer.echo(f"{name} version {promoted} is champion")


def rollback() -> None:
    """Make the previous champion champion again."""
    project = ProjectPaths.find()
    from music_genre.registry import versions as registry

    client, name = connect(project)
    with registry.registry_lock(project.root):
        version = registry.rollback(client, name)
    typer.echo(f"{name} version {version} is champion again")
