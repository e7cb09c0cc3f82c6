"""``music-genre review``: listen to tracks whose labels look wrong, and decide."""

from __future__ import annotations

from typing import Annotated

import typer

from music_genre.paths import ProjectPaths


def review(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the page on this machine; 0: any free one.")] = 8765,
) -> None:
    """Listen to labels that look wrong, and decide.

    Decisions are written to data/corrections.csv; dvc repro applies them.
    """
    project = ProjectPaths.find()
    import socket

    import uvicorn

    from music_genre.features.store import SpectrogramStore
    from music_genre.review.app import make_app
    from music_genre.review.queue import ReviewQueue

    genres = list(SpectrogramStore.open(project.spectrograms).genres)
    queue = ReviewQueue(project.label_issues, project.faults, project.corrections, genres)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        typer.echo(f"{len(queue.order)} tracks to review at http://127.0.0.1:{listener.getsockname()[1]} (end: Ctrl+C)")
        config = uvicorn.Config(make_app(queue, project.audio), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
