"""The chain as this node has it: executes heights one by one, and completes certificates.

Decisions of consensus and certified blocks from peers both come through here, so there is one
order and one writer. `executed` is what is stored; `certified` what a client may rely on.
"""

import asyncio
from collections.abc import Callable, Sequence

from crypto.certificate import Certificate
from crypto.header import Header
from crypto.interface import Digest
from node.events import BlockCommitted, EventStream
from node.executor import ExecutedBlock, Executor
from node.payloads import Prepared
from node.workers import Lane, Workers
from storage.ledger import Ledger


class Chain:
    """Belongs to the event loop; the work itself is done on the ledger lane."""

    def __init__(
        self,
        executor: Executor,
        ledger: Ledger,
        workers: Workers,
        events: EventStream,
        committed: Callable[[ExecutedBlock], None],
    ) -> None:
        self._executor = executor
        self._ledger = ledger
        self._workers = workers
        self._events = events
        self._committed = committed
        self._lock = asyncio.Lock()
        self._uncertified: dict[int, ExecutedBlock] = {}
        self._certificates: dict[int, Certificate] = {}
        self.executed = ledger.height
        self.certified = ledger.certified
        self.header = ledger.header_digest(ledger.height)
        self.state_root = _state_root(ledger)

    async def execute(
        self, height: int, payloads: Sequence[Prepared], expected: Header | None = None
    ) -> ExecutedBlock | None:
        """Execute and store `height`; None if it is stored already.

        Raises `Diverged` where `expected` is certified and the result differs.
        """
        async with self._lock:
            if height <= self.executed:
                return None
            block = await self._workers.run(
                Lane.LEDGER, self._executor.execute, height, payloads, expected
            )
            self.executed = height
            self.header = block.digest
            self.state_root = block.header.state_root
            self._uncertified[height] = block
            return block

    async def certify(self, certificate: Certificate) -> None:
        """Store a verified certificate of an executed height; announce what became final."""
        height = certificate.height
        if height not in self._uncertified or height in self._certificates:
            return
        self._certificates[height] = certificate
        # Why not awaited first: clients need not wait for it, and whatever they ask for next
        # comes behind it in the lane.
        writing = self._workers.run(Lane.LEDGER, self._ledger.put_certificate, certificate)
        while self.certified + 1 in self._certificates:
            del self._certificates[self.certified + 1]
            self.certified += 1
            self._announce(self._uncertified.pop(self.certified))
        await writing

    def is_uncertified(self, identity: Digest) -> bool:
        """Whether a block that waits for its certificate holds this transaction."""
        return any(identity in block.ids for block in self._uncertified.values())

    def uncertified(self) -> list[tuple[int, Digest]]:
        """Heights that were executed here and have no certificate yet, with our digests."""
        return [(height, block.digest) for height, block in sorted(self._uncertified.items())]

    def load(self, height: int) -> ExecutedBlock:
        """A stored block; on the ledger lane."""
        stored = self._ledger.block(height)
        ids = tuple(receipt.transaction for receipt in stored.receipts)
        digest = self._ledger.header_digest(height)
        return ExecutedBlock(stored.header, digest, ids, tuple(stored.receipts))

    async def recover(self) -> None:
        """After a start: know again which stored blocks lack a certificate."""
        for height in range(self.certified + 1, self.executed + 1):
            self._uncertified[height] = await self._workers.run(Lane.LEDGER, self.load, height)

    def _announce(self, block: ExecutedBlock) -> None:
        header = block.header
        self._committed(block)
        self._events.publish(
            BlockCommitted(
                header.height,
                block.digest,
                header.state_root,
                header.time_ms,
                block.first_index,
                block.receipts,
            )
        )


def _state_root(ledger: Ledger) -> Digest:
    header = ledger.header(ledger.height) if ledger.height else None
    return header.state_root if header is not None else Digest(bytes(32))
