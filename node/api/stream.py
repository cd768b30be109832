"""The event stream: committed blocks as server-sent events, with resume.

One event `block` per certified block; its id is the height. `Last-Event-ID: h` continues with the
block above `h`; `?from=h` starts with block `h`; the header wins, because a browser that
reconnects repeats the address it began with. What is missing is read from the ledger, one block
at a time and only as fast as the client reads; then the stream goes on live. A client that falls
behind is sent back to the ledger, so nothing is queued without bound and nothing is left out.
Silence is filled with comments, which also find out whether the client is still there.

Source: WHATWG HTML Living Standard, section 9.2, Server-sent events.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from node.api.errors import ApiError, error_body
from node.api.limits import ApiLimits
from node.events import BlockCommitted, Lagged, Subscription, TooManySubscribers
from node.metrics import Metrics
from node.service import BlockView, NodeService

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 1000
HEARTBEAT = b": alive\n\n"
_OPENING = f"retry: {RETRY_MS}\n\n".encode()


class Feed:
    """All event streams of one API; `close` ends them."""

    def __init__(self, service: NodeService, limits: ApiLimits, metrics: Metrics | None) -> None:
        self._service = service
        self._heartbeat_seconds = limits.heartbeat_seconds
        self._metrics = metrics
        self._open: set[Subscription] = set()
        self._closed = False
        self._latest: tuple[BlockCommitted | None, bytes] = (None, b"")

    def open(self, start: int | None) -> "BlockStream":
        """A stream from height `start` on, or from the next block. Raises `ApiError`."""
        if self._closed:
            raise ApiError(503, "stopping", "this node is stopping; ask another one")
        try:
            subscription = self._service.events.subscribe()
        except TooManySubscribers as error:
            raise ApiError(503, "too_many_streams", f"{error}; try later") from None
        first = self._service.status().certified + 1 if start is None else start
        self._open.add(subscription)
        self._count()
        return BlockStream(self, subscription, first)

    def leave(self, subscription: Subscription) -> None:
        subscription.close()
        self._open.discard(subscription)
        self._count()

    def close(self) -> None:
        self._closed = True
        for subscription in tuple(self._open):
            subscription.close()

    async def chunks(self, subscription: Subscription, height: int) -> AsyncIterator[bytes]:
        """The stream's bytes, from block `height` on, until the subscription is closed."""
        yield _OPENING
        while not subscription.closed:
            while height <= self._service.status().certified and not subscription.closed:
                view = await self._service.block(height)
                if view is None:
                    yield _failure(height)
                    return
                yield _encode(event_of(view))
                height += 1
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    event = await subscription.next()
            except TimeoutError:
                yield HEARTBEAT
            except Lagged:
                pass  # The ledger has what was dropped.
            else:
                if event is not None and event.height == height:
                    yield self._live(event)
                    height += 1

    def _live(self, event: BlockCommitted) -> bytes:
        """Encoded once for all who listen."""
        latest, chunk = self._latest
        if latest is not event:
            chunk = _encode(event)
            self._latest = (event, chunk)
        return chunk

    def _count(self) -> None:
        if self._metrics is not None:
            self._metrics.streams(len(self._open))


class BlockStream(Response):
    """The answer that does not end by itself."""

    media_type = MEDIA_TYPE

    def __init__(self, feed: Feed, subscription: Subscription, start: int) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._subscription = subscription
        self._start = start

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self._feed.chunks(self._subscription, self._start):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._feed.leave(self._subscription)
            watcher.cancel()

    async def _watch(self, receive: Receive) -> None:
        """Close the subscription when the client is gone."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscription.close()


def event_of(view: BlockView) -> BlockCommitted:
    """The event of a stored block; the same that was published when it was committed."""
    return BlockCommitted(
        height=view.header.height,
        header=view.digest,
        state_root=view.header.state_root,
        time_ms=view.header.time_ms,
        first_index=view.header.ledger_size - view.header.block_size,
        receipts=view.receipts,
    )


def _encode(event: BlockCommitted) -> bytes:
    data = {
        "height": event.height,
        "header": event.header.hex(),
        "state_root": event.state_root.hex(),
        "time_ms": event.time_ms,
        "first_index": event.first_index,
        "receipts": [
            {"id": receipt.transaction.hex(), "code": receipt.code} for receipt in event.receipts
        ],
    }
    return b"event: block\nid: %d\ndata: %s\n\n" % (event.height, msgspec.json.encode(data))


def _failure(height: int) -> bytes:
    body = error_body("out_of_range", f"block {height} is not in this node's ledger")
    return b"event: error\ndata: %s\n\n" % msgspec.json.encode(body)
