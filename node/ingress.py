"""The door for transactions: from clients, and from other validators' mempools.

Everything is verified in chunks off the loop and admitted on it. Clients get a verdict for each
transaction; gossip is best effort: above `GOSSIP_BACKLOG_MAX` it is dropped and counted, for the
proposer's payload carries the bytes anyway. New transactions are passed on in batches.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from crypto.genesis import Genesis
from crypto.interface import Digest
from node.mempool import Mempool
from node.service import Refusal, Verdict
from node.validity import Entry, Refused, Validity
from node.workers import Lane, Workers
from storage.ledger import Ledger

CHUNK = 64
"""Transactions verified in one go: a round trip to a worker costs as much as one signature."""

INLINE_MAX = 2
"""So few gossiped transactions are verified on the loop: a round trip costs as much as two."""

GOSSIP_BACKLOG_MAX = 8_192
"""Gossiped transactions that wait to be verified."""

SPREAD_AFTER_S = 0.002
"""New transactions are collected for so long before they are passed on."""


class Ingress:
    """Belongs to the event loop."""

    def __init__(
        self,
        genesis: Genesis,
        validity: Validity,
        mempool: Mempool,
        ledger: Ledger,
        workers: Workers,
        *,
        height: Callable[[], int],
        now_ms: Callable[[], float],
        admitted: Callable[[], None],
        spread: Callable[[Sequence[bytes]], None],
        refused: Callable[[str], None],
    ) -> None:
        self._genesis = genesis
        self._validity = validity
        self._mempool = mempool
        self._ledger = ledger
        self._workers = workers
        self._height = height
        self._now_ms = now_ms
        self._admitted = admitted
        self._spread = spread
        self._refused = refused
        self._new: list[bytes] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._verifying = 0
        self._backlog = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, raws: Sequence[bytes]) -> list[Verdict]:
        """A client's transactions: the verdict on each, in order."""
        room = max(0, self._mempool.room() - self._verifying)
        verdicts: list[Verdict] = []
        self._verifying += min(room, len(raws))
        try:
            for chunk in _chunks(raws[:room]):
                checked, stored = await self._workers.run(Lane.CLIENTS, self._check, chunk)
                heights, now_ms = self._heights(), self._now_ms()
                verdicts.extend(
                    self._admit(item, heights, now_ms, stored=there)
                    for item, there in zip(checked, stored, strict=True)
                )
                self._after()
        finally:
            self._verifying -= min(room, len(raws))
        verdicts.extend(map(self._no_room, raws[len(verdicts) :]))
        for verdict in verdicts:
            if verdict.refusal is not None:
                self._refused(verdict.refusal)
        return verdicts

    def gossiped(self, raws: Sequence[bytes]) -> None:
        """Transactions from another validator's mempool."""
        if self._backlog + len(raws) > GOSSIP_BACKLOG_MAX:
            self._refused("gossip_backlog")
            return
        if len(raws) <= INLINE_MAX and not self._backlog:
            self._take(self._validity.check(raws))
            return
        self._backlog += len(raws)
        task = asyncio.get_running_loop().create_task(self._take_gossip(raws))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._flush_timer is not None:
            self._flush_timer.cancel()

    async def _take_gossip(self, raws: Sequence[bytes]) -> None:
        for chunk in _chunks(raws):
            checked = await self._workers.run(Lane.CLIENTS, self._validity.check, chunk)
            self._backlog -= len(chunk)
            self._take(checked)

    def _take(self, checked: Sequence[Entry | Refused]) -> None:
        heights, now_ms = self._heights(), self._now_ms()
        for verdict in checked:
            if isinstance(verdict, Refused):
                refusal: Refusal | None = verdict.refusal
            else:
                refusal = _timely(verdict, heights) or self._mempool.add(verdict, now_ms)
            if refusal is not None and refusal is not Refusal.DUPLICATE:
                self._refused(f"gossip_{refusal}")
        self._admitted()

    def _check(self, raws: Sequence[bytes]) -> tuple[list[Entry | Refused], list[bool]]:
        """On a worker: verdicts, and which of them the ledger has already."""
        verdicts = self._validity.check(raws)
        ids = [item.id if item.id is not None else Digest(b"") for item in verdicts]
        return verdicts, [place is not None for place in self._ledger.find_many(ids)]

    def _no_room(self, raw: bytes) -> Verdict:
        """Full: but who hands in again what waits here already is told so."""
        known = self._validity.known(raw)
        if known is not None and self._mempool.waits(known.id):
            return Verdict(known.id, Refusal.DUPLICATE, _TEXTS[Refusal.DUPLICATE])
        return Verdict(None, Refusal.FULL, _TEXTS[Refusal.FULL])

    def _admit(
        self, checked: Entry | Refused, heights: range, now_ms: float, *, stored: bool
    ) -> Verdict:
        if isinstance(checked, Refused):
            return Verdict(checked.id, checked.refusal, checked.text)
        refusal = Refusal.DUPLICATE if stored else _timely(checked, heights)
        if refusal is None:
            refusal = self._mempool.add(checked, now_ms)
        if refusal is None:
            self._new.append(checked.raw)
            return Verdict(checked.id, None)
        return Verdict(checked.id, refusal, _TEXTS[refusal])

    def _heights(self) -> range:
        """What may be a transaction's expiry now."""
        following = self._height() + 1
        return range(following, following + self._genesis.limits.transaction_lifetime_max + 1)

    def _after(self) -> None:
        if self._new and self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(SPREAD_AFTER_S, self._flush)
        self._admitted()

    def _flush(self) -> None:
        self._flush_timer = None
        new, self._new = self._new, []
        self._spread(new)


_TEXTS = {
    Refusal.DUPLICATE: "this transaction waits here already, or was executed",
    Refusal.EXPIRED: "its expiry is not above the current height; sign it with a higher expiry",
    Refusal.LIFETIME: "its expiry is too far above the current height; sign it with a lower one",
    Refusal.FULL: "this node's mempool is full; try again later",
    Refusal.SENDER_QUOTA: "too many transactions of this sender wait already; try again later",
}


def _timely(entry: Entry, heights: range) -> Refusal | None:
    expiry = entry.transaction.expiry
    if expiry in heights:
        return None
    return Refusal.EXPIRED if expiry < heights.start else Refusal.LIFETIME


def _chunks(raws: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(raws), CHUNK):
        yield raws[start : start + CHUNK]
