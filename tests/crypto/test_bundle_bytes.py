"""A proof bundle shows what took effect, stands on `crypto` alone, and has no free byte."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

import crypto.bundle
from crypto.bundle import (
    Bundle,
    InvalidBundle,
    Verified,
    bundles,
    from_json,
    to_json,
    verify_bundle,
)
from crypto.certificate import Certificate, Vote
from crypto.encoding import Record, encode
from crypto.genesis import Genesis, Validator, committee_digest, digest
from crypto.header import ZERO, Header, attestation_statement, header_digest
from crypto.interface import Digest, Hash, Signature, SignatureScheme, SigningKey
from crypto.merkle import inclusion_proof, leaf_digest, nodes_of, root_of
from crypto.transaction import (
    Receipt,
    SignedTransaction,
    Transaction,
    signed_transactions,
    transaction_id,
    transaction_statement,
)

BEFORE, IN_BLOCK, POSITION = 5, 3, 1
"""Transactions in the ledger before the block, in the block, and the proven one's place in it."""

R = TypeVar("R", bound=Record)


class World:
    """A network of four, and a ledger of eight transactions whose last three are one block."""

    def __init__(self, hash_: Hash, scheme: SignatureScheme) -> None:
        self.hash, self.scheme = hash_, scheme
        self.client = scheme.key_from_seed(b"c" * 32)
        self.signers: list[SigningKey] = [
            scheme.key_from_seed(bytes([index]) * 32) for index in range(4)
        ]
        self.genesis = Genesis(
            chain="lab",
            created_ms=0,
            validators=tuple(
                Validator(name=f"v{index}", public_key=key.public_key, channel_key=bytes([index]))
                for index, key in enumerate(self.signers, 1)
            ),
            clients=(self.client.public_key,),
        )
        self.network = digest(self.genesis)
        self.raws = [self.signed(nonce) for nonce in range(BEFORE + IN_BLOCK)]
        self.receipts = [Receipt(self.identity(raw), "ok", b"done") for raw in self.raws[BEFORE:]]

    def signed(self, nonce: int, chain: str = "lab") -> bytes:
        order = Transaction(chain, self.client.public_key, nonce, 99, "kv.set", ("k", nonce))
        statement = transaction_statement(transaction_id(order, self.hash), self.network)
        return encode(SignedTransaction(order, self.client.sign(statement)))

    def identity(self, raw: bytes) -> Digest:
        return transaction_id(signed_transactions.decode(raw).transaction, self.hash)

    def header(self, ledger: list[Digest], receipts: list[Digest]) -> Header:
        return Header(
            height=2,
            parent=ZERO,
            epoch=0,
            committee=committee_digest(self.genesis),
            payload=Digest(b"p" * 32),
            time_ms=7,
            block_size=len(receipts),
            ledger_size=len(ledger),
            ledger_root=root_of(ledger, self.hash),
            receipts_root=root_of(receipts, self.hash),
            state_root=Digest(b"s" * 32),
        )

    def certified(self, header: Header, count: int = 3) -> Certificate:
        attested = header_digest(header, self.hash)
        statement = attestation_statement(attested, self.network)
        votes = [Vote(i, key.sign(statement)) for i, key in enumerate(self.signers[:count])]
        return Certificate(header.height, attested, tuple(votes))

    def bundle(self, raws: list[bytes], receipts: list[Receipt]) -> Bundle:
        ledger = [leaf_digest(raw, self.hash) for raw in raws]
        leaves = [leaf_digest(encode(receipt), self.hash) for receipt in receipts]
        header, index = self.header(ledger, leaves), BEFORE + POSITION
        return Bundle(
            self.network,
            (),
            header,
            self.certified(header),
            raws[index],
            index,
            inclusion_proof(index, len(ledger), nodes_of(ledger, self.hash), self.hash),
            receipts[POSITION],
            POSITION,
            inclusion_proof(POSITION, len(leaves), nodes_of(leaves, self.hash), self.hash),
        )

    def verify(self, bundle: Bundle) -> Verified:
        return verify_bundle(bundle, self.genesis, self.hash, self.scheme, self.scheme)


@pytest.fixture(scope="module")
def world(hash_: Hash, scheme: SignatureScheme) -> World:
    return World(hash_, scheme)


@pytest.fixture(scope="module")
def good(world: World) -> Bundle:
    return world.bundle(world.raws, world.receipts)


def test_a_sound_bundle_says_what_took_effect_where_and_when(world: World, good: Bundle) -> None:
    proven = world.verify(from_json(to_json(good)))
    assert (proven.accepted, proven.code, proven.output) == (True, "ok", b"done")
    assert (proven.height, proven.index, proven.time_ms) == (2, BEFORE + POSITION, 7)
    assert (proven.method, proven.arguments) == ("kv.set", ("k", BEFORE + POSITION))
    assert proven.sender == world.client.public_key
    assert proven.id == world.identity(good.transaction)


def test_a_rejection_is_proven_as_a_rejection(world: World) -> None:
    receipts = list(world.receipts)
    receipts[POSITION] = Receipt(receipts[POSITION].transaction, "not_owner", b"it is v1's")
    proven = world.verify(world.bundle(world.raws, receipts))
    assert (proven.accepted, proven.code) == (False, "not_owner")


def test_a_bundle_with_any_byte_changed_proves_nothing(world: World, good: Bundle) -> None:
    raw = to_json(good)
    for place in range(len(raw)):
        for bit in (1, 0x20, 0x80):
            changed = bytearray(raw)
            changed[place] ^= bit
            with pytest.raises(InvalidBundle):
                world.verify(from_json(bytes(changed)))


