"""Keeps trying to reach one peer for as long as a link to it is wanted and missing."""

import asyncio
from collections.abc import Awaitable, Callable

from p2p.limits import Limits

EXPONENT_MAX = 20


class Dialler:
    """One task per peer that this node dials. `wanted` says whether to try."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[bool]],
        limits: Limits,
        jitter: Callable[[], float],
        *,
        first: bool,
    ) -> None:
        """`dial` makes one attempt, True for a link. `first`: this side need not wait at first.

        Of two nodes that start together one should dial and the other be dialled; the latter
        waits a little, so that crossing dials are rare.
        """
        self.wanted = asyncio.Event()
        self._dial = dial
        self._limits = limits
        self._jitter = jitter
        self._delay_ms = 0.0 if first else float(limits.reconnect_min_ms)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await self.wanted.wait()
            await asyncio.sleep(self._delay_ms / 1000)
            if self.wanted.is_set():
                began = loop.time()
                made = await self._dial()
                if made:
                    await self.wanted.wait()
                # A link that is lost at once counts as a failure, or two nodes that cannot live
                # with each other would reconnect without pause.
                lasted_ms = (loop.time() - began) * 1000
                lasting = made and lasted_ms > self._limits.reconnect_max_ms
                failures = 0 if lasting else failures + 1
            self._delay_ms = backoff_ms(max(failures - 1, 0), self._limits, self._jitter())


def backoff_ms(failures: int, limits: Limits, jitter: float) -> float:
    """The pause after so many failures in a row; `jitter` in [0, 1) spreads its upper half."""
    doubled = limits.reconnect_min_ms << min(failures, EXPONENT_MAX)
    return min(doubled, limits.reconnect_max_ms) * (0.5 + jitter / 2)
