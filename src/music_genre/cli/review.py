"""``music-genre review``: listen to tracks whose labels look wrong, and decide."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths


def review(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the page on this machine; 0: any free one.")] = 8765,
) -> None:
    """Listen to labels that look wrong, and decide.

    Decisions are written to data/corrections.csv; dvc repro applies them.
    """
    project = ProjectPaths.find()
    import uvicorn

    from music_genre.features.store import SpectrogramStore
    from music_genre.params import load_params
    from music_genre.review.app import make_app
    from music_genre.review.queue import ReviewQueue

    if not load_params(project.params).data.has_audio:
        raise MusicGenreError("ready spectrograms have no recordings to listen to; data/corrections.csv can be edited")
    genres = list(SpectrogramStore.open(project.spectrograms).genres)
    queue = ReviewQueue(project.label_issues, project.faults, project.corrections, genres)
    with listen(port) as listener:
        typer.echo(f"{len(queue.order)} tracks to review at http://127.0.0.1:{listener.getsockname()[1]} (end: Ctrl+C)")
        config = uvicorn.Config(make_app(queue, project.audio), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A socket of this machine alone, so that the port is known before the server starts.

    Raises:
        MusicGenreError: the port cannot be used.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise MusicGenreError(f"port {port}: {reason}; choose another with --port, or 0 for any") from error