def test_a_bundle_with_a_byte_more_or_less_proves_nothing(world: World, good: Bundle) -> None:
    raw = to_json(good)
    for place in range(len(raw) + 1):
        for more in (b" ", b"0", raw[place : place + 1] or b"\n"):
            with pytest.raises(InvalidBundle):
                world.verify(from_json(raw[:place] + more + raw[place:]))
        if place < len(raw):
            with pytest.raises(InvalidBundle):
                world.verify(from_json(raw[:place] + raw[place + 1 :]))


def test_a_bundle_with_any_bit_of_its_content_changed_proves_nothing(
    world: World, good: Bundle
) -> None:
    # Past the JSON: the content as whoever makes a new file around it would change it.
    content = encode(good)
    assert bundles.decode(content) == good
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            text = b'{"format": 1, "bundle": "%s"}\n' % changed.hex().encode()
            with pytest.raises(InvalidBundle):
                world.verify(from_json(text))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 1, "bundle": 5}',
        b'{"format": 1, "bundle": "zz"}',
        b'{"format": NaN, "bundle": ""}',
    ],
)
def test_what_is_no_bundle_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidBundle):
        from_json(raw)


@pytest.mark.parametrize(
    "changed",
    [
        lambda raw: raw.replace(b'"format": 1', b'"format": true'),
        lambda raw: raw.replace(b'"format": 1', b'"format": 1.0'),
        lambda raw: raw.replace(b'"format": 1', b'"format": 1, "format": 1'),
        lambda raw: raw.replace(b'"format": 1', b'"more": 0, "format": 1'),
        lambda raw: raw.replace(b" ", b""),
        lambda raw: raw.upper().replace(b"FORMAT", b"format").replace(b"BUNDLE", b"bundle"),
        lambda raw: raw.decode().encode("utf-16"),
    ],
)
def test_another_way_to_write_the_same_content_is_refused(
    changed: Callable[[bytes], bytes], good: Bundle
) -> None:
    raw = to_json(good)
    assert from_json(raw) == good
    with pytest.raises(InvalidBundle, match="canonical"):
        from_json(changed(raw))


def test_a_format_of_the_future_is_named() -> None:
    with pytest.raises(InvalidBundle, match="format 2; this version knows format 1"):
        from_json(b'{"format": 2}')


def test_each_reason_is_its_own(world: World, good: Bundle) -> None:
    header = good.header
    other = leaf_digest(b"other", world.hash)
    resized = msgspec.structs.replace(header, block_size=2)
    receipt_of_other = list(world.receipts)
    receipt_of_other[POSITION] = world.receipts[0]
    wrong_chain = list(world.raws)
    wrong_chain[BEFORE + POSITION] = world.signed(1, chain="elsewhere")
    chain_receipts = list(world.receipts)
    chain_receipts[POSITION] = Receipt(
        world.identity(wrong_chain[BEFORE + POSITION]), "ok", b"done"
    )
    unsigned = list(world.raws)
    unsigned[BEFORE + POSITION] = forged(world.raws[BEFORE + POSITION])
    later = msgspec.structs.replace(header, time_ms=8)
    next_epoch = msgspec.structs.replace(header, epoch=1)
    cases: list[tuple[str, Bundle]] = [
        ("another network", but(good, genesis=other)),
        ("committee", but(good, header=next_epoch, certificate=world.certified(next_epoch))),
        ("another header", but(good, header=later)),
        ("another height", but(good, certificate=but(good.certificate, height=3))),
        ("2 signers", but(good, certificate=world.certified(header, 2))),
        ("do not fit", but(good, index=good.index - 1)),
        ("do not fit", but(good, position=POSITION + 1)),
        ("do not fit", but(good, header=resized, certificate=world.certified(resized))),
        ("too short", but(good, ledger_proof=good.ledger_proof[:-1])),
        ("too long", but(good, receipt_proof=(*good.receipt_proof, other))),
        ("another root", but(good, transaction=world.raws[0])),
        ("another root", but(good, receipt=Receipt(good.receipt.transaction, "ok", b"more"))),
        ("another transaction", world.bundle(world.raws, receipt_of_other)),
        ("another chain", world.bundle(wrong_chain, chain_receipts)),
        ("signature does not match", world.bundle(unsigned, world.receipts)),
    ]
    world.verify(good)
    for reason, bundle in cases:
        with pytest.raises(InvalidBundle, match=reason):
            world.verify(bundle)


def test_a_place_in_the_ledger_that_another_block_holds_is_refused(
    world: World, good: Bundle
) -> None:
    # Its inclusion in the ledger is sound, and so is its receipt's in the block.
    ledger = [leaf_digest(raw, world.hash) for raw in world.raws]
    index = BEFORE - 1
    proof = inclusion_proof(index, len(ledger), nodes_of(ledger, world.hash), world.hash)
    moved = but(good, transaction=world.raws[index], index=index, ledger_proof=proof)
    with pytest.raises(InvalidBundle, match="do not fit"):
        world.verify(moved)


def test_verifying_loads_nothing_above_crypto() -> None:
    code = (
        "import sys, crypto.bundle, crypto.signatures.ed25519, crypto.hashes.sha256\n"
        "ours = {'mechanisms', 'consensus', 'p2p', 'storage', 'apps', 'node', 'testnet', 'cli',"
        " 'benchmarks'}\n"
        "others = {'fastapi', 'uvicorn', 'httpx', 'asyncio', 'socket', 'plyvel', 'cryptography'}\n"
        "print(sorted((ours | others) & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    root = Path(crypto.bundle.__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def but(record: R, **changes: object) -> R:
    """The record with some fields changed."""
    return msgspec.structs.replace(record, **changes)


def forged(raw: bytes) -> bytes:
    """The same order with a signature that its sender did not make."""
    signed = signed_transactions.decode(raw)
    return encode(SignedTransaction(signed.transaction, Signature(bytes(64))))
