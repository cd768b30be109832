"""From a home directory to a running node: every part is made here, once, in this order.

Reads top to bottom. Nothing here decides anything at run time.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.interface import Application
from consensus.interface import Committee, ConsensusProtocol, Leader, Setup, Signed
from crypto.encoding import Codec
from crypto.genesis import Genesis, Mechanism, digest
from crypto.interface import Digest, Hash, NodeId, PublicKey, SignatureScheme, SigningKey
from crypto.keys import KeyStore
from crypto.keys import parse as parse_key
from mechanisms.registry import Kind, load, options
from node import keyfiles
from node.answers import Answers
from node.attestations import Attestations
from node.chain import Chain
from node.config import ConfigError, NodeConfig, address
from node.events import EventStream
from node.executor import Executor
from node.home import Home, HomeError
from node.host import Host
from node.ingress import Ingress
from node.logs import Log
from node.mempool import Mempool, MempoolLimits
from node.metrics import Metrics
from node.node import CONSENSUS_BYTES_MAX, Agreed, Node, Pace
from node.payloads import Payloads, Preparation
from node.proposals import Proposals
from node.reads import Reads
from node.recorder import Recorder
from node.signer import Signer
from node.surroundings import Surroundings
from node.sync import Committee as Certifiers
from node.sync import Sync
from node.validity import Validity, Verified
from node.verifier import ClaimsOf, Verifier
from node.workers import ThreadWorkers, Workers
from p2p.framing import prologue
from p2p.interface import ChannelKey, Channels, Network, Role
from p2p.limits import Limits
from p2p.membership import StaticMembership
from p2p.transports.tcp import Address, Place, Remote
from storage.absences import Absences
from storage.interface import Commitment, Store
from storage.journal import Journal
from storage.ledger import TRANSACTIONS, Ledger
from storage.state import STATE, State

STRANGER = "bad_ciphertext"
"""How a handshake with a peer of another genesis, or with other keys, ends."""

VERIFIED_BEYOND_MEMPOOL = 4_096
"""Verified transactions remembered beyond what the mempool holds."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """What `node.run` starts and, as a context, closes."""

    node: Node[Any]
    answers: Answers
    metrics: Metrics
    events: EventStream
    workers: Workers
    store: Store
    signer: Signer | None
    recorder: Recorder | None

    def __enter__(self) -> "Assembled":
        return self

    def __exit__(self, *_: object) -> None:
        self.workers.close()
        if self.signer is not None:
            self.signer.close()
        if self.recorder is not None:
            self.recorder.close()
        self.store.close()


def assemble(  # noqa: PLR0915 - one list of parts, read from top to bottom
    home: Home,
    config: NodeConfig,
    genesis: Genesis,
    log: Log,
    surroundings: Surroundings | None = None,
) -> Assembled:
    """Everything but the API. Raises named errors for whatever an operator can mend.

    Without `surroundings` they are those of this machine.
    """
    around = surroundings or MACHINE
    me = NodeId(config.name)
    role = Role(config.role)
    lab = config.lab or genesis.lab
    genesis_digest = digest(genesis)
    names = tuple(NodeId(validator.name) for validator in genesis.validators)
    if (role is Role.VALIDATOR) != (me in names):
        raise ConfigError(
            f"{home.config}: {me} is a {role} here, and the validators of the genesis file are "
            f"{', '.join(names)}; change name or role"
        )
    keys = {NodeId(item.name): item.public_key for item in genesis.validators}

    # The mechanisms that the genesis and the node file name.
    make = _Maker(lab=lab, allow=config.allowed)
    hash_: Hash = make(Kind.HASH, genesis.hash)
    scheme: SignatureScheme = make(Kind.SIGNATURE, genesis.validator_signature)
    client_scheme: SignatureScheme = make(Kind.SIGNATURE, genesis.client_signature)
    commitment: Commitment = make(Kind.COMMITMENT, genesis.commitment, hash_)
    leader: Leader = make(Kind.LEADER, genesis.leader)
    applications: dict[str, Application] = {
        choice.name: make(Kind.APPLICATION, choice) for choice in genesis.applications
    }
    protocol = load(Kind.CONSENSUS, genesis.consensus.name, lab=lab, allow=config.allowed)
    if protocol.claims.fault_model is not genesis.fault_model:
        raise ConfigError(
            f"{home.genesis}: fault_model is {genesis.fault_model}, but {genesis.consensus.name} "
            f"bears {protocol.claims.fault_model} faults; make the genesis file again with that"
        )

    # Storage, and what executes on it.
    store = Absences(around.store(home, config, genesis), (TRANSACTIONS, STATE))
    metrics = Metrics()
    ledger = Ledger.open(
        store,
        genesis_digest,
        hash_,
        commitment,
        sync=config.storage.sync,
        wrote=metrics.fsync,
    )
    state = State(store, commitment)
    executor = Executor(genesis, ledger, state, applications, hash_)
    workers = around.workers(config)
    events = EventStream()

    # The validator's key and journal; an observer has neither.
    signer = None
    if role is Role.VALIDATOR:
        journal = Journal.open(
            home.journal, genesis_digest, sync=config.storage.sync, wrote=metrics.fsync
        )
        key = _key(home, config, scheme, keys[me])
        signer = Signer(
            me, names.index(me), key, journal, genesis.consensus.name, genesis_digest, hash_
        )
        # An empty ledger is what the message asks for: it is filled from the peers.
        if 0 < ledger.height < signer.attested_height():
            raise HomeError(
                f"{home.data} is older than {home.journal}: height {ledger.height}, but "
                f"{signer.attested_height()} was attested. It was restored from a copy, or "
                f"blocks were lost. Empty {home.data}; the node then catches up from its peers"
            )

    # The network.
    network = around.network(home, config, genesis, genesis_digest, log)

    # What transactions and payloads go through.
    node: Node[Any] = Node(
        me,
        Agreed(genesis_digest, Committee(0, names, genesis.fault_model), keys),
        Pace(config.batch.forward_ms, config.batch.overdue_ms),
        network,
        workers,
        metrics,
        log,
        around.monotonic_ms,
    )
    mempool = Mempool(
        MempoolLimits(
            config.mempool.count_max, config.mempool.bytes_max, config.mempool.sender_count_max
        )
    )
    verified = Verified(config.mempool.count_max + VERIFIED_BEYOND_MEMPOOL)
    validity = Validity(
        genesis, genesis_digest, applications, client_scheme, hash_, verified, metrics.verified
    )
    preparation = Preparation(genesis, validity, hash_)
    payloads = Payloads()
    chain = Chain(executor, ledger, workers, events, node.committed)
    ingress = Ingress(
        genesis,
        validity,
        mempool,
        ledger,
        workers,
        height=lambda: chain.executed,
        now_ms=around.monotonic_ms,
        admitted=node.admitted,
        spread=node.spread,
        refused=metrics.refused,
    )
    proposals = Proposals(
        genesis,
        mempool,
        payloads,
        preparation,
        workers,
        executed=ledger.height,
        batch_delay_ms=config.batch.delay_ms,
        now_ms=around.wall_ms,
        ready=node.ready,
        checked=node.checked,
        ask=node.ask_payload,
    )

    # Consensus and its host.
    host = None
    if signer is not None:
        for keep in signer.payloads():
            if keep.height > ledger.height:
                payloads.add(keep.height, preparation.prepare(keep.payload))
        machine: ConsensusProtocol[Any] = protocol.create(
            Setup(me, node.agreed.voters, leader, hash_),
            options(protocol, genesis.consensus.options),
        )
        host = Host(machine, me, signer, chain, payloads, proposals, workers, node)

    # What is verified, certified and caught up.
    verifier = Verifier(
        scheme, workers, network.pause_reading, network.resume_reading, metrics.verified
    )
    attestations = Attestations(
        node.agreed.voters, completed=node.certificate_completed, astray=node.astray
    )
    certifiers = Certifiers(
        tuple(keys[name] for name in names),
        node.agreed.voters.quorum,
        genesis_digest,
        scheme,
        hash_,
    )
    sync = Sync(
        chain,
        executor,
        preparation,
        certifiers,
        workers,
        node,
        follows_only=host is None,
        now_s=lambda: around.monotonic_ms() / 1000,
    )
    recorder = Recorder(home.path / config.record) if config.record else None
    node.connect(
        chain=chain,
        ledger=ledger,
        mempool=mempool,
        ingress=ingress,
        proposals=proposals,
        attestations=attestations,
        verifier=verifier,
        sync=sync,
        host=host,
        signer=signer,
        messages=Codec(
            Signed[protocol.module.Message],  # type: ignore[name-defined]  # known at run time
            bytes_max=CONSENSUS_BYTES_MAX,
        ),
        claims=ClaimsOf(genesis.consensus.name, genesis_digest, keys),
        recorder=recorder,
    )
    reads = Reads(ledger, state, executor, preparation, applications)
    answers = Answers(node, genesis, role, reads, network, workers, events)
    return Assembled(node, answers, metrics, events, workers, store, signer, recorder)


class _Maker:
    """Makes a mechanism from its name and options: `make(kind, choice, further arguments)`."""

    def __init__(self, *, lab: bool, allow: Sequence[str]) -> None:
        self._lab = lab
        self._allow = allow

    def __call__(self, kind: Kind, choice: Mechanism, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - each kind makes its own
        mechanism = load(kind, choice.name, lab=self._lab, allow=self._allow)
        return mechanism.create(options(mechanism, choice.options), *arguments, **named)


def _key(
    home: Home, config: NodeConfig, scheme: SignatureScheme, expected: PublicKey
) -> SigningKey:
    """The validator's signing key, which must be the one that the genesis file names."""
    key = scheme.key_from_seed(_secret(home.validator_key, config))
    if key.public_key != expected:
        raise HomeError(
            f"{home.validator_key} is not the key that the genesis file names for {config.name}; "
            "put the right key file there"
        )
    return key


