"""Executes what was decided and builds the header: a function of the decided sequence alone.

Runs on the ledger lane. One call executes one height and stores block, receipts, state and
indexes in one atomic durable batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from apps.interface import Application, Rejected
from crypto.encoding import Codec, Record, encode
from crypto.genesis import Genesis, committee_digest
from crypto.header import Header, header_digest
from crypto.interface import Digest, Hash
from crypto.merkle import leaf_digest, root_of
from crypto.transaction import ACCEPTED, Receipt
from node.payloads import Prepared
from node.validity import Entry
from storage.ledger import Ledger
from storage.state import State

OUTPUT_BYTES_MAX = 4096
"""A longer result of an application is our fault, not the client's."""


class Body(Record, frozen=True):
    """The stored and synchronised contents of a block: its payloads, in order of decision."""

    payloads: Annotated[tuple[bytes, ...], Meta(max_length=1024)]


class Diverged(Exception):
    """This node computed another block than the one that a quorum attested. It must stop."""


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    header: Header
    digest: Digest
    ids: tuple[Digest, ...]
    receipts: tuple[Receipt, ...]

    @property
    def first_index(self) -> int:
        return self.header.ledger_size - self.header.block_size


class Executor:
    """Owns ledger and state; the only writer of both."""

    def __init__(
        self,
        genesis: Genesis,
        ledger: Ledger,
        state: State,
        applications: Mapping[str, Application],
        hash_: Hash,
    ) -> None:
        self._genesis = genesis
        self._ledger = ledger
        self._state = state
        self._applications = applications
        self._views = {name: state.for_application(name) for name in applications}
        self._hash = hash_
        self._committee = committee_digest(genesis)
        self.bodies: Codec[Body] = Codec(Body, bytes_max=genesis.limits.block_bytes_max + 64 * 1024)

    def execute(
        self, height: int, payloads: Sequence[Prepared], expected: Header | None = None
    ) -> ExecutedBlock:
        """Execute `payloads` as the block of `height` and store it durably.

        With `expected` (a certified header), nothing is stored unless the result equals it;
        otherwise raises `Diverged`.
        """
        assert height == self._ledger.height + 1, (height, self._ledger.height)
        if height == 1:
            for name, application in sorted(self._applications.items()):
                application.initialise(self._views[name])
        entries = [entry for prepared in payloads for entry in prepared.entries]
        new = self._first_appearances(entries)
        receipts = [
            self._execute_one(height, entry, first)
            for entry, first in zip(entries, new, strict=True)
        ]
        body = encode(Body(tuple(prepared.raw for prepared in payloads)))
        header = self._header(height, payloads, body, entries, receipts)
        if expected is not None and header != expected:
            raise Diverged(_difference(header, expected))
        self._ledger.append(
            header,
            body,
            ids=[entry.id for entry in entries],
            receipts=receipts,
            new=new,
            state=self._state,
        )
        return ExecutedBlock(
            header,
            header_digest(header, self._hash),
            tuple(entry.id for entry in entries),
            tuple(receipts),
        )

    def _first_appearances(self, entries: Sequence[Entry]) -> list[bool]:
        """Of each entry, whether the ledger has seen no transaction of this id before."""
        stored = self._ledger.find_many([entry.id for entry in entries])
        seen: set[Digest] = set()
        first = []
        for entry, before in zip(entries, stored, strict=True):
            first.append(before is None and entry.id not in seen)
            seen.add(entry.id)
        return first

    def _execute_one(self, height: int, entry: Entry, first: bool) -> Receipt:
        transaction = entry.transaction
        if not first:
            return Receipt(entry.id, "duplicate", b"this transaction was executed before")
        if transaction.expiry < height:
            return Receipt(entry.id, "expired", b"its expiry was below this height")
        if transaction.expiry > height + self._genesis.limits.transaction_lifetime_max:
            return Receipt(entry.id, "lifetime_too_long", b"its expiry is too far in the future")
        name = transaction.method.partition(".")[0]
        self._state.begin()
        try:
            output = self._applications[name].execute(transaction, self._views[name])
        except Rejected as rejected:
            self._state.rollback()
            return Receipt(entry.id, rejected.code, rejected.text.encode())
        assert len(output) <= OUTPUT_BYTES_MAX
        return Receipt(entry.id, ACCEPTED, output)

    def _header(
        self,
        height: int,
        payloads: Sequence[Prepared],
        body: bytes,
        entries: Sequence[Entry],
        receipts: Sequence[Receipt],
    ) -> Header:
        ledger = self._ledger
        parent_ms = (
            ledger.header(ledger.height).time_ms if ledger.height else self._genesis.created_ms
        )
        return Header(
            height=height,
            parent=ledger.header_digest(ledger.height),
            epoch=0,
            committee=self._committee,
            payload=self._hash.digest(body),
            time_ms=max(parent_ms, *(prepared.time_ms for prepared in payloads), 0),
            block_size=len(entries),
            ledger_size=ledger.size + len(entries),
            ledger_root=ledger.root_after([entry.leaf for entry in entries]),
            receipts_root=root_of(
                [leaf_digest(encode(receipt), self._hash) for receipt in receipts], self._hash
            ),
            state_root=self._state.commit_to(),
        )


def _difference(computed: Header, certified: Header) -> str:
    fields = [
        name
        for name in Header.__struct_fields__
        if getattr(computed, name) != getattr(certified, name)
    ]
    return (
        f"height {certified.height}: this node computed other {', '.join(fields)} than the "
        "quorum attested. Stop, keep the data directory for study, and rebuild this node from "
        "its peers with an empty data directory"
    )
