"""The stream of committed blocks, for clients that follow; bounded and resumable.

Each certified block is one `BlockCommitted`. A subscriber that falls more than `BACKLOG_BLOCKS`
behind loses its queue at once, is told so (`Lagged`), and reads the gap from the ledger instead:
what a slow reader costs is bounded, and it delays nobody. For one event loop, one thread.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from crypto.interface import Digest
from crypto.transaction import Receipt

BACKLOG_BLOCKS = 256
SUBSCRIBERS_MAX = 256


@dataclass(frozen=True, slots=True)
class BlockCommitted:
    height: int
    header: Digest
    state_root: Digest
    time_ms: int
    first_index: int
    """Ledger index of the block's first transaction."""
    receipts: tuple[Receipt, ...]


class TooManySubscribers(Exception):
    """`SUBSCRIBERS_MAX` streams are open already."""


class Lagged(Exception):
    """The subscriber was too slow; events are missing. Resume from the ledger."""


class Subscription:
    """One reader's queue, from the moment of `subscribe` on; a context manager and an iterator.

    Only one task may read it. `close` may be called from elsewhere: it wakes the reader, who then
    gets what is queued and after that the end.
    """

    def __init__(self, leave: Callable[["Subscription"], None]) -> None:
        self._leave = leave
        self._queue: deque[BlockCommitted] = deque()
        # An event per reader: a shared one would have to be swapped at each publication, and a
        # reader that picked up the old one too late would sleep through a block.
        self._wake = asyncio.Event()
        self._lagged = False
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def offer(self, event: BlockCommitted) -> None:
        """Queue `event`, or drop everything if the reader is too far behind."""
        if self._closed:
            return
        if self._lagged or len(self._queue) >= BACKLOG_BLOCKS:
            self._queue.clear()
            self._lagged = True
        else:
            self._queue.append(event)
        self._wake.set()

    async def next(self) -> BlockCommitted | None:
        """The next event; None at the end. Raises `Lagged` once per gap. Safe to cancel."""
        while True:
            if self._lagged:
                self._lagged = False
                raise Lagged
            if self._queue:
                return self._queue.popleft()
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._leave(self)
            self._wake.set()

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> BlockCommitted:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event


class EventStream:
    """One publisher, many subscribers."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(self, event: BlockCommitted) -> None:
        """Hand `event` to everyone who listens; never waits."""
        for subscription in self._subscriptions:
            subscription.offer(event)

    def close(self) -> None:
        """Ends every subscription, present and future, after what it has queued."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def subscribe(self) -> Subscription:
        """Events from now on; leave it with `with` or `close`. Raises `TooManySubscribers`."""
        if len(self._subscriptions) >= SUBSCRIBERS_MAX:
            raise TooManySubscribers(f"at most {SUBSCRIBERS_MAX} event streams at a time")
        subscription = Subscription(self._subscriptions.discard)
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        return subscription
