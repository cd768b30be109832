"""Shared by the tests of the channel and of the transports, as fixtures."""

import asyncio
import hashlib
import inspect
import itertools
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from crypto.interface import Digest, NodeId
from p2p.channels import noise_xx
from p2p.counters import Counters
from p2p.framing import prologue
from p2p.interface import Channel, ChannelKey, Channels, Network, Peer
from p2p.limits import Limits
from p2p.membership import StaticMembership
from p2p.transports import memory, tcp
from p2p.transports._connection import Connection

GENESIS = Digest(bytes(range(32)))


def _private_key(name: str) -> bytes:
    return hashlib.sha256(b"static " + name.encode()).digest()


def _counting_entropy(seed: str) -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda size: hashlib.shake_128(f"{seed} {next(numbers)}".encode()).digest(size)


def _make_channels(
    name: str,
    *,
    genesis: Digest = GENESIS,
    options: noise_xx.Options | None = None,
    entropy: Callable[[int], bytes] | None = None,
) -> Channels:
    return noise_xx.create(
        options or noise_xx.Options(),
        private_key=_private_key(name),
        prologue=prologue(genesis),
        entropy=entropy or _counting_entropy(name),
    )


@pytest.fixture(scope="session")
def genesis() -> Digest:
    return GENESIS


@pytest.fixture(scope="session")
def private_key() -> Callable[[str], bytes]:
    """Name -> the private channel key of whoever has that name."""
    return _private_key


@pytest.fixture(scope="session")
def counting_entropy() -> Callable[[str], Callable[[int], bytes]]:
    """Seed -> a source that gives different bytes at each call, the same ones in each run."""
    return _counting_entropy


@pytest.fixture(scope="session")
def make_channels() -> Callable[..., Channels]:
    """Name, and perhaps `genesis`, `options`, `entropy` -> Noise XX channels of that name."""
    return _make_channels


@pytest.fixture
def alice() -> Channels:
    return _make_channels("alice")


@pytest.fixture
def bob() -> Channels:
    return _make_channels("bob")


# --- Tests that are coroutines. -------------------------------------------------------------

SCENARIO_SECONDS_MAX = 20


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests here; on uvloop where the test's `fabric` says so."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def scenario() -> None:
        async with asyncio.timeout(SCENARIO_SECONDS_MAX):
            await pyfuncitem.obj(**arguments)

    factory = uvloop.new_event_loop if arguments.get("fabric") == "tcp-uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())
    return True


# --- Nodes. ---------------------------------------------------------------------------------


class Recorder:
    """A handler that remembers what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.frames: defaultdict[str, list[bytes]] = defaultdict(list)
        self.reports: list[tuple[str, dict[str, str | int]]] = []
        self.on_each_frame: Callable[[Peer, bytes], None] = lambda _peer, _frame: None
        self._changed = asyncio.Event()

    def on_connected(self, peer: Peer) -> None:
        self.events.append(("connected", peer.name))
        self._changed.set()

    def on_disconnected(self, peer: Peer, reason: str) -> None:
        self.events.append(("disconnected", peer.name, reason))
        self._changed.set()

    def on_frame(self, peer: Peer, frame: bytes) -> None:
        self.frames[peer.name].append(frame)
        self._changed.set()
        self.on_each_frame(peer, frame)

    def report(self, event: str, **fields: str | int) -> None:
        self.reports.append((event, fields))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; looked at after each event, and now and then."""
        while not condition():
            self._changed.clear()
            try:
                async with asyncio.timeout(0.01):
                    await self._changed.wait()
            except TimeoutError:
                continue


class Node:
    """One network under test, with its handler and its own view of the membership."""

    def __init__(
        self, name: str, network: Network, members: StaticMembership, handler: Recorder
    ) -> None:
        self.name = NodeId(name)
        self.network = network
        self.members = members
        self.handler = handler

    @property
    def counters(self) -> Counters:
        assert isinstance(self.network, tcp.TcpNetwork | memory.MemoryNetwork)
        return self.network.counters

    @property
    def tcp(self) -> tcp.TcpNetwork:
        assert isinstance(self.network, tcp.TcpNetwork)
        return self.network

    @property
    def port(self) -> int:
        assert self.tcp.address is not None
        return self.tcp.address.port

    @property
    def peers_reported(self) -> set[str]:
        """Who is linked, according to what the handler was told."""
        linked: set[str] = set()
        for kind, name, *_ in self.handler.events:
            if kind == "connected":
                linked.add(name)
            else:
                linked.discard(name)
        return linked

    def link(self, name: str) -> Connection:
        """The connection behind a link; inside knowledge, for the tests of the rules."""
        return self.tcp._links[NodeId(name)]

    def sees(self, *names: str) -> bool:
        """Whether these are linked, and the handler knows."""
        linked = {peer.name for peer in self.network.connected()}
        return linked == self.peers_reported == set(names)

    async def until(self, condition: Callable[[], bool]) -> None:
        await self.handler.until(condition)

    async def until_sees(self, *names: str) -> None:
        await self.until(lambda: self.sees(*names))


