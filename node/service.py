"""What the API may ask of a running node. Nothing here blocks the event loop.

`node.node.Node` is the implementation; the API layer knows only this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from crypto.bundle import Bundle
from crypto.certificate import Certificate
from crypto.genesis import Genesis
from crypto.header import Header
from crypto.interface import Digest, NodeId
from crypto.transaction import Receipt
from node.events import EventStream
from p2p.interface import Peer


class Refusal(StrEnum):
    """Why ingress did not admit a transaction. The value is the API's error code."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_CHAIN = "wrong_chain"
    EXPIRED = "expired"
    LIFETIME = "lifetime_too_long"
    UNKNOWN_CLIENT = "unknown_client"
    BAD_SIGNATURE = "bad_signature"
    BAD_METHOD = "unknown_method"
    BAD_ARGUMENTS = "bad_arguments"
    DUPLICATE = "duplicate"
    SENDER_QUOTA = "sender_quota"
    FULL = "mempool_full"
    NOT_VALIDATOR = "not_a_validator"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ingress says of one submitted transaction.

    `refusal is None`: admitted. `DUPLICATE` of a transaction that waits or was committed here is
    no failure for a client that tries again: `id` is set, and `wait` answers for it.
    """

    id: Digest | None
    refusal: Refusal | None
    text: str = ""
    """A sentence that says what to change; empty when admitted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that this node decided, executed, stored, and holds a certificate for."""

    id: Digest
    height: int
    index: int
    """Its index in the ledger, from 0."""
    position: int
    """Its position in its block, from 0."""
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class BlockView:
    header: Header
    digest: Digest
    certificate: Certificate | None
    """None until a quorum of attestations is complete."""
    transactions: tuple[bytes, ...]
    """Signed encodings."""
    ids: tuple[Digest, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Status:
    name: NodeId
    role: str
    height: int
    """Executed and stored."""
    certified: int
    """Highest height whose certificate is held; what clients may rely on."""
    header: Digest
    state_root: Digest
    view: int
    leader: NodeId | None
    phase: str
    waiting_for: tuple[NodeId, ...]
    next_timeout_ms: int
    peers: tuple[Peer, ...]
    mempool_count: int
    mempool_bytes: int
    syncing: bool
    moving: bool
    reason: str
    """One sentence: why the chain moves or does not."""


class NodeService(Protocol):
    @property
    def name(self) -> NodeId: ...

    @property
    def genesis(self) -> Genesis: ...

    @property
    def genesis_digest(self) -> Digest: ...

    @property
    def events(self) -> EventStream: ...

    def status(self) -> Status: ...

    async def submit(self, raws: Sequence[bytes]) -> Sequence[Verdict]:
        """Ingress for signed encodings, in order. At most `genesis.limits` allow per call."""
        ...

    async def wait_committed(
        self, ids: Sequence[Digest], timeout_ms: int
    ) -> Sequence[Outcome | None]:
        """The outcomes, in order; None where the time ran out first."""
        ...

    async def outcome(self, identity: Digest) -> Outcome | None: ...

    def is_pending(self, identity: Digest) -> bool: ...

    async def header(self, height: int) -> tuple[Header, Certificate | None] | None: ...

    async def block(self, height: int) -> BlockView | None: ...

    async def bundle(self, identity: Digest) -> Bundle | None:
        """The proof of a committed transaction; None until then."""
        ...

    async def inclusion(self, index: int, size: int) -> Sequence[Digest]:
        """RFC 6962 audit path. Raises `OutOfRange`."""
        ...

    async def consistency(self, old: int, new: int) -> Sequence[Digest]:
        """RFC 6962 consistency proof. Raises `OutOfRange`."""
        ...

    async def query(self, application: str, path: Sequence[str]) -> tuple[int, object]:
        """Height read at, and the answer. Raises `apps.interface.QueryRefused`, `Unknown`."""
        ...


class OutOfRange(Exception):
    """No such height, index or size here (yet)."""


class Unknown(Exception):
    """No application of that name in this network."""
