"""A small ledger in memory behind the real API on a real socket.

`ledger` implements `node.service.NodeService` and nothing of consensus: what it is told to commit
is committed. A method called `refuse.REASON` is refused for that reason.
"""

import asyncio
import hashlib
import io
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import httpx
import pytest

from apps.interface import QueryRefused
from crypto.bundle import Bundle
from crypto.certificate import Certificate, Vote
from crypto.encoding import Malformed, encode
from crypto.genesis import Genesis, Validator
from crypto.header import ZERO, Header
from crypto.interface import Digest, NodeId, PublicKey, Signature
from crypto.transaction import Receipt, SignedTransaction, Transaction, signed_transactions
from node import logs
from node.api.app import ApiApp
from node.api.limits import ApiLimits
from node.api.public import create_public_app
from node.api.server import ApiServer
from node.events import BlockCommitted, EventStream
from node.metrics import Metrics
from node.service import BlockView, Outcome, OutOfRange, Refusal, Status, Unknown, Verdict
from p2p.interface import Peer, Role

T = TypeVar("T")
LIMITS = ApiLimits(
    json_bytes_max=64 * 1024,
    batch_bytes_max=256 * 1024,
    batch_transactions_max=100,
    bodies_bytes_max=1024 * 1024,
    request_seconds=10.0,
    heartbeat_seconds=0.05,
    stop_seconds=2,
)


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


class MemoryLedger:
    """Use it from its event loop only."""

    def __init__(self, genesis: Genesis) -> None:
        self.name = NodeId("v2")
        self.genesis = genesis
        self.genesis_digest = _digest(b"genesis")
        self.reset()

    def reset(self) -> None:
        self.events = EventStream()
        self.blocks: list[BlockView] = []
        self.pending: dict[Digest, bytes] = {}
        self.outcomes: dict[Digest, Outcome] = {}
        self.commit_at_once = True
        self.syncing = False
        self.submitted: list[bytes] = []
        self._changed = asyncio.Event()

    def status(self) -> Status:
        height = len(self.blocks)
        return Status(
            name=self.name,
            role="validator",
            height=height,
            certified=height,
            header=self.blocks[-1].digest if self.blocks else ZERO,
            state_root=_digest(b"state %d" % height),
            view=0,
            leader=NodeId("v1"),
            phase="idle",
            waiting_for=(),
            next_timeout_ms=2000,
            peers=(Peer(NodeId("v1"), Role.VALIDATOR),),
            mempool_count=len(self.pending),
            mempool_bytes=sum(map(len, self.pending.values())),
            syncing=self.syncing,
            moving=True,
            reason="catching up" if self.syncing else "all is well",
        )

    async def submit(self, raws: Sequence[bytes]) -> Sequence[Verdict]:
        verdicts = [self._admit(raw) for raw in raws]
        if self.commit_at_once and self.pending:
            self.commit()
        return verdicts

    def _admit(self, raw: bytes) -> Verdict:
        self.submitted.append(raw)
        try:
            transaction = signed_transactions.decode(raw).transaction
        except Malformed as error:
            return Verdict(None, Refusal.MALFORMED, str(error))
        word, _, reason = transaction.method.partition(".")
        if word == "refuse":
            return Verdict(None, Refusal(reason), f"{reason}: change it")
        identity = _digest(encode(transaction))
        if identity in self.pending or identity in self.outcomes:
            return Verdict(identity, Refusal.DUPLICATE, "it is here already")
        self.pending[identity] = raw
        return Verdict(identity, None)

    def commit(self) -> None:
        """One block with all that is pending."""
        height = len(self.blocks) + 1
        first = self.blocks[-1].header.ledger_size if self.blocks else 0
        receipts = tuple(self._receipt(key, raw) for key, raw in self.pending.items())
        header = Header(
            height=height,
            parent=self.blocks[-1].digest if self.blocks else ZERO,
            epoch=0,
            committee=_digest(b"committee"),
            payload=_digest(b"payload %d" % height),
            time_ms=1000 * height,
            block_size=len(receipts),
            ledger_size=first + len(receipts),
            ledger_root=_digest(b"ledger %d" % height),
            receipts_root=_digest(b"receipts %d" % height),
            state_root=_digest(b"state %d" % height),
        )
        digest = _digest(encode(header))
        certificate = Certificate(height, digest, (Vote(0, Signature(b"s" * 64)),))
        raws = tuple(self.pending.values())
        ids = tuple(self.pending)
        self.blocks.append(BlockView(header, digest, certificate, raws, ids, receipts))
        for position, receipt in enumerate(receipts):
            outcome = Outcome(ids[position], height, first + position, position, receipt)
            self.outcomes[ids[position]] = outcome
        self.pending.clear()
        self._changed.set()
        self._changed = asyncio.Event()
        state_root = header.state_root
        self.events.publish(
            BlockCommitted(height, digest, state_root, header.time_ms, first, receipts)
        )

    def _receipt(self, identity: Digest, raw: bytes) -> Receipt:
        if signed_transactions.decode(raw).transaction.method == "kv.fail":
            return Receipt(identity, "not_owner", "ask the owner — she may".encode())
        return Receipt(identity, "ok", b"\x01")

    async def wait_committed(
        self, ids: Sequence[Digest], timeout_ms: int
    ) -> Sequence[Outcome | None]:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while any(identity not in self.outcomes for identity in ids):
                    await self._changed.wait()
        except TimeoutError:
            pass
        return [self.outcomes.get(identity) for identity in ids]

    async def outcome(self, identity: Digest) -> Outcome | None:
        return self.outcomes.get(identity)

    def is_pending(self, identity: Digest) -> bool:
        return identity in self.pending

    async def header(self, height: int) -> tuple[Header, Certificate | None] | None:
        view = await self.block(height)
        return (view.header, view.certificate) if view is not None else None

    async def block(self, height: int) -> BlockView | None:
        return self.blocks[height - 1] if 1 <= height <= len(self.blocks) else None

    async def bundle(self, identity: Digest) -> Bundle | None:
        outcome = self.outcomes.get(identity)
        if outcome is None:
            return None
        view = self.blocks[outcome.height - 1]
        assert view.certificate is not None
        return Bundle(
            genesis=self.genesis_digest,
            changes=(),
            header=view.header,
            certificate=view.certificate,
            transaction=view.transactions[outcome.position],
            index=outcome.index,
            ledger_proof=(),
            receipt=outcome.receipt,
            position=outcome.position,
            receipt_proof=(),
        )

    async def inclusion(self, index: int, size: int) -> Sequence[Digest]:
        if not 0 <= index < size <= self._size():
            raise OutOfRange(f"index {index} in a ledger of size {size}: there are {self._size()}")
        return [_digest(b"left"), _digest(b"right")]

    async def consistency(self, old: int, new: int) -> Sequence[Digest]:
        if not 0 < old <= new <= self._size():
            raise OutOfRange(f"sizes {old} and {new}: there are {self._size()}")
        return [_digest(b"middle")]

    def _size(self) -> int:
        return self.blocks[-1].header.ledger_size if self.blocks else 0

    async def query(self, application: str, path: Sequence[str]) -> tuple[int, object]:
        if application == "broken":
            raise RuntimeError("the password is hunter2")
        if application != "kv":
            raise Unknown(f"no application is called {application!r}; there are: kv")
        if path and path[0] == "nonsense":
            raise QueryRefused("kv has no such question")
        return len(self.blocks), list(path)


