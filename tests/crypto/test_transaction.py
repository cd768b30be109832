"""What a client signs, and what of it the id, the statement and the receipt depend on."""

import msgspec
import pytest

from crypto import domains
from crypto.encoding import Malformed, encode
from crypto.interface import (
    Digest,
    Hash,
    InvalidSignature,
    PublicKey,
    Signature,
    SignatureScheme,
    SigningKey,
)
from crypto.transaction import (
    NONCE_MAX,
    TRANSACTION_BYTES_MAX,
    Receipt,
    SignedTransaction,
    Transaction,
    receipts,
    signed_transactions,
    transaction_claim,
    transaction_id,
    transaction_statement,
)

GENESIS, OTHER = Digest(b"g" * 32), Digest(b"o" * 32)


@pytest.fixture(scope="module")
def key(scheme: SignatureScheme) -> SigningKey:
    return scheme.key_from_seed(b"c" * 32)


@pytest.fixture(scope="module")
def transaction(key: SigningKey) -> Transaction:
    return Transaction("main", key.public_key, 7, 100, "kv.set", ("name", 5))


@pytest.fixture(scope="module")
def signed(transaction: Transaction, key: SigningKey, hash_: Hash) -> SignedTransaction:
    identity = transaction_id(transaction, hash_)
    return SignedTransaction(transaction, key.sign(transaction_statement(identity, GENESIS)))


def test_a_signed_transaction_comes_back_and_verifies(
    signed: SignedTransaction, scheme: SignatureScheme, hash_: Hash
) -> None:
    assert signed_transactions.decode(encode(signed)) == signed
    identity = transaction_id(signed.transaction, hash_)
    scheme.verify(transaction_claim(signed, identity, GENESIS))


def test_the_id_does_not_depend_on_the_signature(signed: SignedTransaction, hash_: Hash) -> None:
    other = msgspec.structs.replace(signed, signature=Signature(b"another"))
    assert encode(other) != encode(signed)
    ids = {transaction_id(item.transaction, hash_) for item in (signed, other)}
    assert ids == {hash_.digest(encode(signed.transaction))}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain", "test"),
        ("sender", PublicKey(b"s" * 32)),
        ("nonce", 8),
        ("expiry", 101),
        ("method", "kv.get"),
        ("arguments", ("name", 6)),
        ("arguments", ("name", "5")),
        ("arguments", ("name",)),
        ("arguments", (5, "name")),
    ],
)
def test_every_field_changes_the_id_and_breaks_the_signature(
    field: str,
    value: object,
    signed: SignedTransaction,
    scheme: SignatureScheme,
    hash_: Hash,
) -> None:
    changed = msgspec.structs.replace(signed.transaction, **{field: value})
    identity = transaction_id(changed, hash_)
    assert identity != transaction_id(signed.transaction, hash_)
    forged = SignedTransaction(changed, signed.signature)
    with pytest.raises(InvalidSignature):
        scheme.verify(transaction_claim(forged, identity, GENESIS))


def test_the_statement_is_bound_to_the_network_and_the_purpose(
    signed: SignedTransaction, scheme: SignatureScheme, hash_: Hash
) -> None:
    identity = transaction_id(signed.transaction, hash_)
    statement = transaction_statement(identity, GENESIS)
    assert statement == domains.statement(domains.TRANSACTION, GENESIS, identity)
    assert statement != domains.statement(domains.ATTESTATION, GENESIS, identity)
    with pytest.raises(InvalidSignature):
        scheme.verify(transaction_claim(signed, identity, OTHER))


def test_the_claim_is_by_the_sender(signed: SignedTransaction, hash_: Hash) -> None:
    identity = transaction_id(signed.transaction, hash_)
    claim = transaction_claim(signed, identity, GENESIS)
    assert claim == (
        signed.transaction.sender, transaction_statement(identity, GENESIS), signed.signature,
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, NONCE_MAX])
def test_numbers_reach_to_63_bits(number: int, transaction: Transaction) -> None:
    edge = msgspec.structs.replace(transaction, nonce=number, expiry=number, arguments=(number,))
    signed = SignedTransaction(edge, Signature(b""))
    assert signed_transactions.decode(encode(signed)) == signed
    for field, value in {"nonce": -1, "expiry": NONCE_MAX + 1, "arguments": (2**63,)}.items():
        wrong = msgspec.structs.replace(edge, **{field: value})
        with pytest.raises(Malformed):
            signed_transactions.decode(encode(SignedTransaction(wrong, Signature(b""))))


def test_a_transaction_that_is_too_big_is_refused(transaction: Transaction) -> None:
    texts = ("x" * (16 * 1024),) * 3
    fits = msgspec.structs.replace(transaction, arguments=texts)
    assert signed_transactions.decode(encode(SignedTransaction(fits, Signature(b""))))
    big = SignedTransaction(
        msgspec.structs.replace(transaction, arguments=(*texts, *texts)), Signature(b"")
    )
    with pytest.raises(Malformed, match=f"at most {TRANSACTION_BYTES_MAX}"):
        signed_transactions.decode(encode(big))


@pytest.mark.parametrize(
    ("code", "accepted"), [("ok", True), ("", False), ("OK", False), ("duplicate", False)]
)
def test_only_the_code_ok_is_acceptance(code: str, accepted: bool) -> None:
    receipt = Receipt(GENESIS, code, b"output")
    assert receipt.accepted is accepted
    assert receipts.decode(encode(receipt)) == receipt
