"""HTTP/1.1 connections with bounds: how many, how long a head, how slow a request.

uvicorn's httptools protocol limits neither the size of a request's head nor the time a request
takes to arrive, and it accepts every connection. This subclass adds the three, at the four
callbacks where they can be enforced, and answers its own refusals in the API's form.
Sources: RFC 9112; CWE-400 (slow requests).
"""

import asyncio
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from node.api.errors import error_body
from node.api.limits import RETRY_AFTER_SECONDS, ApiLimits


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded(limits)` makes the class that the server is given."""

    limits = ApiLimits()

    _deadline: asyncio.TimerHandle | None = None
    _overhead_bytes = 0
    """Of the current message, bytes that were no body: head, chunk framing, trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Refuse it if there are too many; otherwise the first request's time begins."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(503, "overloaded", "too many connections; try again")
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then look whether the sender plays by the rules."""
        if self.transport.is_closing():
            return
        if self._deadline is None:
            self._arm()
        self._overhead_bytes += len(data)
        super().data_received(data)
        if self._overhead_bytes > self.limits.head_bytes_max and not self.transport.is_closing():
            self._refuse(431, "head_too_large", f"at most {self.limits.head_bytes_max} bytes")

    def on_headers_complete(self) -> None:
        # A head that arrived in one piece is not yet over the limit of `data_received`.
        if sum(len(name) + len(value) for name, value in self.headers) > self.limits.head_bytes_max:
            raise ValueError("head too large")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes = max(0, self._overhead_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead_bytes = 0
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to bytes that are not HTTP; here in the API's form."""
        self._refuse(400, "malformed", msg)

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.limits.request_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        text = f"a request has to arrive within {self.limits.request_seconds:g} seconds"
        self._refuse(408, "request_timeout", text)

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Answer without the application, if no answer has begun, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        silent = cycle is None or cycle.response_complete or not cycle.response_started
        if silent and not self.pipeline:
            body = msgspec.json.encode(error_body(code, text))
            retry = f"retry-after: {RETRY_AFTER_SECONDS}\r\n" if status == 503 else ""
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(limits: ApiLimits) -> type[BoundedProtocol]:
    """The protocol with these limits; uvicorn wants a class."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