class Running:
    """An event loop in a thread, and what is served from it."""

    def __init__(self, ledger_of: Callable[[], MemoryLedger]) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.metrics = Metrics()
        self.ledger = self.call(_made(ledger_of))
        self._servers: list[ApiServer] = []

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def do(self, action: Callable[[], T]) -> T:
        """Run `action` on the loop, where the ledger lives."""
        return self.call(_made(action))

    def serve(self, limits: ApiLimits = LIMITS, app: ApiApp | None = None) -> ApiServer:
        app = app or create_public_app(self.ledger, self.metrics, limits)
        server = ApiServer(app, "127.0.0.1", 0, limits=limits)
        self.call(server.start())
        self._servers.append(server)
        return server

    def stop(self) -> None:
        for server in self._servers:
            self.call(server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


async def _made(make: Callable[[], T]) -> T:
    return make()


@pytest.fixture(autouse=True)
def log() -> io.StringIO:
    """What the node logs during the test."""
    stream = io.StringIO()
    logs.configure("info", stream)
    return stream


@pytest.fixture(scope="session")
def _session(genesis: Genesis) -> Iterator[tuple[Running, ApiServer]]:
    running = Running(lambda: MemoryLedger(genesis))
    yield running, running.serve()
    running.stop()


@pytest.fixture
def running(_session: tuple[Running, ApiServer]) -> Iterator[Running]:
    """The loop with the ledger, which is empty at the start of each test."""
    session = _session[0]
    session.do(session.ledger.reset)
    yield session
    session.do(session.ledger.events.close)


@pytest.fixture
def server(running: Running, _session: tuple[Running, ApiServer]) -> ApiServer:
    return _session[1]


@pytest.fixture
def serve(running: Running) -> Iterator[Callable[..., ApiServer]]:
    """Serve the same ledger once more, with other limits or another application."""
    servers: list[ApiServer] = []

    def start(limits: ApiLimits = LIMITS, app: ApiApp | None = None) -> ApiServer:
        servers.append(running.serve(limits, app))
        return servers[-1]

    yield start
    for server in servers:
        running.call(server.stop())


@pytest.fixture
def ledger(running: Running) -> MemoryLedger:
    return running.ledger


@pytest.fixture(scope="session")
def _http(_session: tuple[Running, ApiServer]) -> Iterator[httpx.Client]:
    # One for all tests: making a client reads the machine's list of authorities, in 40 ms.
    with httpx.Client(base_url=_session[1].url, timeout=10.0, trust_env=False) as http:
        yield http


@pytest.fixture
def client(running: Running, _http: httpx.Client) -> httpx.Client:
    """A client of the ledger's API."""
    return _http


@pytest.fixture(scope="session")
def signed() -> Callable[..., bytes]:
    """Signed encodings; the ledger in memory does not look at the signature."""

    def make(nonce: int = 0, method: str = "kv.set", arguments: Sequence[str | int] = ()) -> bytes:
        transaction = Transaction(
            "assay-test", PublicKey(b"k" * 32), nonce, 1000, method, tuple(arguments)
        )
        return encode(SignedTransaction(transaction, Signature(b"s" * 64)))

    return make


@pytest.fixture(scope="session")
def genesis() -> Genesis:
    validators = tuple(
        Validator(
            name=f"v{number}",
            public_key=PublicKey(bytes([number]) * 32),
            channel_key=bytes([100 + number]) * 32,
        )
        for number in range(1, 5)
    )
    return Genesis(chain="assay-test", created_ms=0, validators=validators)
