"""The ledger: proofs that hold, reopening, and no wrong answer from damaged bytes."""

import random
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from crypto.certificate import Certificate, Vote
from crypto.encoding import encode
from crypto.hashes import sha256
from crypto.header import ZERO, Header, header_digest
from crypto.interface import Digest, Signature
from crypto.merkle import leaf_digest, root_of, verify_consistency, verify_inclusion
from crypto.transaction import Receipt
from mechanisms.registry import Kind, load, options
from storage.checksum import with_checksum
from storage.commitments import flat
from storage.engines import memory
from storage.interface import Corrupted, StorageError, Store
from storage.ledger import FORMAT, Ledger
from storage.state import State

HASH = sha256.create(sha256.Options())
GENESIS = Digest(b"g" * 32)


def opened(store: Store, genesis: Digest = GENESIS) -> tuple[Ledger, State]:
    commitment = flat.create(flat.Options(), HASH)
    return Ledger.open(store, genesis, HASH, commitment), State(store, commitment)


class Chain:
    """Blocks of made-up transactions."""

    def __init__(self, store: Store, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.store = store
        self.ledger, self.state = opened(self.store)
        self.leaves: list[Digest] = []
        self.ids: list[Digest] = []
        self.sizes: list[int] = []

    def grow(self, count: int, *, certificate_bytes: int | None = 0) -> None:
        """Append a block of `count` transactions; with None, without a certificate."""
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
        if certificate_bytes is not None:
            votes = (Vote(0, Signature(bytes(certificate_bytes))),) if certificate_bytes else ()
            ledger.put_certificate(Certificate(header.height, header_digest(header, HASH), votes))
        self.leaves += leaves
        self.ids += ids
        self.sizes.append(ledger.size)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    made = Chain(memory.create(memory.Options(), tmp_path))
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
        if not value:  # an empty body
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
    assert checked == len(healthy) - 1 > 600
    read_everything(chain)


def read_everything(chain: Chain) -> int:
    ledger, state = opened(chain.store)
    for key, value in state.scan(b""):
        assert value.startswith(key[-4:])
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
    chain.store.write({b"meta": with_checksum((FORMAT + 1).to_bytes(4, "big") + b"whatever")})
    with pytest.raises(StorageError, match=f"format {FORMAT + 1}") as caught:
        opened(chain.store)
    assert not isinstance(caught.value, Corrupted)


def test_a_flipped_bit_in_the_last_header_is_found_although_nothing_certifies_it(
    chain: Chain,
) -> None:
    chain.grow(3, certificate_bytes=None)
    key = b"h/" + chain.ledger.height.to_bytes(8, "big")
    raw = chain.store.get(key) or b""
    for position in range(len(raw)):
        chain.store.write({key: raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]})
        with pytest.raises(Corrupted):
            opened(chain.store)[0].header(9)
    chain.store.write({key: raw})
    assert opened(chain.store)[0].header(9).height == 9


@pytest.mark.parametrize("seed", range(5))
def test_proofs_hold_after_random_growth_and_reopenings(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    chain = Chain(memory.create(memory.Options(), tmp_path), seed)
    for _ in range(12):
        chain.grow(rng.choice([0, 1, 2, rng.randrange(300), 256]))
        if rng.random() < 0.5:
            chain.ledger, chain.state = opened(chain.store)
        check_proofs(chain, rng)


def test_proofs_hold_across_three_levels_of_tiles(tmp_path: Path) -> None:
    chain = Chain(memory.create(memory.Options(), tmp_path))
    for count in (65_500, 35, 1, 1, 300):
        chain.grow(count)
    chain.ledger, chain.state = opened(chain.store)
    check_proofs(chain, random.Random(1))
    chain.grow(1)
    check_proofs(chain, random.Random(2))


def check_proofs(chain: Chain, rng: random.Random) -> None:
    """Of some leaves and former sizes, at the present size."""
    ledger, size = chain.ledger, len(chain.leaves)
    root = root_of(chain.leaves, HASH)
    assert (ledger.size, ledger.root) == (size, root)
    if not size:
        return
    for index in {0, size - 1, *(rng.randrange(size) for _ in range(5))}:
        proof = ledger.inclusion(index, size)
        verify_inclusion(chain.leaves[index], index, size, proof, root, HASH)
    for old in {1, size, rng.randrange(1, size + 1)}:
        proof = ledger.consistency(old, size)
        verify_consistency(old, size, root_of(chain.leaves[:old], HASH), root, proof, HASH)


@pytest.mark.parametrize("name", ["leveldb", "sqlite"])
def test_a_flipped_bit_in_an_engine_s_files_is_never_answered_with(
    name: str, tmp_path: Path
) -> None:
    engine = load(Kind.ENGINE, name, lab=False)
    chain = Chain(engine.create(options(engine, {}), tmp_path / "healthy"))
    for count in (3, 200, 1, 40):
        chain.grow(count)
    chain.store.close()
    engine.create(options(engine, {}), tmp_path / "healthy").close()  # moves the log into tables
    files = [path for path in (tmp_path / "healthy").iterdir() if path.stat().st_size > 1_000]
    rng, refused = random.Random(3), 0
    for attempt in range(40):
        copy = tmp_path / f"copy{attempt}"
        shutil.copytree(tmp_path / "healthy", copy)
        file = copy / rng.choice(files).name
        raw = bytearray(file.read_bytes())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        file.write_bytes(raw)
        try:
            chain.store = engine.create(options(engine, {}), copy)
        except StorageError:
            refused += 1
            continue
        try:
            read_everything(chain)
            places = opened(chain.store)[0].find_many(chain.ids)
            # A lost key is no wrong value; it is for fsck to find.
            assert all(a in (None, b) for a, b in zip(places, healthy_places(chain), strict=True))
        except StorageError:
            refused += 1
        finally:
            chain.store.close()
    assert refused > 5


def healthy_places(chain: Chain) -> list[tuple[int, int]]:
    return [
        (height, position)
        for height, (before, size) in enumerate(pairwise([0, *chain.sizes]), 1)
        for position in range(size - before)
    ]
