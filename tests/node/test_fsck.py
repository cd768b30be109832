import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from apps import kv, payments
from crypto.certificate import Certificate, Vote
from crypto.encoding import encode
from crypto.genesis import Genesis, digest, from_json
from crypto.hashes import sha256
from crypto.header import attestation_statement
from crypto.interface import NodeId, Signature
from crypto.signatures import ed25519
from crypto.transaction import SignedTransaction, signed_transactions
from node.executor import Executor
from node.fsck import UNCERTIFIED_MAX, Checked, Damaged, check
from node.home import Home
from node.payloads import Payload, Preparation
from node.signer import Attest, Signer
from node.validity import Validity, Verified
from storage.checksum import with_checksum
from storage.commitments import flat
from storage.engines import leveldb
from storage.interface import Locked, StorageError, Store
from storage.journal import Journal
from storage.ledger import Ledger
from storage.state import State
from testnet.keyring import open_signing_key
from testnet.network import Testnet

BLOCKS, PER_BLOCK = 5, 3
HASH = sha256.create(sha256.Options())
SCHEME = ed25519.create(ed25519.Options())
APPS = {"kv": kv.create(kv.Options()), "payments": payments.create(payments.Options())}


@dataclass(frozen=True, slots=True)
class Written:
    """A home whose ledger was written without a node."""

    network: Testnet
    home: Home
    genesis: Genesis

    def change(self, change: Callable[[Store], None]) -> None:
        store = leveldb.create(leveldb.Options(), self.home.data)
        change(store)
        store.close()

    def append(self, count: int, *, certify: bool = True) -> None:
        """More blocks, as the executor makes them."""
        store = leveldb.create(leveldb.Options(), self.home.data)
        commitment = flat.create(flat.Options(), HASH)
        ledger = Ledger.open(store, digest(self.genesis), HASH, commitment)
        executor = Executor(self.genesis, ledger, State(store, commitment), APPS, HASH)
        network = digest(self.genesis)
        validity = Validity(self.genesis, network, APPS, SCHEME, HASH, Verified(100))
        preparation = Preparation(self.genesis, validity, HASH)
        key = open_signing_key(self.home.validator_key, self.genesis.validator_signature)
        for height in range(ledger.height + 1, ledger.height + 1 + count):
            raw = encode(Payload(height, self._transactions(height)))
            block = executor.execute(height, [preparation.prepare(raw)])
            vote = Vote(0, key.sign(attestation_statement(block.digest, network)))
            if certify:
                ledger.put_certificate(Certificate(height, block.digest, (vote,)))
        store.close()

    def attest(self, height: int) -> None:
        """Let the validator's journal say that it signed the header of `height`."""
        journal = Journal.open(self.home.journal, digest(self.genesis))
        key = open_signing_key(self.home.validator_key, self.genesis.validator_signature)
        network = digest(self.genesis)
        signer = Signer(NodeId("v1"), 0, key, journal, "pbft", network, HASH)
        signer.carry_out([Attest(height, HASH.digest(b"header"))])
        journal.write(signer._pending)  # it would ride on the next vote
        journal.close()

    def _transactions(self, height: int) -> tuple[bytes, ...]:
        wallet = self.network.wallet()
        return tuple(
            wallet.sign("kv.set", f"key-{height}-{item}", "value", expiry=1000, nonce=item).raw
            for item in range(PER_BLOCK)
        )


def opened(directory: Path) -> Written:
    network = Testnet(directory)
    genesis = from_json(network.genesis_file.read_bytes())
    return Written(network, Home(network.home("v1")), genesis)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template") / "net"
    Testnet.create(directory, 1)
    opened(directory).append(BLOCKS)
    return directory


@pytest.fixture
def written(template: Path, tmp_path: Path) -> Written:
    """A fresh copy for each test."""
    shutil.copytree(template, tmp_path / "net")
    return opened(tmp_path / "net")


def key(prefix: bytes, height: int) -> bytes:
    return prefix + height.to_bytes(8, "big")


def test_a_sound_home_is_clean_and_left_as_it_was(written: Written) -> None:
    seen: list[tuple[int, int]] = []
    before = sorted(path.name for path in written.home.path.iterdir())
    found = check(written.home, lambda height, last: seen.append((height, last)))
    assert isinstance(found, Checked)
    assert (found.height, found.certified) == (BLOCKS, BLOCKS)
    assert found.transactions == BLOCKS * PER_BLOCK
    assert len(found.state_root) == 64
    assert seen == [(height, BLOCKS) for height in range(1, BLOCKS + 1)]
    assert sorted(path.name for path in written.home.path.iterdir()) == before
    assert check(written.home) == found


def test_an_empty_home_is_clean(tmp_path: Path) -> None:
    network = Testnet.create(tmp_path / "net", 1)
    assert check(Home(network.home("v1"))).height == 0


@pytest.mark.parametrize(
    "place",
    [b"h/", b"b/", b"r/"],
    ids=["header", "body", "receipts"],
)
@pytest.mark.parametrize("height", [1, 3, BLOCKS])
def test_a_flipped_bit_in_a_block_is_found(written: Written, place: bytes, height: int) -> None:
    def flip(store: Store) -> None:
        value = bytearray(store.get(key(place, height)) or b"")
        value[-1] ^= 1
        store.write({key(place, height): bytes(value)})

    written.change(flip)
    with pytest.raises(Damaged, match=r"empty .*data"):
        check(written.home)


