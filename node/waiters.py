"""Clients that wait for their transactions to be committed. Bounded; one future per call."""

import asyncio
from collections.abc import Sequence

from crypto.interface import Digest
from node.service import Outcome

WAITING_IDS_MAX = 200_000
"""Ids waited for at a time, over all calls."""


class _Call:
    __slots__ = ("found", "future", "missing")

    def __init__(self, ids: Sequence[Digest]) -> None:
        self.found: dict[Digest, Outcome] = {}
        self.missing = set(ids)
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Waiters:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._calls: dict[Digest, list[_Call]] = {}

    def room(self) -> int:
        return max(0, WAITING_IDS_MAX - len(self._calls))

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """Wake whoever waits for these."""
        for outcome in outcomes:
            for call in self._calls.pop(outcome.id, ()):
                call.found.setdefault(outcome.id, outcome)
                call.missing.discard(outcome.id)
                if not call.missing and not call.future.done():
                    call.future.set_result(None)

    async def wait(self, ids: Sequence[Digest], timeout_ms: int) -> dict[Digest, Outcome]:
        """The outcomes that became known within the time."""
        call = _Call(ids)
        if not call.missing or len(call.missing) > self.room():
            return {}
        for identity in call.missing:
            self._calls.setdefault(identity, []).append(call)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await call.future
        except TimeoutError:
            pass
        finally:
            self._leave(call)
        return call.found

    def _leave(self, call: _Call) -> None:
        for identity in call.missing:
            calls = self._calls.get(identity, [])
            if call in calls:
                calls.remove(call)
            if not calls:
                self._calls.pop(identity, None)
