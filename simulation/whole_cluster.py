"""Whole nodes on one thread in virtual time: host, mempool, executor, ledger, journal and sync.

Everything that `node.wiring` assembles is the real code with real signatures, but for its
`Surroundings`: the clock is virtual, work that threads do is done inline after a drawn delay, links
are those of `p2p.transports.memory`, and the store is a `SimulatedDisk` that forgets what was not
synced when the power fails. Journals are real files. One seed decides everything.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from crypto.encoding import encode
from crypto.genesis import Genesis, Mechanism, Validator, digest
from crypto.interface import Digest, Hash, NodeId, SignatureScheme, SigningKey
from crypto.keys import KeyFile, Secret, render
from crypto.transaction import (
    SignedTransaction,
    Transaction,
    transaction_id,
    transaction_statement,
)
from mechanisms.registry import Kind, create, load
from node.config import NodeConfig
from node.config import Storage as StorageSection
from node.home import Home, write_files
from node.keyfiles import write_private
from node.logs import Log
from node.service import Outcome
from node.surroundings import Surroundings
from node.wiring import Assembled, assemble, membership
from node.workers import Lane
from p2p.interface import ChannelKey, Network
from p2p.limits import Limits
from p2p.transports.memory import MemoryHub, MemoryNetwork
from simulation.simulated_disk import SimulatedDisk
from simulation.virtual_loop import VirtualLoop
from storage.interface import Store
from storage.journal import Journal

P = ParamSpec("P")
T = TypeVar("T")

LANE_MS: Mapping[Lane, tuple[float, float]] = {
    Lane.LEDGER: (0.5, 4.0),
    Lane.JOURNAL: (0.3, 2.0),
    Lane.VOTES: (0.1, 0.5),
    Lane.PAYLOADS: (0.1, 1.0),
    Lane.CLIENTS: (0.1, 1.0),
}
"""How long a job in each lane takes: drawn between these, in virtual milliseconds."""

WALL_MS = 1_700_000_000_000
"""Wall clock at loop time 0."""

LIFETIME_HEIGHTS = 10_000
"""Expiry of the transactions that are submitted, above the submitting node's height."""


class Fault(Exception):
    """A node ended by itself: what it raised is the cause."""


