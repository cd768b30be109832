"""What the API reads from the ledger: every answer is from certified blocks only.

Each call is one piece of work on the ledger lane, so that what it sees is one state.
"""

from collections.abc import Mapping, Sequence

from apps.interface import Application
from crypto.bundle import Bundle
from crypto.certificate import Certificate
from crypto.header import Header
from crypto.interface import Digest
from node.executor import Body, Executor
from node.payloads import Preparation
from node.service import BlockView, Outcome, OutOfRange, Unknown
from storage.ledger import Ledger, StoredBlock
from storage.state import State


class Reads:
    """Runs on the ledger lane."""

    def __init__(
        self,
        ledger: Ledger,
        state: State,
        executor: Executor,
        preparation: Preparation,
        applications: Mapping[str, Application],
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._preparation = preparation
        self._applications = applications
        self._views = {name: state.for_application(name) for name in applications}

    def header(self, height: int) -> tuple[Header, Certificate | None] | None:
        if not 1 <= height <= self._ledger.height:
            return None
        return self._ledger.header(height), self._ledger.certificate(height)

    def block(self, height: int) -> BlockView | None:
        if not 1 <= height <= self._ledger.height:
            return None
        stored = self._ledger.block(height)
        return BlockView(
            stored.header,
            self._ledger.header_digest(height),
            self._ledger.certificate(height),
            self._transactions(stored.body),
            tuple(receipt.transaction for receipt in stored.receipts),
            tuple(stored.receipts),
        )

    def outcomes(self, ids: Sequence[Digest]) -> list[Outcome]:
        """Of those that are committed."""
        outcomes = []
        blocks: dict[int, StoredBlock] = {}
        for identity, place in zip(ids, self._ledger.find_many(ids), strict=True):
            if place is None or self._ledger.certificate(place[0]) is None:
                continue
            height, position = place
            if height not in blocks:
                blocks[height] = self._ledger.block(height)
            header, receipts = blocks[height].header, blocks[height].receipts
            index = header.ledger_size - header.block_size + position
            outcomes.append(Outcome(identity, height, index, position, receipts[position]))
        return outcomes

    def bundle(self, identity: Digest) -> Bundle | None:
        place = self._ledger.find(identity)
        if place is None:
            return None
        certificate = self._ledger.certificate(place[0])
        if certificate is None:
            return None
        height, position = place
        stored = self._ledger.block(height)
        raw = self._transactions(stored.body)[position]
        return self._ledger.bundle(stored, certificate, position, raw)

    def inclusion(self, index: int, size: int) -> Sequence[Digest]:
        if not 0 <= index < size <= self._ledger.size:
            raise OutOfRange(
                f"index {index} in a ledger of size {size}: this node has {self._ledger.size} "
                "transactions; index must be below size, and size at most that"
            )
        return self._ledger.inclusion(index, size)

    def consistency(self, old: int, new: int) -> Sequence[Digest]:
        if not 0 < old <= new <= self._ledger.size:
            raise OutOfRange(
                f"sizes {old} and {new}: this node has {self._ledger.size} transactions; the old "
                "size must be from 1 to the new one, and the new one at most that"
            )
        return self._ledger.consistency(old, new)

    def query(self, application: str, path: Sequence[str]) -> tuple[int, object]:
        app = self._applications.get(application)
        if app is None:
            known = ", ".join(sorted(self._applications))
            raise Unknown(f"no application is called {application!r}; there are: {known}")
        return self._ledger.height, app.query(path, self._views[application])

    def _transactions(self, body: bytes) -> tuple[bytes, ...]:
        decoded: Body = self._executor.bodies.decode(body)
        return tuple(
            raw for payload in decoded.payloads for raw in self._preparation.transactions(payload)
        )
