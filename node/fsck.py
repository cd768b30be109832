"""Checks all that a node that is down has stored, by doing it again from genesis.

Every block is read with its checksums, its certificate is verified, its client signatures are
verified again, and it is executed into an empty store beside the node's. In the end the two stores
must hold the same bytes: nothing is lost, changed or added. Then the journal is read, from a copy,
and must not know of a height that the ledger lacks. The home is left as it was, except that an
engine may complete on opening what a crash had left.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from apps.interface import Application
from crypto.certificate import InvalidCertificate, verify_certificate
from crypto.encoding import Malformed
from crypto.genesis import Genesis, Mechanism, digest
from crypto.header import Header
from crypto.interface import (
    Hash,
    InvalidKey,
    NodeId,
    PublicKey,
    Signature,
    SignatureScheme,
    Statement,
)
from mechanisms.registry import Kind, create
from node.config import NodeConfig
from node.executor import Diverged, Executor
from node.home import Home
from node.payloads import InvalidPayload, Preparation
from node.signer import Signer
from node.validity import Validity, Verified
from storage.interface import Commitment, Corrupted, Store
from storage.journal import Journal
from storage.ledger import Ledger
from storage.state import State

UNCERTIFIED_MAX = 128
"""Certificates that may be missing at the end: they are not synced, and peers have them."""

_CERTIFICATES = b"c/"
_META = b"meta"
_REMEDY = "Keep a copy for study, then empty {data}: the node is filled again from its peers"

Progress = Callable[[int, int], None]
"""Called with the height that was checked, and the last one."""


class Damaged(Exception):
    """What is stored is not what it should be. The message says where first, and what to do."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a sound home."""

    height: int
    transactions: int
    certified: int
    """Certificates up to here; those above were not complete when the node ended."""
    state_root: str
    attested: int | None
    """The highest header that this validator ever signed; None for an observer."""
    journal_cut_bytes: int
    """Of a record that was being written when the node ended; it will be cut off."""


def check(home: Home, progress: Progress = lambda _height, _last: None) -> Checked:
    """Check a home. Raises `Damaged`, or `Locked`, `HomeError`, `ConfigError`, `StorageError`."""
    config, genesis = home.read()
    with tempfile.TemporaryDirectory(prefix="assay-fsck-", dir=home.path) as scratch:
        try:
            ledger = _check_ledger(home, config, genesis, Path(scratch), progress)
            attested, cut_bytes = _check_journal(home, config, genesis, Path(scratch), ledger)
        except (Corrupted, Diverged, InvalidPayload, InvalidCertificate, Malformed) as error:
            _damaged(home, str(error))
    root = ledger.header(ledger.height).state_root.hex() if ledger.height else ""
    return Checked(ledger.height, ledger.size, ledger.certified, root, attested, cut_bytes)


class _Replay:
    """A ledger in the making, from the blocks of another one."""

    def __init__(self, config: NodeConfig, genesis: Genesis, path: Path, hash_: Hash) -> None:
        lab = config.lab or genesis.lab
        self.commitment: Commitment = _make(Kind.COMMITMENT, genesis.commitment, lab, hash_)
        scheme: SignatureScheme = _make(Kind.SIGNATURE, genesis.client_signature, lab)
        self.applications: dict[str, Application] = {
            each.name: _make(Kind.APPLICATION, each, lab) for each in genesis.applications
        }
        self.store = _store(config, path, lab)
        self.ledger = Ledger.open(self.store, digest(genesis), hash_, self.commitment, sync=False)
        self.state = State(self.store, self.commitment)
        self._executor = Executor(genesis, self.ledger, self.state, self.applications, hash_)
        validity = Validity(genesis, digest(genesis), self.applications, scheme, hash_, Verified(1))
        self._preparation = Preparation(genesis, validity, hash_)

    def execute(self, header: Header, body: bytes) -> None:
        payloads = self._executor.bodies.decode(body).payloads
        prepared = [self._preparation.prepare(raw) for raw in payloads]
        self._executor.execute(header.height, prepared, expected=header)


def _check_ledger(
    home: Home, config: NodeConfig, genesis: Genesis, scratch: Path, progress: Progress
) -> Ledger:
    lab = config.lab or genesis.lab
    hash_: Hash = _make(Kind.HASH, genesis.hash, lab)
    commitment: Commitment = _make(Kind.COMMITMENT, genesis.commitment, lab, hash_)
    store = _store(config, home.data, lab)
    try:
        ledger = Ledger.open(store, digest(genesis), hash_, commitment)
        replay = _Replay(config, genesis, scratch / "data", hash_)
        try:
            certify = _Certifier(genesis, lab)
            for height in range(1, ledger.height + 1):
                block = ledger.block(height)
                certify.check(ledger, height)
                replay.execute(block.header, block.body)
                progress(height, ledger.height)
            _compare(home, store, replay.store)
            _compare_continuation(home, ledger, commitment, replay)
            if ledger.height:
                _invariants(home, replay)
        finally:
            replay.store.close()
        if ledger.certified < ledger.height - UNCERTIFIED_MAX:
            _damaged(home, f"the certificate of height {ledger.certified + 1} is missing")
        if ledger.height:
            ledger.header(ledger.height)  # kept for the report, after the store is closed
        return ledger
    finally:
        store.close()


