"""Requests that wait for a commitment: how many there may be, and how they end early."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from crypto.interface import Digest
from node.api.errors import ApiError
from node.api.limits import ApiLimits
from node.service import NodeService, Outcome


class Waiting:
    """Bounded in requests and in transactions; `close` lets everyone go with what is known."""

    def __init__(self, service: NodeService, limits: ApiLimits) -> None:
        self._service = service
        self._limits = limits
        self._requests = 0
        self._transactions = 0
        self._tasks: set[asyncio.Task[Sequence[Outcome | None]]] = set()
        self._closed = False

    @asynccontextmanager
    async def place(self, transactions: int) -> AsyncIterator[None]:
        """A place to wait, taken before anything is submitted, or raise `ApiError` (429)."""
        if (
            self._requests >= self._limits.waiting_requests_max
            or self._transactions + transactions > self._limits.waiting_transactions_max
        ):
            raise ApiError(
                429,
                "too_many_waiting",
                "too many requests wait here for commitment; nothing was submitted: try again, "
                "or submit with wait=none and ask for the transaction later",
            )
        self._requests += 1
        self._transactions += transactions
        try:
            yield
        finally:
            self._requests -= 1
            self._transactions -= transactions

    async def outcomes(self, ids: Sequence[Digest], timeout_ms: int) -> Sequence[Outcome | None]:
        """As `NodeService.wait_committed`, and None for all when the API is closed meanwhile."""
        if self._closed or not ids:
            return [None] * len(ids)
        task = asyncio.ensure_future(self._wait(ids, timeout_ms))
        self._tasks.add(task)
        try:
            await asyncio.wait({task})
            return [None] * len(ids) if task.cancelled() else task.result()
        finally:
            self._tasks.discard(task)
            task.cancel()

    async def _wait(self, ids: Sequence[Digest], timeout_ms: int) -> Sequence[Outcome | None]:
        return await self._service.wait_committed(ids, timeout_ms)

    def close(self) -> None:
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
