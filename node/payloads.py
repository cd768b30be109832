"""Payloads: what consensus orders by digest. Built, spread, fetched, checked and kept here.

A payload is checked once, by a pure function of its bytes and the genesis (see
`node.validity`); transactions that were verified when they came in are recognised by their
leaf digest and not verified again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from crypto.encoding import Codec, Malformed, Record, encode
from crypto.genesis import Genesis
from crypto.interface import Digest, Hash
from crypto.transaction import Count
from node.validity import Entry, Validity

PAYLOADS_KEPT_MAX = 256
"""Prepared payloads held in memory; far more than can be in flight."""

PAYLOADS_BYTES_MAX = 32 * 1024 * 1024

HEIGHTS_KEPT = 8
"""Payloads of executed heights are kept for so long, for replicas that are a little behind."""


class Payload(Record, frozen=True):
    """A proposal's contents."""

    time_ms: Count
    """The proposer's clock. Advisory: it never goes back, and nothing else is promised."""
    transactions: Annotated[tuple[bytes, ...], Meta(max_length=100_000)]


class InvalidPayload(Exception):
    """No honest replica votes for this payload. The message says why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A payload that was checked, ready to be executed."""

    digest: Digest
    raw: bytes
    time_ms: int
    entries: tuple[Entry, ...]


class Preparation:
    """Turns bytes into a `Prepared`, or refuses. Pure; runs in a worker."""

    def __init__(self, genesis: Genesis, validity: Validity, hash_: Hash) -> None:
        self._limits = genesis.limits
        self._validity = validity
        self._hash = hash_
        self._codec: Codec[Payload] = Codec(Payload, bytes_max=genesis.limits.block_bytes_max)

    @property
    def bytes_max(self) -> int:
        return self._codec.bytes_max

    def digest(self, raw: bytes) -> Digest:
        return self._hash.digest(raw)

    def prepare(self, raw: bytes) -> Prepared:
        """Check everything. Raises `InvalidPayload`."""
        payload = self._decode(raw)
        entries = []
        for verdict in self._validity.check(payload.transactions):
            if not isinstance(verdict, Entry):
                raise InvalidPayload(f"a transaction in it is invalid: {verdict.text}")
            entries.append(verdict)
        return Prepared(self._hash.digest(raw), raw, payload.time_ms, tuple(entries))

    def trusted(self, raw: bytes) -> Prepared:
        """A payload that a quorum certified: decoded, without verifying signatures again."""
        payload = self._decode(raw)
        entries = tuple(self._validity.trusted(item) for item in payload.transactions)
        return Prepared(self._hash.digest(raw), raw, payload.time_ms, entries)

    def transactions(self, raw: bytes) -> tuple[bytes, ...]:
        """The signed transactions in the bytes of a payload."""
        return self._decode(raw).transactions

    def build(self, entries: Sequence[Entry], time_ms: int) -> Prepared:
        """A payload of our own, from entries that were verified already."""
        raw = encode(Payload(time_ms, tuple(entry.raw for entry in entries)))
        return Prepared(self._hash.digest(raw), raw, time_ms, tuple(entries))

    def _decode(self, raw: bytes) -> Payload:
        try:
            payload = self._codec.decode(raw)
        except Malformed as error:
            raise InvalidPayload(f"not a payload: {error}") from None
        if len(payload.transactions) > self._limits.block_transactions_max:
            raise InvalidPayload(
                f"{len(payload.transactions)} transactions, at most "
                f"{self._limits.block_transactions_max} are allowed"
            )
        return payload


class Payloads:
    """The payloads at hand, by digest. Belongs to the event loop; bounded."""

    def __init__(self) -> None:
        self._prepared: OrderedDict[Digest, Prepared] = OrderedDict()
        self._heights: dict[Digest, int] = {}
        self._bytes = 0

    def add(self, height: int, prepared: Prepared) -> None:
        """Keep it until `height` (the highest it was proposed for) is executed."""
        digest = prepared.digest
        self._heights[digest] = max(height, self._heights.get(digest, 0))
        if digest in self._prepared:
            return
        self._prepared[digest] = prepared
        self._bytes += len(prepared.raw)
        while len(self._prepared) > PAYLOADS_KEPT_MAX or self._bytes > PAYLOADS_BYTES_MAX:
            self._remove(next(iter(self._prepared)))

    def get(self, digest: Digest) -> Prepared | None:
        return self._prepared.get(digest)

    def executed(self, height: int) -> None:
        """Forget what was proposed a while below `height`; peers may still ask for the rest."""
        old = height - HEIGHTS_KEPT
        for digest in [key for key, value in self._heights.items() if value <= old]:
            self._remove(digest)

    def ids(self, digests: Sequence[Digest]) -> set[Digest]:
        """The ids of all transactions in these payloads."""
        prepared = (self._prepared.get(digest) for digest in digests)
        return {entry.id for item in prepared if item is not None for entry in item.entries}

    def count(self, digests: Sequence[Digest]) -> int:
        """How many transactions are in these payloads."""
        prepared = (self._prepared.get(digest) for digest in digests)
        return sum(len(item.entries) for item in prepared if item is not None)

    def _remove(self, digest: Digest) -> None:
        self._bytes -= len(self._prepared.pop(digest).raw)
        del self._heights[digest]
