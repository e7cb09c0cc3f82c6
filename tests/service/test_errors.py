"""Errors have one format, whoever returns them, and never the text of an unexpected exception."""

from __future__ import annotations

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from music_genre.errors import AudioError, IssueReason
from music_genre.service.errors import STATUS_BY_CODE, ApiError, ErrorCode, add_error_handlers
from music_genre.service.limits import concurrency_slot
from music_genre.service.middleware import ErrorFormatMiddleware, RequestLoggingMiddleware

app = FastAPI()
add_error_handlers(app)


@app.get("/audio/{reason}")
async def fail_by_audio(reason: IssueReason) -> None:
    raise AudioError(reason, "0.1 s")


@app.get("/api/{code}")
async def fail_by_code(code: ErrorCode) -> None:
    raise ApiError(code, "the message", 17 if code == ErrorCode.RATE_LIMITED else None)


@app.get("/unexpected")
async def fail_unexpectedly() -> None:
    raise RuntimeError("a secret")


async def refuse(request: object) -> PlainTextResponse:
    return PlainTextResponse("teapot", 418)


async def time_out(request: object) -> JSONResponse:
    return JSONResponse({"error": "a text"}, 504)


@pytest.fixture(scope="module")
def client() -> TestClient:
    """The application behind a router of its own, as BentoML mounts it."""
    routes = [Route("/teapot", refuse), Route("/slow", time_out), Mount("/", app)]
    return TestClient(
        RequestLoggingMiddleware(ErrorFormatMiddleware(Starlette(routes=routes))), raise_server_exceptions=False
    )


def test_every_code_has_a_status() -> None:
    assert STATUS_BY_CODE.keys() == set(ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_api_error_has_its_code_status_and_message(client: TestClient, code: ErrorCode) -> None:
    response = client.get(f"/api/{code}")
    assert response.status_code == STATUS_BY_CODE[code]
    assert response.json() == {"error": {"code": code, "message": "the message"}}
    assert response.headers.get("www-authenticate") == ("Bearer" if code == "unauthorized" else None)
    assert response.headers.get("retry-after") == {"busy": "1", "rate_limited": "17"}.get(code)


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        ("short", "too_short", 422),
        ("too_long", "too_long", 413),
        ("silent", "silent", 422),
        ("empty", "empty", 422),
        ("undecodable", "undecodable", 422),
        ("unsupported", "unsupported", 415),
    ],
)
def test_audio_error_has_the_code_of_its_reason(client: TestClient, reason: str, code: str, status: int) -> None:
    response = client.get(f"/audio/{reason}")
    assert response.status_code == status
    assert response.json() == {"error": {"code": code, "message": "0.1 s"}}


def test_unexpected_exception_is_not_shown(client: TestClient) -> None:
    response = client.get("/unexpected")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "failed"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/unexpected", 405, "not_allowed"),
        ("GET", "/teapot", 418, "unsupported"),
        ("GET", "/slow", 503, "busy"),
    ],
)
def test_errors_of_the_frameworks_have_the_same_format(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == code
    if status == 405:
        assert response.headers["allow"] == "GET"


def test_full_limiter_is_busy_and_has_places_again_afterwards() -> None:
    async def fill() -> None:
        limiter = anyio.CapacityLimiter(1)
        for _ in range(2):
            async with concurrency_slot(limiter), anyio.create_task_group() as group:
                group.start_soon(refused, limiter)

    async def refused(limiter: anyio.CapacityLimiter) -> None:
        with pytest.raises(ApiError, match="server busy: 1 concurrent requests") as error:
            async with concurrency_slot(limiter):
                pytest.fail("two requests in one place")
        assert error.value.code == ErrorCode.BUSY

    anyio.run(fill)