def _secret(path: Path, config: NodeConfig) -> bytes:
    file = parse_key(keyfiles.read_private(path))
    password = b""
    if config.keys.password_file:
        password = keyfiles.read_private(Path(config.keys.password_file)).rstrip(b"\n")
    mechanism = load(Kind.KEY_STORE, file.store, lab=config.lab)
    key_store: KeyStore = mechanism.create(options(mechanism, {}), password, os.urandom)
    return key_store.open(file.sealed, file.public_key).seed


def _network(
    home: Home, config: NodeConfig, genesis: Genesis, genesis_digest: Digest, log: Log
) -> Network:
    make = _Maker(lab=config.lab or genesis.lab, allow=config.allowed)
    channels: Channels = make(
        Kind.CHANNEL,
        genesis.channel,
        private_key=_secret(home.channel_key, config),
        prologue=prologue(genesis_digest),
        entropy=os.urandom,
    )
    remotes = tuple(
        Remote(
            NodeId(item.name),
            ChannelKey(item.channel_key),
            Address(*address(config.peers.addresses[item.name], f"peers.addresses.{item.name}")),
        )
        for item in genesis.validators
        if item.name != config.name and item.name in config.peers.addresses
    )
    transport = Mechanism(name=config.peers.transport)
    network: Network = make(
        Kind.TRANSPORT,
        transport,
        channels=channels,
        membership=membership(config, genesis),
        place=Place(Address(*address(config.listen.peer, "listen.peer")), remotes),
        limits=Limits(**config.peers.options),
        jitter=random.Random().random,  # noqa: S311 - spreads reconnects, protects nothing
        report=_reporter(log),
    )
    return network