def quick_limits(**changes: int) -> Limits:
    """Small times, so that nothing in a test takes long; no test waits for one of them to pass."""
    quick = {
        "handshake_deadline_ms": 2_000,
        "heartbeat_interval_ms": 50,
        "silence_max_ms": 1_000,
        "reconnect_min_ms": 5,
        "reconnect_max_ms": 50,
        "stop_deadline_ms": 300,
    }
    return Limits(**(quick | changes))


def keys_of(*names: str) -> dict[NodeId, ChannelKey]:
    return {NodeId(name): noise_xx.public_key(_private_key(name)) for name in names}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class World:
    """Makes nodes that know each other, and stops them all at the end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.hub = memory.MemoryHub()
        self.ports: dict[str, int] = {}
        self.nodes: list[Node] = []

    def key(self, name: str) -> ChannelKey:
        return noise_xx.public_key(_private_key(name))

    def make(
        self,
        name: str,
        *,
        validators: tuple[str, ...],
        observers: tuple[str, ...] = (),
        open_observers: bool = False,
        dials: tuple[str, ...] | None = None,
        limits: Limits | None = None,
        channels: Channels | None = None,
        listens: bool = True,
    ) -> Node:
        """A node that is not started. It dials all other validators unless `dials` is given."""
        members = StaticMembership(
            keys_of(*validators), keys_of(*observers), open_observers=open_observers
        )
        limits = limits or quick_limits()
        handler = Recorder()
        if self.kind == "memory":
            network: Network = memory.create(
                memory.Options(),
                hub=self.hub,
                key=self.key(name),
                membership=members,
                limits=limits,
            )
        else:
            network = tcp.create(
                tcp.Options(),
                channels=channels or _make_channels(name),
                membership=members,
                place=self._place(name, validators if dials is None else dials, listens),
                limits=limits,
                jitter=lambda: 0.5,
                report=handler.report,
            )
        node = Node(name, network, members, handler)
        self.nodes.append(node)
        return node

    async def start(self, *names: str, limits: Limits | None = None) -> list[Node]:
        """Validators of these names, all linked."""
        nodes = [self.make(name, validators=names, limits=limits) for name in names]
        for node in nodes:
            await node.network.start(node.handler)
        for node in nodes:
            await node.until_sees(*(name for name in names if name != node.name))
        return nodes

    async def stop(self) -> None:
        for node in self.nodes:
            if hasattr(node.network, "_loop"):
                await node.network.stop()

    def port(self, name: str) -> int:
        return self.ports.setdefault(name, free_port())

    def _place(self, name: str, dials: tuple[str, ...], listens: bool) -> tcp.Place:
        remotes = tuple(
            tcp.Remote(NodeId(to), self.key(to), tcp.Address("127.0.0.1", self.port(to)))
            for to in dials
            if to != name
        )
        listen = tcp.Address("127.0.0.1", self.port(name)) if listens else None
        return tcp.Place(listen, remotes)


@asynccontextmanager
async def _world(kind: str) -> AsyncIterator[World]:
    world = World(kind)
    try:
        yield world
    finally:
        await world.stop()


@pytest.fixture
def world() -> Callable[[str], object]:
    """`async with world("tcp") as w`: see `World`."""
    return _world


@pytest.fixture
def limits() -> Callable[..., Limits]:
    return quick_limits


class Stranger:
    """A plain socket to a node, and a channel on it that the test may misuse."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.channel = channel
        self.frames: list[bytes] = []

    async def handshake(self) -> None:
        """Until the peer is proven and, for a dialler, has accepted us."""
        self.write(self.channel.data_to_send())
        while self.channel.peer_key is None or not self.frames:
            await self.read()

    async def read(self) -> None:
        data = await self.reader.read(65_536)
        if not data:
            raise ConnectionResetError
        self.frames += self.channel.receive_data(data)
        self.write(self.channel.data_to_send())

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def closed(self) -> None:
        """Wait until the node has ended the connection, whatever it still says."""
        with suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass
        await self.leave()

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
def call() -> Callable[..., object]:
    """`await call(node, "mallory")`: a `Stranger` with that name's key, before the handshake."""

    async def connect(node: Node, name: str, **channel: object) -> Stranger:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        own = noise_xx.public_key(_private_key(node.name))
        return Stranger(reader, writer, _make_channels(name, **channel).dial(own))  # type: ignore[arg-type]  # passed on

    return connect
