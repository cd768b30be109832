"""Transactions and receipts: what a client signs, and what the ledger says of it.

The id of a transaction is the digest of its unsigned body, so it is known before signing and no
re-signing changes it. The leaf of the ledger tree is the whole signed encoding.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta

from crypto import domains
from crypto.encoding import Codec, Record, encode
from crypto.interface import Claim, Digest, Hash, PublicKey, Signature, Statement

TRANSACTION_BYTES_MAX = 64 * 1024
NONCE_MAX = 2**63 - 1

Count = Annotated[int, Meta(ge=0, le=NONCE_MAX)]
Text = Annotated[str, Meta(max_length=16 * 1024)]
Argument: TypeAlias = Text | Count


class Transaction(Record, frozen=True):
    """A client's order. At most one transaction of an id ever takes effect."""

    chain: Annotated[str, Meta(max_length=64)]
    sender: Annotated[PublicKey, Meta(max_length=4096)]
    nonce: Count
    """Any number that makes this transaction different from the sender's others."""
    expiry: Count
    """The last height at which it may be executed."""
    method: Annotated[str, Meta(max_length=64)]
    """`kv.set`: application, dot, method."""
    arguments: Annotated[tuple[Argument, ...], Meta(max_length=16)]


class SignedTransaction(Record, frozen=True):
    transaction: Transaction
    signature: Annotated[Signature, Meta(max_length=64 * 1024)]


class Receipt(Record, frozen=True):
    """What became of one transaction in one block."""

    transaction: Annotated[Digest, Meta(min_length=32, max_length=32)]
    code: Annotated[str, Meta(max_length=64)]
    """`ok`, or why it was rejected: `duplicate`, `expired`, `not_owner`, ..."""
    output: Annotated[bytes, Meta(max_length=64 * 1024)]
    """The application's result, or the sentence of a rejection in UTF-8."""

    @property
    def accepted(self) -> bool:
        return self.code == ACCEPTED


ACCEPTED = "ok"

signed_transactions: Codec[SignedTransaction] = Codec(
    SignedTransaction, bytes_max=TRANSACTION_BYTES_MAX
)
receipts: Codec[Receipt] = Codec(Receipt, bytes_max=128 * 1024)


def transaction_id(transaction: Transaction, hash_: Hash) -> Digest:
    return hash_.digest(encode(transaction))


def transaction_statement(identity: Digest, genesis: Digest) -> Statement:
    """What the client signs."""
    return domains.statement(domains.TRANSACTION, genesis, identity)


def transaction_claim(signed: SignedTransaction, identity: Digest, genesis: Digest) -> Claim:
    return Claim(
        signed.transaction.sender, transaction_statement(identity, genesis), signed.signature
    )