@pytest.mark.parametrize("place", [b"s/", b"i/", b"t/"], ids=["state", "index", "tile"])
def test_a_flipped_bit_in_what_follows_from_blocks_is_found(written: Written, place: bytes) -> None:
    def flip(store: Store) -> None:
        found, value = next(iter(store.scan(place)))
        changed = bytearray(value)
        changed[len(changed) // 2] ^= 1
        store.write({found: bytes(changed)})

    written.change(flip)
    with pytest.raises(Damaged):
        check(written.home)


@pytest.mark.parametrize("place", [b"h/", b"b/", b"r/", b"s/", b"i/", b"t/"])
def test_whatever_is_missing_is_missed(written: Written, place: bytes) -> None:
    written.change(lambda store: store.write({next(iter(store.scan(place)))[0]: None}))
    with pytest.raises(Damaged):
        check(written.home)


def test_an_entry_that_no_block_wrote_is_found(written: Written) -> None:
    written.change(lambda store: store.write({b"s/kv/smuggled": b"in"}))
    with pytest.raises(Damaged, match="smuggled"):
        check(written.home)


def test_a_certificate_that_proves_nothing_is_found(written: Written) -> None:
    def forge(store: Store) -> None:
        block = store.get(key(b"h/", 2)) or b""
        vote = Vote(
            0,
            SCHEME.key_from_seed(bytes(32)).sign(
                attestation_statement(HASH.digest(block), digest(written.genesis))
            ),
        )
        forged = Certificate(2, HASH.digest(block), (vote,))
        store.write({key(b"c/", 2): with_checksum(encode(forged))})

    written.change(forge)
    with pytest.raises(Damaged, match="certificate of height 2"):
        check(written.home)


@pytest.mark.parametrize("height", [1, 3])
def test_a_missing_certificate_below_others_is_found(written: Written, height: int) -> None:
    written.change(lambda store: store.write({key(b"c/", height): None}))
    with pytest.raises(Damaged, match=f"certificate of height {height} is missing"):
        check(written.home)


@pytest.mark.parametrize("what", ["state sum", "ledger tree"])
def test_a_meta_record_that_would_continue_from_elsewhere_is_found(
    written: Written, what: str
) -> None:
    """With a right checksum: a fault in the program, not in the disk."""

    def change(store: Store) -> None:
        commitment = flat.create(flat.Options(), HASH)
        ledger = Ledger.open(store, digest(written.genesis), HASH, commitment)
        if what == "state sum":
            commitment.update({b"kv/more": (None, b"than there is")})
        else:
            ledger._frontier.extend([HASH.digest(b"one more")])
        store.write({b"meta": with_checksum(ledger._meta())})

    written.change(change)
    with pytest.raises(Damaged):
        check(written.home)


def test_missing_certificates_at_the_end_are_no_damage(written: Written) -> None:
    written.append(2, certify=False)
    found = check(written.home)
    assert (found.height, found.certified) == (BLOCKS + 2, BLOCKS)


def test_a_certificate_missing_far_below_the_end_is_damage(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert UNCERTIFIED_MAX > BLOCKS
    monkeypatch.setattr("node.fsck.UNCERTIFIED_MAX", 1)
    written.append(2, certify=False)
    with pytest.raises(Damaged, match=f"height {BLOCKS + 1} is missing"):
        check(written.home)


def test_a_block_whose_transaction_nobody_signed_is_found(written: Written) -> None:
    """Consistent in all its digests, but the client's signature is wrong."""
    honest = written._transactions(BLOCKS + 1)[0]
    signed = signed_transactions.decode(honest)
    forged = encode(SignedTransaction(signed.transaction, Signature(bytes(64))))
    store = leveldb.create(leveldb.Options(), written.home.data)
    commitment = flat.create(flat.Options(), HASH)
    ledger = Ledger.open(store, digest(written.genesis), HASH, commitment)
    executor = Executor(written.genesis, ledger, State(store, commitment), APPS, HASH)
    validity = Validity(written.genesis, digest(written.genesis), APPS, SCHEME, HASH, Verified(9))
    preparation = Preparation(written.genesis, validity, HASH)
    raw = encode(Payload(1, (forged,)))
    executor.execute(BLOCKS + 1, [preparation.trusted(raw)])  # as a node that does not verify
    store.close()
    with pytest.raises(Damaged, match="invalid"):
        check(written.home)


def test_a_ledger_older_than_the_journal_is_found(written: Written) -> None:
    written.attest(BLOCKS)
    assert check(written.home).attested == BLOCKS
    written.attest(BLOCKS + 1)
    with pytest.raises(Damaged, match="blocks were lost"):
        check(written.home)


def test_a_damaged_journal_is_found_and_a_torn_end_is_told(written: Written) -> None:
    written.attest(1)
    written.attest(2)
    whole = written.home.journal.read_bytes()
    written.home.journal.write_bytes(whole[:-3])
    assert check(written.home).journal_cut_bytes > 0
    assert written.home.journal.read_bytes() == whole[:-3]
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 1
    written.home.journal.write_bytes(bytes(damaged))
    with pytest.raises(Damaged):
        check(written.home)


def test_a_node_that_runs_cannot_be_checked(written: Written) -> None:
    store = leveldb.create(leveldb.Options(), written.home.data)
    with pytest.raises(Locked):
        check(written.home)
    store.close()
    check(written.home)


def test_the_data_of_another_network_is_refused_and_not_called_damaged(
    written: Written, tmp_path: Path
) -> None:
    other = Testnet.create(tmp_path / "other", 1)
    written.home.genesis.write_bytes(other.genesis_file.read_bytes())
    with pytest.raises(StorageError, match="another network"):
        check(written.home)


def test_checking_an_observer_needs_no_journal(written: Written) -> None:
    config = written.home.config.read_text().replace('role = "validator"', 'role = "observer"')
    written.home.config.write_text(config)
    assert check(written.home).attested is None