class _Certifier:
    """Verifies certificates against the committee of the genesis."""

    def __init__(self, genesis: Genesis, lab: bool) -> None:
        self._scheme: SignatureScheme = _make(Kind.SIGNATURE, genesis.validator_signature, lab)
        self._genesis = digest(genesis)
        self._keys = [item.public_key for item in genesis.validators]
        self._quorum = genesis.quorum

    def check(self, ledger: Ledger, height: int) -> None:
        certificate = ledger.certificate(height)
        if certificate is None:
            if height <= ledger.certified:
                raise InvalidCertificate(f"the certificate of height {height} is missing")
            return
        if certificate.header != ledger.header_digest(height) or certificate.height != height:
            raise InvalidCertificate(f"the certificate of height {height} is for another header")
        try:
            verify_certificate(certificate, self._keys, self._quorum, self._genesis, self._scheme)
        except (InvalidCertificate, InvalidKey) as error:
            raise InvalidCertificate(f"the certificate of height {height}: {error}") from None


def _compare(home: Home, stored: Store, replayed: Store) -> None:
    """All keys and values but certificates, which cannot be computed, and what counts them."""
    theirs, ours = _pairs(stored), _pairs(replayed)
    while True:
        left, right = next(theirs, None), next(ours, None)
        if left == right:
            if left is None:
                return
            continue
        key = min(each[0] for each in (left, right) if each is not None)
        _damaged(home, f"the entry {key[:40]!r} is not what the blocks lead to")


def _compare_continuation(
    home: Home, ledger: Ledger, commitment: Commitment, replay: "_Replay"
) -> None:
    """What the next block is built on: it lies in the meta record, which is not compared."""
    found = (ledger.size, ledger.root, commitment.root)
    computed = (replay.ledger.size, replay.ledger.root, replay.commitment.root)
    if found != computed:
        _damaged(home, "the ledger tree or the state sum to continue from is not that of the state")


def _pairs(store: Store) -> Iterator[tuple[bytes, bytes]]:
    for key, value in store.scan(b""):
        if key != _META and not key.startswith(_CERTIFICATES):
            yield key, value


def _invariants(home: Home, replay: _Replay) -> None:
    for name, application in replay.applications.items():
        try:
            application.invariant(replay.state.for_application(name))
        except AssertionError as error:
            _damaged(home, f"the state of {name} breaks its invariant: {error}")


def _check_journal(
    home: Home, config: NodeConfig, genesis: Genesis, scratch: Path, ledger: Ledger
) -> tuple[int | None, int]:
    """The highest attested height, and the length of a torn end."""
    if config.role != "validator" or not home.journal.exists():
        return None, 0
    copy = scratch / "journal"
    shutil.copyfile(home.journal, copy)  # opening cuts off a torn end, and this only looks
    journal = Journal.open(copy, digest(genesis), sync=False)
    try:
        names = [item.name for item in genesis.validators]
        hash_: Hash = _make(Kind.HASH, genesis.hash, config.lab or genesis.lab)
        signer = Signer(
            NodeId(config.name),
            names.index(config.name),
            _NoKey(),
            journal,
            genesis.consensus.name,
            digest(genesis),
            hash_,
        )
        attested = signer.attested_height()
    finally:
        journal.close()
    if attested > ledger.height:
        _damaged(
            home,
            f"{home.data} ends at height {ledger.height}, and this validator signed the header of "
            f"height {attested}: blocks were lost",
        )
    return attested, journal.cut_bytes


class _NoKey:
    """Where a signer is only asked what it remembers."""

    public_key = PublicKey(b"")

    def sign(self, statement: Statement) -> Signature:
        raise AssertionError(f"nothing is signed here ({len(statement)} bytes)")


def _store(config: NodeConfig, path: Path, lab: bool) -> Store:
    engine = Mechanism(name=config.storage.engine, options=dict(config.storage.options))
    path.mkdir(exist_ok=True)
    made: Store = create(
        Kind.ENGINE, engine.name, engine.options, path, lab=lab, allow=config.allowed
    )
    return made


def _make(kind: Kind, chosen: Mechanism, lab: bool, *parts: object) -> Any:  # noqa: ANN401 - each kind makes its own
    return create(kind, chosen.name, chosen.options, *parts, lab=lab)


def _damaged(home: Home, text: str) -> NoReturn:
    raise Damaged(f"{text}. {_REMEDY.format(data=home.data)}")
