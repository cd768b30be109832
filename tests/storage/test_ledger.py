"""The ledger: proofs that hold, reopening, and no wrong answer from damaged bytes."""

import random
from pathlib import Path

import pytest

from crypto.certificate import Certificate
from crypto.encoding import encode
from crypto.hashes import sha256
from crypto.header import ZERO, Header, header_digest
from crypto.interface import Digest
from crypto.merkle import leaf_digest, root_of, verify_consistency, verify_inclusion
from crypto.transaction import Receipt
from storage.commitments import flat
from storage.engines import memory
from storage.interface import Corrupted, StorageError, Store
from storage.ledger import Ledger
from storage.state import State

HASH = sha256.create(sha256.Options())
GENESIS = Digest(b"g" * 32)


def opened(store: Store, genesis: Digest = GENESIS) -> tuple[Ledger, State]:
    commitment = flat.create(flat.Options(), HASH)
    return Ledger.open(store, genesis, HASH, commitment), State(store, commitment)


class Chain:
    """Blocks of made-up transactions in a store in memory."""

    def __init__(self, tmp_path: Path, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.store = memory.create(memory.Options(), tmp_path)
        self.ledger, self.state = opened(self.store)
        self.leaves: list[Digest] = []
        self.ids: list[Digest] = []
        self.sizes: list[int] = []

    def grow(self, count: int) -> None:
        ledger = self.ledger
        raws = [self.rng.randbytes(40) for _ in range(count)]
        ids = [HASH.digest(raw) for raw in raws]
        leaves = [leaf_digest(raw, HASH) for raw in raws]
        receipts = [Receipt(identity, "ok", b"") for identity in ids]
        for identity in ids[:3]:
            self.state.put(b"kv/" + identity[:4], identity)
        body = b"".join(raws)
        header = Header(
            height=ledger.height + 1,
            parent=ledger.header_digest(ledger.height) if ledger.height else ZERO,
            epoch=0,
            committee=GENESIS,
            payload=HASH.digest(body),
            time_ms=ledger.height,
            block_size=count,
            ledger_size=ledger.size + count,
            ledger_root=ledger.root_after(leaves),
            receipts_root=root_of([leaf_digest(encode(each), HASH) for each in receipts], HASH),
            state_root=self.state.commit_to(),
        )
        ledger.append(
            header, body, ids=ids, receipts=receipts, new=[True] * count, state=self.state
        )
        certificate = Certificate(header.height, header_digest(header, HASH), ())
        ledger.put_certificate(certificate)
        self.leaves += leaves
        self.ids += ids
        self.sizes.append(ledger.size)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    made = Chain(tmp_path)
    for count in (0, 1, 7, 300, 2, 255, 64, 1):
        made.grow(count)
    return made


@pytest.mark.parametrize("reopen", [False, True])
def test_every_proof_holds_also_after_a_reopening(chain: Chain, reopen: bool) -> None:
    ledger = opened(chain.store)[0] if reopen else chain.ledger
    assert (ledger.height, ledger.certified, ledger.size) == (8, 8, len(chain.leaves))
    for size in chain.sizes[1:]:
        root = root_of(chain.leaves[:size], HASH)
        for index in {0, size // 2, size - 1}:
            proof = ledger.inclusion(index, size)
            verify_inclusion(chain.leaves[index], index, size, proof, root, HASH)
        old = chain.rng.randrange(1, size + 1)
        proof = ledger.consistency(old, size)
        verify_consistency(old, size, root_of(chain.leaves[:old], HASH), root, proof, HASH)


def test_it_finds_what_it_has_and_nothing_else(chain: Chain) -> None:
    places = chain.ledger.find_many([chain.ids[0], Digest(bytes(32)), chain.ids[9]])
    assert places == [(2, 0), None, (4, 1)]
    assert chain.ledger.block(4).receipts[1].transaction == chain.ids[9]


def test_a_reopened_ledger_grows_on(chain: Chain) -> None:
    chain.ledger, chain.state = opened(chain.store)
    chain.grow(5)
    assert chain.ledger.height == 9
    assert chain.ledger.header(9).parent == chain.ledger.header_digest(8)
    assert chain.ledger.header(9).ledger_root == root_of(chain.leaves, HASH)


def test_a_flipped_bit_is_found_and_never_answered_with(chain: Chain) -> None:
    healthy = dict(chain.store.scan(b""))
    checked = 0
    for key, value in healthy.items():
        if key.startswith(b"s/") or not value:
            continue
        position = chain.rng.randrange(len(value))
        bad = value[:position] + bytes([value[position] ^ 4]) + value[position + 1 :]
        chain.store.write({key: bad})
        try:
            answers = read_everything(chain)
        except Corrupted:
            checked += 1
        else:
            pytest.fail(f"{key!r} with a flipped bit at {position} was read: {answers}")
        chain.store.write({key: value})
    assert checked > 600
    read_everything(chain)


def read_everything(chain: Chain) -> int:
    ledger, _ = opened(chain.store)
    for height in range(1, ledger.height + 1):
        ledger.header_digest(height)
        ledger.block(height)
        ledger.certificate(height)
    found = ledger.find_many(chain.ids)
    for index in range(0, ledger.size, 16):
        leaf = chain.leaves[index]
        proof = ledger.inclusion(index, ledger.size)
        verify_inclusion(leaf, index, ledger.size, proof, root_of(chain.leaves, HASH), HASH)
    return len(found)


def test_the_ledger_of_another_network_or_format_is_refused_in_a_sentence(chain: Chain) -> None:
    with pytest.raises(StorageError, match="another network"):
        opened(chain.store, Digest(b"o" * 32))
    stranger = memory.create(memory.Options(), Path("."))
    stranger.write({b"something": b"else"})
    with pytest.raises(StorageError, match="no ledger"):
        opened(stranger)
