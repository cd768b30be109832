"""Clients that wait for their transactions to be committed. Bounded; one future per call."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crypto.interface import Digest
from node.executor import ExecutedBlock
from node.service import Outcome

WAITING_IDS_MAX = 200_000
"""Ids waited for at a time, over all calls."""


class Call:
    """One client's wait: `add` what is known otherwise, then `wait` for the rest."""

    def __init__(self, ids: Sequence[Digest]) -> None:
        self.found: dict[Digest, Outcome] = {}
        self.missing = set(ids)
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """These are committed."""
        for outcome in outcomes:
            self.found.setdefault(outcome.id, outcome)
            self.missing.discard(outcome.id)
        if not self.missing and not self._complete.done():
            self._complete.set_result(None)

    async def wait(self, timeout_ms: int) -> None:
        """Return when nothing is missing any more, or the time is over."""
        if not self.missing:
            return
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._complete
        except TimeoutError:
            return


class Waiters:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._calls: dict[Digest, list[Call]] = {}

    def committed(self, block: ExecutedBlock) -> None:
        """Wake whoever waits for what is in this block."""
        if not self._calls:
            return
        height, first = block.header.height, block.first_index
        for position, identity in enumerate(block.ids):
            for call in self._calls.pop(identity, ()):
                receipt = block.receipts[position]
                call.add((Outcome(identity, height, first + position, position, receipt),))

    @contextmanager
    def waiting(self, ids: Sequence[Digest]) -> Iterator[Call]:
        """Hear of every commitment from now on, for as long as the context lasts.

        Beyond `WAITING_IDS_MAX` nothing is heard: the client is told that it is pending.
        """
        call = Call(ids)
        if len(self._calls) + len(call.missing) <= WAITING_IDS_MAX:
            for identity in call.missing:
                self._calls.setdefault(identity, []).append(call)
        try:
            yield call
        finally:
            for identity in call.missing:
                calls = self._calls.get(identity, [])
                if call in calls:
                    calls.remove(call)
                if not calls:
                    self._calls.pop(identity, None)
