"""What the servers around the application lack: a limit to a request's headers, and timers that end with a request."""

from __future__ import annotations

import asyncio
import math

import anyio
import h11
import uvicorn.config
from bentoml._internal.server.http import traffic
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from music_genre.service.errors import ErrorCode, error_response

HEADERS_TIMEOUT_S = 10.0  # from the connection, or the first byte of a further request, to the end of the headers
SHUTDOWN_TIMEOUT_S = 30.0  # for which a server that is stopped waits for requests in progress


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP of a connection that is closed where a request's headers do not come in time, and a while after the server
    is told to stop. h11 limits the size of headers.
    """

    header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.start_header_timer()

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if self.header_timer is None and (cycle is None or cycle.response_complete):
            self.start_header_timer()
        super().data_received(data)
        if self.cycle is not cycle:  # the headers are complete
            self.stop_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_header_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        # A slow upload would keep the server from stopping.
        self.loop.call_later(SHUTDOWN_TIMEOUT_S, self.transport.close)

    def start_header_timer(self) -> None:
        """Close the connection after a while, unless the timer is stopped before."""
        self.header_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self.on_header_timeout)

    def stop_header_timer(self) -> None:
        """Keep the connection open."""
        if self.header_timer:
            self.header_timer.cancel()
        self.header_timer = None

    def on_header_timeout(self) -> None:
        """Close the connection; a client that has sent a part of the headers gets a response."""
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0] and not self.transport.is_closing():
            message = f"request timed out: headers not complete after {HEADERS_TIMEOUT_S:g} s"
            response = error_response(ErrorCode.TOO_SLOW, message)
            headers = [*response.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=response.status_code, headers=headers, reason=b"Request Timeout"),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class TimeoutMiddleware(traffic.TimeoutMiddleware):
    """BentoML's, but the timer ends with its request: BentoML's stays in memory for all the time that one may take."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with anyio.move_on_after(self.timeout) as limit:

            async def send_wrapper(message: Message) -> None:
                limit.deadline = math.inf
                await send(message)

            await self.app(scope, receive, send_wrapper)
        if limit.cancelled_caught:
            await JSONResponse({"error": f"no response in {self.timeout:g} s"}, 504)(scope, receive, send)


def install_connection_limits() -> None:
    """Let uvicorn and BentoML, which have no settings for them, use these classes."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{HeaderTimeoutProtocol.__name__}"
    traffic.TimeoutMiddleware = TimeoutMiddleware  # type: ignore[misc]  # BentoML looks it up when a server starts
