"""The shapes of the API's JSON, with examples; strict: no coercion, nothing unknown.

Requests are validated with these models. Answers are built as plain dictionaries on the hot paths
and documented with these models; the tests hold the one against the other.
Bytes are lower-case hexadecimal; heights, indexes and sizes are whole numbers below 2**63.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from crypto.encoding import encode
from crypto.interface import PublicKey, Signature
from crypto.transaction import TRANSACTION_BYTES_MAX, SignedTransaction
from crypto.transaction import Transaction as Transaction_
from node.api.limits import HEIGHT_MAX

_ID = "9f" * 32
_ROOT = "4b" * 32
_KEY = "d7" * 32
_SIGNATURE = "5a" * 64
_RAW = encode(
    SignedTransaction(
        Transaction_(
            "assay-7f3c", PublicKey(bytes.fromhex(_KEY)), 7, 1000, "kv.set", ("colour", "blue")
        ),
        Signature(bytes.fromhex(_SIGNATURE)),
    )
).hex()

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hex = Annotated[
    str, StringConstraints(pattern=r"^([0-9a-f]{2})*$", max_length=2 * TRANSACTION_BYTES_MAX)
]
Count = Annotated[int, Field(ge=0, le=HEIGHT_MAX)]
Argument = Annotated[int, Field(ge=0, le=HEIGHT_MAX)] | Annotated[str, Field(max_length=16 * 1024)]


class Model(BaseModel):
    """Base of all shapes; `example` goes into the OpenAPI document."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    example: ClassVar[dict[str, Any]] = {}


class ErrorDetail(Model):
    code: str
    """A stable word for programs."""
    message: str
    """A sentence that says what to change."""


class Error(Model):
    error: ErrorDetail
    example: ClassVar[dict[str, Any]] = {
        "error": {
            "code": "expired",
            "message": "the expiry 40 is not above the height 52; sign it again with a later one",
        }
    }


class Transaction(Model):
    chain: Annotated[str, Field(max_length=64)]
    sender: Annotated[Hex, Field(max_length=2 * 4096)]
    nonce: Count
    expiry: Count
    method: Annotated[str, Field(max_length=64)]
    arguments: Annotated[list[Argument], Field(max_length=16)]
    example: ClassVar[dict[str, Any]] = {
        "chain": "assay-7f3c",
        "sender": _KEY,
        "nonce": 7,
        "expiry": 1000,
        "method": "kv.set",
        "arguments": ["colour", "blue"],
    }


class SignedSubmission(Model):
    """A transaction in fields; the signature is over its canonical encoding."""

    transaction: Transaction
    signature: Hex
    example: ClassVar[dict[str, Any]] = {
        "transaction": Transaction.example,
        "signature": _SIGNATURE,
    }


class RawSubmission(Model):
    """A signed transaction in its canonical encoding."""

    raw: Hex
    example: ClassVar[dict[str, Any]] = {"raw": _RAW}


class BatchSubmission(Model):
    transactions: list[SignedSubmission | RawSubmission]
    example: ClassVar[dict[str, Any]] = {
        "transactions": [SignedSubmission.example, RawSubmission.example]
    }


class Admitted(Model):
    id: Digest
    status: str
    """`admitted`, or `pending` when the time ran out before it was committed."""
    duplicate: bool = False
    """True when this node had it already: trying again is harmless."""
    example: ClassVar[dict[str, Any]] = {"id": _ID, "status": "admitted"}


class Committed(Model):
    id: Digest
    status: str
    height: Count
    index: Count
    """In the ledger, from 0."""
    position: Count
    """In its block, from 0."""
    code: str
    """`ok`, or why the application rejected it."""
    accepted: bool
    output: Hex
    """The application's result; of a rejection, its sentence in UTF-8."""
    message: str | None = None
    """The sentence of a rejection."""
    duplicate: bool = False
    example: ClassVar[dict[str, Any]] = {
        "id": _ID,
        "status": "committed",
        "height": 52,
        "index": 417,
        "position": 3,
        "code": "ok",
        "accepted": True,
        "output": "",
    }


class BatchResult(Model):
    id: Digest | None = None
    status: str
    """`admitted`, `pending`, `committed` or `refused`."""
    height: Count | None = None
    index: Count | None = None
    code: str | None = None
    """The receipt's code, once committed."""
    duplicate: bool = False
    error: ErrorDetail | None = None


class BatchResults(Model):
    results: list[BatchResult]
    error: ErrorDetail | None = None
    """Only with 429: nothing of the batch was admitted, and trying later may help."""
    example: ClassVar[dict[str, Any]] = {
        "results": [
            {"id": _ID, "status": "committed", "height": 52, "index": 417, "code": "ok"},
            {"status": "refused", "error": Error.example["error"]},
        ]
    }


class TransactionView(Model):
    id: Digest
    status: str
    """`pending` or `committed`; of an unknown one, 404."""
    height: Count | None = None
    index: Count | None = None
    position: Count | None = None
    code: str | None = None
    accepted: bool | None = None
    output: Hex | None = None
    message: str | None = None
    transaction: Transaction | None = None
    signature: Hex | None = None
    example: ClassVar[dict[str, Any]] = {
        **Committed.example,
        "transaction": Transaction.example,
        "signature": _SIGNATURE,
    }


