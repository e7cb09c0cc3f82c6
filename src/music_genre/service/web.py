"""The web page at ``/``: its files, and the policy under which a browser runs them."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self'; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from anywhere else. The nonce is for the one style element that the waveform's library makes."""

router = APIRouter()


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files under ``/page``."""
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=FOLDER), name="page")


@router.get("/", include_in_schema=False)
async def page() -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": POLICY.format(nonce=nonce),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(_index().replace("{nonce}", nonce), headers=headers)


@cache
def _index() -> str:
    return (FOLDER / "index.html").read_text(encoding="utf-8")
