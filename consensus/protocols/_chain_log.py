"""What a replica that votes on a chain of nodes must not forget, and how it is kept.

Changes are collected and leave in one `Persist` before the next vote or timeout (C15): nothing
else that a replica says binds it later.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from consensus.interface import Persist
from consensus.protocols._chain_messages import (
    GENESIS,
    ROOT,
    Node,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest

REMEMBERED_BYTES_MAX = 16 * 1024 * 1024

_VOTED = b"voted"
_TIMEOUT = b"timeout"
_HIGH = b"high"
_GAVE_UP = b"gave-up"
_LOCK = b"lock"
_NODE = b"node/"

T = TypeVar("T")


class CorruptMemory(Exception):
    """What this replica remembered does not decode: the journal is damaged."""


class Lock(Record, frozen=True):
    """The certified node that a replica is locked on (C11)."""

    view: int
    node: Digest


UNLOCKED = Lock(0, GENESIS)

_votes: Codec[Vote] = Codec(Vote, bytes_max=1024)
_timeouts: Codec[Timeout] = Codec(Timeout, bytes_max=1024)
_highs: Codec[QuorumCertificate] = Codec(QuorumCertificate, bytes_max=REMEMBERED_BYTES_MAX)
_gave_ups: Codec[TimeoutCertificate] = Codec(TimeoutCertificate, bytes_max=REMEMBERED_BYTES_MAX)
_locks: Codec[Lock] = Codec(Lock, bytes_max=1024)
_nodes: Codec[Node] = Codec(Node, bytes_max=1024)


class Memory:
    """Durable by the next `flush`. Raises `CorruptMemory` when it is made of damaged bytes."""

    def __init__(self, remembered: Mapping[bytes, bytes]) -> None:
        self._changes: dict[bytes, bytes | None] = {}
        try:
            self._voted = self._read(remembered, _VOTED, _votes)
            self._timeout = self._read(remembered, _TIMEOUT, _timeouts)
            self._high = self._read(remembered, _HIGH, _highs) or ROOT
            self._gave_up = self._read(remembered, _GAVE_UP, _gave_ups)
            self._lock = self._read(remembered, _LOCK, _locks) or UNLOCKED
            self.nodes = {
                key: _nodes.decode(raw) for key, raw in remembered.items() if key.startswith(_NODE)
            }
        except Malformed as error:
            raise CorruptMemory(f"a replica cannot read what it remembered: {error}") from None

    @staticmethod
    def _read(remembered: Mapping[bytes, bytes], key: bytes, codec: Codec[T]) -> T | None:
        return codec.decode(remembered[key]) if key in remembered else None

    @property
    def voted(self) -> Vote | None:
        """The last vote."""
        return self._voted

    @voted.setter
    def voted(self, vote: Vote) -> None:
        self._voted = vote
        self._changes[_VOTED] = encode(vote)

    @property
    def timeout(self) -> Timeout | None:
        """The last view that was given up."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._changes[_TIMEOUT] = encode(timeout)

    @property
    def high(self) -> QuorumCertificate:
        """The highest quorum certificate."""
        return self._high

    @high.setter
    def high(self, certificate: QuorumCertificate) -> None:
        self._high = certificate
        self._changes[_HIGH] = encode(certificate)

    @property
    def gave_up(self) -> TimeoutCertificate | None:
        """The highest timeout certificate."""
        return self._gave_up

    @gave_up.setter
    def gave_up(self, certificate: TimeoutCertificate) -> None:
        self._gave_up = certificate
        self._changes[_GAVE_UP] = encode(certificate)

    @property
    def lock(self) -> Lock:
        return self._lock

    @lock.setter
    def lock(self, lock: Lock) -> None:
        self._lock = lock
        self._changes[_LOCK] = encode(lock)

    def keep(self, node: Node, name: Digest) -> None:
        key = _key(node, name)
        self.nodes[key] = node
        self._changes[key] = encode(node)

    def forget(self, nodes: Iterable[tuple[Node, Digest]]) -> None:
        for node, name in nodes:
            key = _key(node, name)
            if self.nodes.pop(key, None) is not None:
                self._changes[key] = None

    def flush(self) -> Persist:
        """C15: everything that changed since."""
        changes, self._changes = self._changes, {}
        return Persist(changes)

    @property
    def view(self) -> int:
        """C7: one above what is certified, or given up by a quorum."""
        return max(self._high.view, self._gave_up.view if self._gave_up else 0) + 1


def _key(node: Node, name: Digest) -> bytes:
    return _NODE + node.view.to_bytes(8, "big") + name