class Header(Model):
    height: Count
    parent: Digest
    epoch: Count
    committee: Digest
    payload: Digest
    time_ms: Count
    block_size: Count
    """Transactions in this block."""
    ledger_size: Count
    """Transactions in the ledger after it."""
    ledger_root: Digest
    receipts_root: Digest
    state_root: Digest
    example: ClassVar[dict[str, Any]] = {
        "height": 52,
        "parent": "11" * 32,
        "epoch": 0,
        "committee": "22" * 32,
        "payload": "33" * 32,
        "time_ms": 1_800_000_000_000,
        "block_size": 1,
        "ledger_size": 420,
        "ledger_root": _ROOT,
        "receipts_root": "55" * 32,
        "state_root": "66" * 32,
    }


class Vote(Model):
    validator: Count
    """Its index in the committee."""
    signature: Hex


class Certificate(Model):
    """A quorum of attestations of one header."""

    height: Count
    header: Digest
    votes: list[Vote]


class HeaderView(Model):
    header: Header
    digest: Digest
    certificate: Certificate | None
    """Null while the quorum is not complete."""
    example: ClassVar[dict[str, Any]] = {
        "header": Header.example,
        "digest": "77" * 32,
        "certificate": {
            "height": 52,
            "header": "77" * 32,
            "votes": [{"validator": index, "signature": _SIGNATURE} for index in (0, 1, 2)],
        },
    }


class BlockTransaction(Model):
    id: Digest
    raw: Hex


class Receipt(Model):
    id: Digest
    code: str
    accepted: bool
    output: Hex


class BlockAnswer(Model):
    header: Header
    digest: Digest
    certificate: Certificate | None
    first_index: Count
    """Ledger index of the first transaction."""
    transactions: list[BlockTransaction]
    receipts: list[Receipt]
    example: ClassVar[dict[str, Any]] = {
        **HeaderView.example,
        "first_index": 419,
        "transactions": [{"id": _ID, "raw": _RAW}],
        "receipts": [{"id": _ID, "code": "ok", "accepted": True, "output": ""}],
    }


class Inclusion(Model):
    index: Count
    size: Count
    hashes: list[Digest]
    example: ClassVar[dict[str, Any]] = {"index": 2, "size": 4, "hashes": ["88" * 32, "99" * 32]}


class Consistency(Model):
    old: Count
    new: Count
    hashes: list[Digest]
    example: ClassVar[dict[str, Any]] = {"old": 3, "new": 4, "hashes": ["88" * 32, "99" * 32]}


class QueryAnswer(Model):
    height: Count
    value: Any
    """What the application says; null if there is nothing."""
    example: ClassVar[dict[str, Any]] = {"height": 52, "value": "blue"}


class Peer(Model):
    name: str
    role: str


class Mempool(Model):
    count: Count
    bytes: Count


class Status(Model):
    name: str
    role: str
    chain: str
    genesis: Digest
    height: Count
    certified: Count
    header: Digest
    view: Count
    leader: str | None
    phase: str
    state_root: Digest
    peers: list[Peer]
    mempool: Mempool
    next_timeout_ms: Count
    waiting_for: list[str]
    syncing: bool
    moving: bool
    reason: str
    """Why the chain moves, or why it does not."""
    example: ClassVar[dict[str, Any]] = {
        "name": "v2",
        "role": "validator",
        "chain": "assay-7f3c",
        "genesis": "aa" * 32,
        "height": 52,
        "certified": 52,
        "header": "77" * 32,
        "view": 0,
        "leader": "v1",
        "phase": "idle",
        "state_root": "66" * 32,
        "peers": [{"name": "v1", "role": "validator"}, {"name": "v3", "role": "validator"}],
        "mempool": {"count": 0, "bytes": 0},
        "next_timeout_ms": 2000,
        "waiting_for": [],
        "syncing": False,
        "moving": True,
        "reason": "3 of 4 validators are connected; a quorum is 3",
    }


class Process(Model):
    pid: Count
    uptime_seconds: Count
    rss_bytes: Count
    log_level: str


class AdminStatus(Status):
    process: Process
    example: ClassVar[dict[str, Any]] = {
        **Status.example,
        "process": {
            "pid": 4211,
            "uptime_seconds": 60,
            "rss_bytes": 90_000_000,
            "log_level": "info",
        },
    }


class Validator(Model):
    name: str
    index: Count
    """Its place in the committee; certificates name validators by it."""
    public_key: Hex
    channel_key: Hex


class Proof(Model):
    """A bundle as `crypto.bundle` writes it; verify the very bytes, not a re-written form."""

    format: Count
    bundle: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$")]
    example: ClassVar[dict[str, Any]] = {"format": 1, "bundle": _RAW}


class Validators(Model):
    quorum: Count
    """So many attestations make a certificate."""
    fault_model: str
    """Which faults of validators the network bears."""
    validators: list[Validator]
    example: ClassVar[dict[str, Any]] = {
        "quorum": 3,
        "fault_model": "byzantine",
        "validators": [{"name": "v1", "index": 0, "public_key": _KEY, "channel_key": "e1" * 32}],
    }


class Alive(Model):
    status: str
    example: ClassVar[dict[str, Any]] = {"status": "alive"}


class Ready(Model):
    status: str
    height: Count
    example: ClassVar[dict[str, Any]] = {"status": "ready", "height": 52}


class LogLevel(Model):
    level: str
    example: ClassVar[dict[str, Any]] = {"level": "debug"}