def membership(config: NodeConfig, genesis: Genesis) -> StaticMembership:
    """Whom this node talks to."""
    return StaticMembership(
        {NodeId(item.name): ChannelKey(item.channel_key) for item in genesis.validators},
        {
            NodeId(name): ChannelKey(bytes.fromhex(key))
            for name, key in config.peers.observers.items()
        },
        open_observers=config.peers.observers_open,
    )


def _store(home: Home, config: NodeConfig, genesis: Genesis) -> Store:
    engine = Mechanism(name=config.storage.engine, options=dict(config.storage.options))
    store: Store = _Maker(lab=config.lab or genesis.lab, allow=config.allowed)(
        Kind.ENGINE, engine, home.data
    )
    return store


def _reporter(log: Log) -> Callable[..., None]:
    """What the network reports, in the log; what an operator has to mend, once per peer aloud."""
    told: set[object] = set()

    def report(event: str, **fields: object) -> None:
        log.debug(f"network_{event}", **fields)
        peer = fields.get("peer")
        if event == "connected":
            told.discard(peer)
        elif fields.get("reason") == STRANGER and peer not in told:
            told.add(peer)
            log.warning(
                "peer_is_of_another_network",
                **fields,
                hint="its genesis file or its keys are not those that this node knows; compare "
                "`assay node show` on both",
            )

    return report


MACHINE = Surroundings(
    workers=lambda config: ThreadWorkers(config.client_threads),
    network=_network,
    store=_store,
    monotonic_ms=lambda: time.monotonic() * 1000,
    wall_ms=lambda: time.time_ns() // 1_000_000,
)
"""The real ones."""
