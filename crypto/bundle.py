"""Proof bundles: what convinces anybody who has the genesis file that a transaction took effect.

A bundle carries the certified header, the transaction with its place in the ledger tree, and its
receipt with its place in the receipts tree of the block. The receipt says whether the transaction
was accepted; inclusion alone does not. Verifying needs nothing above this folder.

No byte is free: the file must be exactly what `to_json` makes of its content.
"""

import json
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from crypto.certificate import (
    Certificate,
    InvalidCertificate,
    check_subject,
    verify_certificate,
)
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.genesis import Genesis, committee_digest, digest
from crypto.header import DigestField, Header, header_digest
from crypto.interface import (
    CryptoError,
    Digest,
    Hash,
    InvalidKey,
    InvalidSignature,
    PublicKey,
    SignatureScheme,
)
from crypto.merkle import PROOF_LENGTH_MAX, InvalidProof, leaf_digest, verify_inclusion
from crypto.transaction import (
    TRANSACTION_BYTES_MAX,
    Argument,
    Count,
    Receipt,
    signed_transactions,
    transaction_claim,
    transaction_id,
)

FORMAT = 1
BUNDLE_BYTES_MAX = 8 * 1024 * 1024

Proof = Annotated[tuple[DigestField, ...], Meta(max_length=PROOF_LENGTH_MAX)]


class InvalidBundle(CryptoError):
    """The bundle does not prove what it says. The message says why."""


class CommitteeChange(Record, frozen=True):
    """A certified change of the committee since genesis. No network makes any yet."""

    header: Header
    certificate: Certificate


class Bundle(Record, frozen=True):
    """Everything but the genesis file."""

    genesis: DigestField
    changes: Annotated[tuple[CommitteeChange, ...], Meta(max_length=0)]
    """Must be empty as long as committees do not change."""
    header: Header
    certificate: Certificate
    transaction: Annotated[bytes, Meta(max_length=TRANSACTION_BYTES_MAX)]
    """The signed encoding."""
    index: Count
    """Of the transaction in the ledger."""
    ledger_proof: Proof
    receipt: Receipt
    position: Count
    """Of the receipt (and the transaction) in the block."""
    receipt_proof: Proof


bundles: Codec[Bundle] = Codec(Bundle, bytes_max=BUNDLE_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a bundle proves."""

    id: Digest
    height: int
    index: int
    accepted: bool
    code: str
    output: bytes
    method: str
    arguments: tuple[Argument, ...]
    sender: PublicKey
    time_ms: int


def to_json(bundle: Bundle) -> bytes:
    """The bundle as a file."""
    return _render(encode(bundle))


def from_json(raw: bytes) -> Bundle:
    """Read a bundle file. Raises `InvalidBundle` unless it is exactly what `to_json` makes."""
    if len(raw) > 2 * BUNDLE_BYTES_MAX + 1024:
        raise InvalidBundle(f"{len(raw)} bytes are too many for a bundle")
    try:
        values = json.loads(raw)
        if not isinstance(values, dict):
            raise InvalidBundle("not a bundle file: no JSON object")
        if values.get("format") != FORMAT:
            raise InvalidBundle(
                f"format {values.get('format')!r}; this version knows format {FORMAT}"
            )
        content = bytes.fromhex(values["bundle"])
        bundle = bundles.decode(content)
    except (ValueError, KeyError, TypeError, RecursionError, Malformed) as error:
        raise InvalidBundle(f"not a bundle file: {error}") from None
    if _render(content) != raw:
        raise InvalidBundle("the file is not in its canonical form: a byte of it was changed")
    return bundle


def verify_bundle(
    bundle: Bundle,
    genesis: Genesis,
    hash_: Hash,
    validator_scheme: SignatureScheme,
    client_scheme: SignatureScheme,
) -> Verified:
    """What the bundle proves to the holder of `genesis`. Raises `InvalidBundle`."""
    try:
        return _verify(bundle, genesis, hash_, validator_scheme, client_scheme)
    except (InvalidCertificate, InvalidProof, InvalidSignature, InvalidKey, Malformed) as error:
        raise InvalidBundle(str(error)) from None


def _verify(
    bundle: Bundle,
    genesis: Genesis,
    hash_: Hash,
    validator_scheme: SignatureScheme,
    client_scheme: SignatureScheme,
) -> Verified:
    network = digest(genesis)
    header = bundle.header
    if bundle.genesis != network:
        raise InvalidBundle("the bundle is from another network than this genesis file")
    if header.epoch != 0 or header.committee != committee_digest(genesis):
        raise InvalidBundle("the header is of a committee that the genesis file does not name")
    certificate = bundle.certificate
    check_subject(certificate, header.height, header_digest(header, hash_))
    keys = [item.public_key for item in genesis.validators]
    verify_certificate(certificate, keys, genesis.quorum, network, validator_scheme)
    _verify_places(bundle, hash_)
    signed = signed_transactions.decode(bundle.transaction)
    identity = transaction_id(signed.transaction, hash_)
    if bundle.receipt.transaction != identity:
        raise InvalidBundle("the receipt is of another transaction")
    if signed.transaction.chain != genesis.chain:
        raise InvalidBundle("the transaction is for another chain")
    client_scheme.verify(transaction_claim(signed, identity, network))
    return Verified(
        identity,
        header.height,
        bundle.index,
        bundle.receipt.accepted,
        bundle.receipt.code,
        bundle.receipt.output,
        signed.transaction.method,
        signed.transaction.arguments,
        signed.transaction.sender,
        header.time_ms,
    )


def _verify_places(bundle: Bundle, hash_: Hash) -> None:
    header = bundle.header
    if bundle.index != header.ledger_size - header.block_size + bundle.position:
        raise InvalidBundle("the places in ledger and block do not fit each other")
    verify_inclusion(
        leaf_digest(bundle.transaction, hash_),
        bundle.index,
        header.ledger_size,
        bundle.ledger_proof,
        header.ledger_root,
        hash_,
    )
    verify_inclusion(
        leaf_digest(encode(bundle.receipt), hash_),
        bundle.position,
        header.block_size,
        bundle.receipt_proof,
        header.receipts_root,
        hash_,
    )


def _render(content: bytes) -> bytes:
    return json.dumps({"format": FORMAT, "bundle": content.hex()}).encode() + b"\n"