class _InlineWorkers:
    """One job at a time in each lane, done at the end of its delay."""

    def __init__(self, rng: random.Random, slowness: Callable[[], float]) -> None:
        self._rng = rng
        self._slowness = slowness
        self._locks = {lane: asyncio.Lock() for lane in Lane}
        self.begun: dict[Lane, Callable[[], object]] = {}
        """Jobs that a crash would catch in the middle."""

    def run(
        self, lane: Lane, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        return asyncio.ensure_future(self._run(lane, lambda: work(*args, **kwargs)))

    async def _run(self, lane: Lane, work: Callable[[], T]) -> T:
        async with self._locks[lane]:
            self.begun[lane] = work
            await asyncio.sleep(self._rng.uniform(*LANE_MS[lane]) * self._slowness() / 1000)
            del self.begun[lane]
            return work()

    def close(self) -> None:
        """No threads to end."""


@dataclass(eq=False)
class Member:
    """One validator: what is durable, and what dies with the process."""

    name: NodeId
    home: Home
    channel_key: ChannelKey
    config: NodeConfig
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    slowness: float = 1.0
    """How many times slower than usual its lanes are."""
    clock_ms: float = 0.0
    """How far its wall clock is off."""
    assembled: Assembled | None = None
    workers: _InlineWorkers | None = None
    task: "asyncio.Task[None] | None" = None
    clients: "set[asyncio.Task[None]]" = field(default_factory=set)
    """Those that wait for an answer; their connections end with the node."""

    @property
    def height(self) -> int:
        """The highest executed block; 0 while it is down."""
        return self.assembled.node.chain.executed if self.assembled else 0


class WholeCluster:
    """`nodes` validators v1, v2, ... in `folder`, which has to be empty. A context."""

    def __init__(
        self,
        folder: Path,
        *,
        log: Log,
        nodes: int = 4,
        seed: int = 0,
        protocol: str = "pbft",
        leader: str = "sticky",
        options: Mapping[str, Any] | None = None,
        delay_ms: tuple[float, float] = (0.2, 2.0),
        sync: bool = True,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation has to be repeatable
        self.loop = VirtualLoop()
        self.delay_ms = delay_ms
        self.held: set[tuple[ChannelKey, ChannelKey]] = set()
        """Directions in which nothing arrives for now."""
        self.hub = MemoryHub(self._delay_s)
        self.acknowledged: dict[Digest, Outcome] = {}
        self._log = log
        self._nonce = 0
        scheme: SignatureScheme = create(Kind.SIGNATURE, "ed25519", {}, lab=False)
        self._hash: Hash = create(Kind.HASH, "sha256", {}, lab=False)
        self._client: SigningKey = scheme.key_from_seed(self.random.randbytes(scheme.seed_bytes))
        names = [NodeId(f"v{number}") for number in range(1, nodes + 1)]
        seeds = [(self.random.randbytes(32), self.random.randbytes(32)) for _ in names]
        channel = load(Kind.CHANNEL, "noise_xx", lab=False).module
        channel_keys = [bytes(channel.public_key(secret)) for _, secret in seeds]
        keys = [scheme.key_from_seed(secret) for secret, _ in seeds]
        self.genesis = Genesis(
            chain="simulated",
            created_ms=WALL_MS,
            lab=True,
            validators=tuple(
                Validator(name=name, public_key=key.public_key, channel_key=channel_key)
                for name, key, channel_key in zip(names, keys, channel_keys, strict=True)
            ),
            clients=(self._client.public_key,),
            consensus=Mechanism(name=protocol, options=dict(options or {})),
            fault_model=load(Kind.CONSENSUS, protocol, lab=True).claims.fault_model,
            leader=Mechanism(name=leader, options={}),
        )
        self._digest = digest(self.genesis)
        self.members: dict[NodeId, Member] = {}
        for name, key, channel_key, secrets in zip(names, keys, channel_keys, seeds, strict=True):
            config = NodeConfig(name=name, lab=True, storage=StorageSection(sync=sync))
            member = Member(name, Home(folder / name), ChannelKey(channel_key), config)
            write_files(member.home, config, self.genesis)
            _write_key(member.home.validator_key, "validator", key.public_key, secrets[0])
            _write_key(member.home.channel_key, "channel", channel_key, secrets[1])
            Journal.open(member.home.journal, self._digest, sync=False).close()
            self.members[name] = member

    def __enter__(self) -> "WholeCluster":
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.members:
            self.crash(name)
        self.loop.close()

    def __getitem__(self, name: str) -> Member:
        return self.members[NodeId(name)]

    # --- Time. ---

    def run(self, milliseconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let virtual time pass; True as soon as `until` holds. Raises `Fault`."""

        async def watch() -> bool:
            end = self.loop.time() + milliseconds / 1000
            while not until():
                if self.loop.time() >= end:
                    return until()
                await asyncio.sleep(0.01)
                self._look_for_faults()
            return True

        return self.loop.run_until_complete(watch())

    def _look_for_faults(self) -> None:
        for member in self.members.values():
            if member.task is not None and member.task.done():
                error = member.task.exception()
                raise Fault(f"{member.name} ended at {self.loop.time():.3f} s") from error

    # --- What happens to nodes. ---

    def start(self, *names: str) -> None:
        """Start these nodes; without names, all that are down."""
        down = [name for name, member in self.members.items() if member.assembled is None]

        async def begin() -> None:
            for name in names or down:
                member = self[name]
                assert member.assembled is None, f"{name} runs already"
                _, genesis = member.home.read()
                member.assembled = assemble(
                    member.home, member.config, genesis, self._log, self._surroundings(member)
                )
                member.task = self.loop.create_task(member.assembled.node.run())

        self.loop.run_until_complete(begin())

    def crash(self, *names: str, power: bool = False) -> None:
        """As by SIGKILL; with `power`, what was not synced is lost and a write may be torn."""

        async def end() -> None:
            for name in names:
                member = self[name]
                if member.assembled is None or member.task is None or member.workers is None:
                    continue
                writing = member.workers.begun.get(Lane.JOURNAL)
                ending = [member.task, *member.clients]
                for task in ending:
                    task.cancel()
                await asyncio.gather(*ending, return_exceptions=True)
                if power:
                    self._tear(member, writing)
                    member.disk.lose_power()
                member.assembled.__exit__()
                member.assembled = member.task = member.workers = None

        self.loop.run_until_complete(end())

    def _tear(self, member: Member, writing: Callable[[], object] | None) -> None:
        """Leave any part of what was being written to the journal."""
        if writing is None:
            return
        path = member.home.journal
        before = path.stat().st_size
        writing()
        after = path.stat().st_size
        if after > before:  # otherwise it was rewritten, which is atomic
            with path.open("r+b") as file:
                file.truncate(self.random.randint(before, after))

    def cut(self, one: str, other: str) -> None:
        """End the link, as a connection that is reset, until `mend`."""
        self.hub.cut(self[one].channel_key, self[other].channel_key)

    def mend(self, one: str, other: str) -> None:
        self.hub.mend(self[one].channel_key, self[other].channel_key)

    def hold(self, sender: str, receiver: str) -> None:
        """Nothing arrives in this direction until `release`, and nothing is lost."""
        self.held.add((self[sender].channel_key, self[receiver].channel_key))

    def release(self) -> None:
        self.held.clear()
        self.hub.release()

    # --- Clients. ---

    def submit(self, count: int, to: str, *, wait_ms: int = 60_000) -> None:
        """New transactions for one node; what it says is committed goes to `acknowledged`."""
        member = self[to]
        assert member.assembled is not None
        answers = member.assembled.answers
        raws, ids = [], []
        for _ in range(count):
            raw, identity = self._transaction(member.height)
            raws.append(raw)
            ids.append(identity)

        async def follow() -> None:
            await answers.submit(raws)
            for outcome in await answers.wait_committed(ids, wait_ms):
                if outcome is not None:
                    self.acknowledged[outcome.id] = outcome

        task = self.loop.create_task(follow())
        member.clients.add(task)
        task.add_done_callback(member.clients.discard)

    def _transaction(self, height: int) -> tuple[bytes, Digest]:
        self._nonce += 1
        transaction = Transaction(
            chain=self.genesis.chain,
            sender=self._client.public_key,
            nonce=self._nonce,
            expiry=height + LIFETIME_HEIGHTS,
            method="kv.set",
            arguments=(f"key {self.random.randrange(50)}", f"value {self._nonce}"),
        )
        identity = transaction_id(transaction, self._hash)
        signature = self._client.sign(transaction_statement(identity, self._digest))
        return encode(SignedTransaction(transaction, signature)), identity

    # --- What must hold. ---

    def running(self) -> Sequence[Member]:
        return [member for member in self.members.values() if member.assembled is not None]

    def check(self) -> None:
        """Equal headers at each height, and every acknowledged transaction where it was said."""
        headers: dict[int, tuple[Digest, NodeId]] = {}
        for member in self.running():
            assert member.assembled is not None
            ledger = member.assembled.node.ledger
            for height in range(1, ledger.height + 1):
                found = ledger.header_digest(height)
                first, whose = headers.setdefault(height, (found, member.name))
                assert first == found, f"fork at {height}: {whose} and {member.name}"
            for identity, outcome in self.acknowledged.items():
                if outcome.height <= ledger.height:
                    place = ledger.find(identity)
                    assert place == (outcome.height, outcome.position), f"{member.name}: {outcome}"

    # --- Surroundings. ---

    def _surroundings(self, member: Member) -> Surroundings:
        workers = _InlineWorkers(
            random.Random(self.random.random()),  # noqa: S311 - as above
            lambda: member.slowness,
        )
        member.workers = workers

        def network(
            _home: Home, config: NodeConfig, genesis: Genesis, _digest: Digest, _log: Log
        ) -> Network:
            known = membership(config, genesis)
            return MemoryNetwork(self.hub, member.channel_key, known, Limits())

        def store(_home: Home, _config: NodeConfig, _genesis: Genesis) -> Store:
            return member.disk.open()

        return Surroundings(
            workers=lambda _config: workers,
            network=network,
            store=store,
            monotonic_ms=lambda: self.loop.time() * 1000,
            wall_ms=lambda: int(WALL_MS + self.loop.time() * 1000 + member.clock_ms),
        )

    def _delay_s(self, sender: ChannelKey, receiver: ChannelKey) -> float | None:
        if (sender, receiver) in self.held:
            return None
        return self.random.uniform(*self.delay_ms) / 1000


def heights(members: Iterable[Member]) -> list[int]:
    """The executed height of each."""
    return [member.height for member in members]


def _write_key(path: Path, purpose: str, public_key: bytes, seed: bytes) -> None:
    scheme = "x25519" if purpose == "channel" else "ed25519"
    store = create(Kind.KEY_STORE, "plain", {}, b"", bytes, lab=False)
    sealed = store.seal(Secret(seed), public_key)
    write_private(path, render(KeyFile(purpose, scheme, public_key, "plain", sealed)))
