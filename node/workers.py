"""All work that does not belong on the event loop, in named lanes.

A lane is a queue with threads of its own, so that a long batch of client signatures never
delays a vote. Order within a one-thread lane is the order of the calls. This is the only file
that may create an executor (checked by a test); the simulator brings another `Workers`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Lane(StrEnum):
    LEDGER = "ledger"
    """Execution and block storage; one thread: the ledger has one writer."""
    JOURNAL = "journal"
    """Signing and the journal's fsync; one thread."""
    VOTES = "votes"
    """Signatures on what validators send."""
    PAYLOADS = "payloads"
    """Checking proposals: a replica votes only after it."""
    CLIENTS = "clients"
    """Signatures of clients, in chunks."""


class Workers(Protocol):
    def run(
        self, lane: Lane, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Queue `work` now, before this returns; await what it returns for the result."""
        ...

    def close(self) -> None: ...


class ThreadWorkers:
    """Real threads. `client_threads`: about cores divided by the nodes on this machine."""

    def __init__(self, client_threads: int = 1) -> None:
        sizes = dict.fromkeys(Lane, 1) | {Lane.CLIENTS: client_threads}
        self._lanes = {
            lane: ThreadPoolExecutor(size, thread_name_prefix=f"assay-{lane}")
            for lane, size in sizes.items()
        }

    def run(
        self, lane: Lane, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._lanes[lane], lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Finish what was begun; drop what was not."""
        for executor in self._lanes.values():
            executor.shutdown(wait=True, cancel_futures=True)
