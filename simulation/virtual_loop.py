"""An asyncio event loop whose clock is virtual: it jumps to the next timer when nothing is ready.

Nothing waits, so hours pass in seconds, and the same calls lead to the same order of callbacks. No
sockets and no threads: what would need them raises.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any, NoReturn

START_S = 1_000.0
"""Loop time at the start. Not 0, so that code which takes 0 for "never" shows."""


class Stalled(Exception):
    """Nothing is ready, no timer runs, and the awaited thing did not happen: it never will."""


class _Timers(selectors.BaseSelector):
    """Selects nothing; lets virtual time pass instead."""

    def __init__(self) -> None:
        self.now_s = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing will ever happen again")
        self.now_s += max(0.0, timeout)
        return []

    def register(self, _fileobj: object, events: int, data: object = None) -> selectors.SelectorKey:
        # Only the loop's own wake-up pipe comes here.
        return selectors.SelectorKey(0, -1, events, data)

    def unregister(self, _fileobj: object) -> selectors.SelectorKey:
        return selectors.SelectorKey(0, -1, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def close(self) -> None:
        """Nothing was opened."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Make one for each run; close it after."""

    def __init__(self) -> None:
        self._timers = _Timers()
        super().__init__(self._timers)

    def time(self) -> float:
        return self._timers.now_s

    def run_in_executor(self, *_: object) -> NoReturn:
        raise AssertionError("threads have no place in virtual time; bring other Workers")
