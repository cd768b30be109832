"""The least of HTTP/1.1 that a load generator needs: it shares its cores with what it measures.

One request at a time per connection, bodies with a length. Anything else is an error.
"""

import asyncio
import contextlib
from dataclasses import dataclass

ANSWER_BYTES_MAX = 16 * 1024 * 1024


class WireError(Exception):
    """The connection broke, or the answer is not what this client understands."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Connection:
    """A connection to one node; opened when first used and again after it broke."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, kind: str, timeout_s: float) -> Answer:
        """Send a request and read its answer. Raises `WireError`."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._open()
                writer.write(head.encode() + body)
                return await self._read(reader)
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError, ValueError) as error:
            await self.close()
            raise WireError(f"{type(error).__name__}: {error}") from None
        except asyncio.CancelledError:
            if self._streams is not None:
                self._streams[1].transport.abort()
            raise

    async def close(self) -> None:
        """Give the connection back; it is opened again when used again."""
        if self._streams is None:
            return
        writer, self._streams = self._streams[1], None
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].partition(" ")[2][:3])
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers["content-length"]) if "content-length" in headers else -1
        if not 0 <= length <= ANSWER_BYTES_MAX:
            raise ValueError("an answer without a usable length")
        body = await reader.readexactly(length)
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(status, headers, body)
