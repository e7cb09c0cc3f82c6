"""The page's server: for this machine alone, and for pages that it served itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from music_genre.datasets.corrections import DROP
from music_genre.errors import MusicGenreError
from music_genre.review.queue import ReviewQueue

STATIC = Path(__file__).parent / "static"
MAX_BODY_BYTES = 10_000
MAX_REASON_CHARS = 500
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def make_app(queue: ReviewQueue, audio: Path) -> Starlette:
    """The server of a queue.

    ``GET /queue`` gives the items with their decisions, ``GET /audio/<track_id>`` a recording, and ``PUT
    /decisions/<track_id>`` with ``{"genre": ..., "reason": ...}`` decides; genre null takes a decision back. Requests
    under another name of this machine, or from pages of others, are refused.

    Args:
        queue: what there is to decide.
        audio: ``data/audio``.
    """

    async def get_queue(request: Request) -> Response:
        decided = queue.decisions()
        items = [asdict(queue.items[i]) | {"track_id": str(i), "decision": decided.get(i)} for i in queue.order]
        return JSONResponse({"genres": queue.genres, "drop": DROP, "items": items}, headers=HEADERS)

    async def get_audio(request: Request) -> Response:
        item = queue.items.get(request.path_params["track_id"])
        path = audio / item.path if item else None
        if path is None or not path.is_file():
            return JSONResponse({"error": "there is no such recording"}, 404, HEADERS)
        return FileResponse(path, headers=HEADERS)

    async def put_decision(request: Request) -> Response:
        # Browsers let no other page send this type without asking first.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "expected application/json"}, 415, HEADERS)
        track_id = request.path_params["track_id"]
        try:
            decision = await _read_decision(request)
            queue.decide(track_id, decision["genre"], decision["reason"])
        except KeyError:
            return JSONResponse({"error": f"track {track_id} is not up for review"}, 404, HEADERS)
        except ValueError as error:
            return JSONResponse({"error": f"not a genre or a decision: {error}"}, 422, HEADERS)
        except (MusicGenreError, OSError) as error:
            return JSONResponse({"error": str(error)}, 500, HEADERS)
        return JSONResponse({"track_id": str(track_id), "decision": decision["genre"]}, headers=HEADERS)

    async def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    routes = [
        Route("/", index),
        Route("/queue", get_queue),
        Route("/audio/{track_id:int}", get_audio),
        Route("/decisions/{track_id:int}", put_decision, methods=["PUT"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])]
    )


async def _read_decision(request: Request) -> dict[str, Any]:
    """The body, bounded in size.

    Raises:
        ValueError: it is not such an object.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("the body is too long")
    value = json.loads(body)
    if not isinstance(value, dict) or not isinstance(value.get("genre"), (str, type(None))):
        raise ValueError("expected an object with a genre")
    return {"genre": value.get("genre"), "reason": str(value.get("reason", ""))[:MAX_REASON_CHARS]}
