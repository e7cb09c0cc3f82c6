"""The web page at ``/``, that of the API at ``/docs`` and the run report at ``/report``: their files, and the Content
Security Policy of each.
"""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from music_genre.paths import ProjectPaths
from music_genre.service.environment import in_bento, service_settings
from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.security import require_api_key

STATIC_DIR = Path(__file__).parent / "static"

# Nothing comes from another origin. The nonce is for the one style element that the waveform's library makes.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self'; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

# Swagger UI makes styles as it goes. It comes with BentoML, under /static_content.
DOCS_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

# The report has a stricter policy of its own for what it loads.
REPORT_SECURITY_POLICY = "frame-ancestors 'none'"

router = APIRouter()


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files under ``/static``."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC_DIR), name="static")


@router.get("/", include_in_schema=False)
async def page() -> HTMLResponse:
    """The page, with a nonce of its own."""
    nonce = secrets.token_urlsafe(16)
    html = _html("index.html").replace("{nonce}", nonce)
    return HTMLResponse(html, headers=_headers(CONTENT_SECURITY_POLICY.format(nonce=nonce)))


@router.get("/docs", include_in_schema=False)
async def api_docs() -> HTMLResponse:
    """The API's documentation."""
    return HTMLResponse(_html("docs.html"), headers=_headers(DOCS_SECURITY_POLICY))


@router.get("/report", include_in_schema=False, dependencies=[Depends(require_api_key)])
async def report() -> FileResponse:
    """The report of the project's last run.

    Raises:
        ApiError: ``not_found``.
    """
    file = None if in_bento() else ProjectPaths.find().run_report
    if file is None or not file.is_file():
        raise ApiError(ErrorCode.NOT_FOUND, "there is no report here: `dvc repro` makes it")
    return FileResponse(file, media_type="text/html", headers=_headers(REPORT_SECURITY_POLICY))


def links_report() -> bool:
    """Whether browsers can follow a link to the report: they send no key."""
    return not in_bento() and service_settings().api_key is None and ProjectPaths.find().run_report.is_file()


def _headers(policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


@cache
def _html(name: str) -> str:
    return (STATIC_DIR / name).read_text(encoding="utf-8")
