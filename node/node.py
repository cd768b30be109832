"""A running node: routes frames between the parts, and lets the parts reach the network.

All parts are made in `node.wiring`; this file connects them. Nothing that a peer sends raises
out of here: what is refused is counted with its reason.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from consensus.interface import Accuse, Message, Signed, Ticket
from consensus.interface import Committee as Voters
from crypto.certificate import Attestation, Certificate
from crypto.encoding import Codec, Malformed, encode
from crypto.header import attestation_statement
from crypto.interface import Claim, Digest, NodeId, PublicKey
from node.attestations import Attestations
from node.chain import Chain
from node.executor import Diverged, ExecutedBlock
from node.host import Host
from node.ingress import Ingress
from node.logs import Log
from node.mempool import Mempool
from node.metrics import Metrics
from node.payloads import Prepared
from node.proposals import Proposals
from node.recorder import Recorder
from node.signer import Signer
from node.sync import Sync, serve
from node.verifier import ClaimsOf, Unverifiable, Verifier
from node.waiters import Waiters
from node.wire import (
    ATTESTATIONS_MAX,
    GOSSIP_TRANSACTIONS_MAX,
    BlocksReply,
    BlocksRequest,
    ConsensusMessage,
    HostMessage,
    PayloadOffer,
    PayloadRequest,
    StatusReport,
    Transactions,
    host_messages,
)
from node.wire import Attestations as AttestationsFrame
from node.workers import Lane, Workers
from p2p.interface import Network, Peer, Role
from storage.ledger import Ledger

STATUS_INTERVAL_S = 0.1
"""A change of height or view is told to peers at most so often."""

STATUS_IDLE_S = 2.0
"""It is repeated so often without a change."""

TICK_S = 0.25
EXPIRY_EVERY_HEIGHTS = 16
"""The mempool is searched for expired transactions this often: a search looks at all of it."""

GOSSIP_BYTES_MAX = 1024 * 1024
CONSENSUS_BYTES_MAX = 8 * 1024 * 1024

ABSTAIN_HEIGHTS = 128
"""A validator that lost its journal signs nothing for the protocol until so far above the
others' heights: further than it can have voted before (twice PBFT's default window)."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What of the genesis this file needs."""

    digest: Digest
    voters: Voters
    keys: dict[NodeId, PublicKey]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long transactions may wait before something is done about it."""

    forward_ms: int
    overdue_ms: int


class Node(Generic[M]):
    """Owns no state but the wiring. `run` serves until cancelled; raises what is fatal."""

    def __init__(
        self,
        me: NodeId,
        agreed: Agreed,
        pace: Pace,
        network: Network,
        workers: Workers,
        metrics: Metrics,
        log: Log,
        now_ms: Callable[[], float],
    ) -> None:
        self.me = me
        self.agreed = agreed
        self._pace = pace
        self._network = network
        self._workers = workers
        self._metrics = metrics
        self._log = log
        self.now_ms = now_ms
        self.waiters = Waiters()
        self._own: dict[int, Attestation] = {}
        self._traffic = (0, 0)
        self._serving: set[NodeId] = set()
        self._certificates: asyncio.Queue[Certificate] = asyncio.Queue()
        self._fatal: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self.moved_ms = now_ms()
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(
        self,
        *,
        chain: Chain,
        ledger: Ledger,
        mempool: Mempool,
        ingress: Ingress,
        proposals: Proposals,
        attestations: Attestations,
        verifier: Verifier,
        sync: Sync,
        host: Host[M] | None,
        signer: Signer | None,
        messages: Codec[Signed[M]],
        claims: ClaimsOf[M],
        recorder: Recorder | None,
    ) -> None:
        """Take in the parts that call back into this node."""
        self.chain = chain
        self.ledger = ledger
        self.mempool = mempool
        self.ingress = ingress
        self.proposals = proposals
        self.attestations = attestations
        self.verifier = verifier
        self.sync = sync
        self.host = host
        self.signer = signer
        self._messages = messages
        self._claims = claims
        self._recorder = recorder

    # --- Life. ---

    async def run(self) -> None:
        """Serve until cancelled. Raises `Diverged`, or what journal and ledger raise."""
        loop = asyncio.get_running_loop()
        self._fatal = loop.create_future()
        loop.set_exception_handler(self._on_fault)
        await self.chain.recover()
        for height, digest in self.chain.uncertified():
            self.attestations.executed(height, digest)
        self.attestations.certified(self.chain.certified)
        await self._network.start(self)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self.verifier.run())
                tasks.create_task(self.sync.run())
                tasks.create_task(self._certify())
                tasks.create_task(self._report())
                tasks.create_task(self._tick())
                if self.host is not None:
                    tasks.create_task(self._join(self.host))
                    tasks.create_task(self.host.run())
        finally:
            self.ingress.close()
            self.proposals.close()
            if self.host is not None:
                self.host.close()
            for task in self._tasks:
                task.cancel()
            await self._network.stop()

    async def _watch(self) -> None:
        assert self._fatal is not None
        await self._fatal

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: a fault of our own. The node stops rather than guess."""
        error = context.get("exception")
        loop.default_exception_handler(context)
        if isinstance(error, Exception):
            self._stop_because(error)

    def _stop_because(self, error: Exception) -> None:
        if self._fatal is not None and not self._fatal.done():
            self._fatal.set_exception(error)

    async def _join(self, host: Host[M]) -> None:
        """Start consensus; with a new journal only after hearing from a quorum."""
        assert self.signer is not None
        others = len(self.agreed.voters.members) - 1
        if self.signer.fresh and others:
            await self._joined.wait()
            highest = await self._highest_credible()
            if highest > self.chain.executed or self.chain.executed > 0:
                until = max(highest, self.chain.executed) + ABSTAIN_HEIGHTS
                await self._workers.run(Lane.JOURNAL, self.signer.abstain_until, until)
                self._log.warning("abstaining", until=until)
        host.start(self.chain.uncertified())
        for peer in self._network.connected():
            if peer.role is Role.VALIDATOR:
                host.connected(peer.name)
        self._changed.set()

    # --- What the network brings (p2p.interface.Handler). ---

    def on_connected(self, peer: Peer) -> None:
        self._log.info("peer_connected", peer=peer.name, role=peer.role)
        self._metrics.peers(len(self._network.connected()))
        self._network.send(peer.name, encode(self._status()))
        if self.host is not None and peer.role is Role.VALIDATOR:
            self.host.connected(peer.name)

    def on_disconnected(self, peer: Peer, reason: str) -> None:
        self._log.info("peer_disconnected", peer=peer.name, reason=reason)
        self._metrics.peers(len(self._network.connected()))
        self.sync.gone(peer.name)

    def on_frame(self, peer: Peer, frame: bytes) -> None:
        try:
            message = host_messages.decode(frame)
        except Malformed:
            self.ignored(peer.name, "malformed_frame")
            return
        if peer.role is Role.VALIDATOR:
            self._on_message(peer.name, message)
        else:
            self._on_observer(peer.name, message)

    def _on_observer(self, peer: NodeId, message: HostMessage) -> None:
        match message:
            case StatusReport():
                pass
            case BlocksRequest():
                self._serve(peer, message)
            case _:
                self.ignored(peer, "not_for_observers")

    def _on_message(self, peer: NodeId, message: HostMessage) -> None:
        match message:
            case ConsensusMessage(body=body):
                self._on_consensus(peer, body)
            case Transactions(raws=raws):
                if self.host is not None:
                    self.ingress.gossiped(raws)
            case PayloadOffer(payload=payload):
                if self.host is not None:
                    refusal = self.proposals.offered(peer, payload)
                    if refusal is not None:
                        self.ignored(peer, refusal)
            case PayloadRequest(payload=digest):
                raw = self.proposals.requested(digest)
                if raw is not None:
                    self._network.send(peer, encode(PayloadOffer(raw)))
            case AttestationsFrame(attestations=attestations):
                self._on_attestations(peer, attestations)
            case StatusReport():
                self._on_status(peer, message)
            case BlocksRequest():
                self._serve(peer, message)
            case BlocksReply():
                if not self.sync.replied(peer, message):
                    self.ignored(peer, "unasked_blocks")

    def _on_consensus(self, peer: NodeId, body: bytes) -> None:
        if self._recorder is not None:
            self._recorder.message(body)
        host = self.host
        if host is None or not host.started:
            return
        try:
            signed = self._messages.decode(body)
            claims = self._claims.claims(peer, signed)
        except Malformed:
            self.ignored(peer, "malformed_message")
            return
        except Unverifiable as error:
            self.ignored(peer, error.reason)
            return

        def done(valid: bool) -> None:
            if valid:
                host.received(peer, signed)
            else:
                self.ignored(peer, "bad_signature")

        self.verifier.submit(peer, claims, done)

    def _on_attestations(self, peer: NodeId, attestations: Sequence[Attestation]) -> None:
        for attestation in attestations:
            if self._recorder is not None:
                self._recorder.attestation(attestation)
            if not self.attestations.wanted(attestation):
                continue
            self.verifier.submit(
                peer, [self._attestation_claim(attestation)], self._counted(peer, attestation)
            )

    def _counted(self, peer: NodeId, attestation: Attestation) -> Callable[[bool], None]:
        def done(valid: bool) -> None:
            if valid:
                self.attestations.add(attestation)
            else:
                self.ignored(peer, "bad_attestation")

        return done

    def _attestation_claim(self, attestation: Attestation) -> Claim:
        name = self.agreed.voters.members[attestation.validator]
        statement = attestation_statement(attestation.header, self.agreed.digest)
        return Claim(self.agreed.keys[name], statement, attestation.signature)

    def _on_status(self, peer: NodeId, report: StatusReport) -> None:
        self.sync.report(peer, report.certified)
        if len(self._validator_claims()) + 1 >= self.agreed.voters.quorum:
            self._joined.set()
        missing = [
            attestation
            for height, attestation in sorted(self._own.items())
            if height > report.certified
        ][:ATTESTATIONS_MAX]
        if missing and report.executed <= self.chain.executed:
            self._network.send(peer, encode(AttestationsFrame(tuple(missing))))

    def _validator_claims(self) -> list[int]:
        claims = self.sync.claims()
        return [claims[name] for name in self.agreed.voters.members if name in claims]

    async def _highest_credible(self) -> int:
        """The highest claim of a quorum, once each of its members is known not to make it up.

        Far claims are tried by fetching the blocks: who does not serve them is distrusted.
        """
        while True:
            trusted = self.sync.trusted_claims()
            claims = [trusted[name] for name in self.agreed.voters.members if name in trusted]
            highest = max(claims, default=0)
            enough = len(claims) + 1 >= self.agreed.voters.quorum
            if enough and highest <= self.chain.executed + ABSTAIN_HEIGHTS:
                return highest
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _serve(self, peer: NodeId, request: BlocksRequest) -> None:
        if peer in self._serving:
            self.ignored(peer, "request_while_served")
            return
        self._serving.add(peer)
        task = asyncio.get_running_loop().create_task(self._serve_now(peer, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_now(self, peer: NodeId, request: BlocksRequest) -> None:
        try:
            reply = await self._workers.run(
                Lane.LEDGER, serve, self.ledger, self.chain.certified, request
            )
            self._network.send(peer, encode(reply))
        except Exception as error:
            self._stop_because(error)
        finally:
            self._serving.discard(peer)

    # --- What the host needs (node.host.Outside). ---

    def send(self, to: NodeId, signed: Signed[M]) -> None:
        self._network.send(to, encode(ConsensusMessage(encode(signed))))

    def broadcast(self, signed: Signed[M]) -> None:
        self._to_validators(encode(ConsensusMessage(encode(signed))))

    def attested(self, attestation: Attestation) -> None:
        if attestation.height > self.chain.certified:
            self._own[attestation.height] = attestation
        self.attestations.add(attestation)
        self._to_validators(encode(AttestationsFrame((attestation,))))

    def executed(self, block: ExecutedBlock) -> None:
        self._stored(block)
        self.attestations.executed(block.header.height, block.digest)

    def ignored(self, sender: NodeId, reason: str) -> None:
        self._metrics.ignored(reason)
        self._log.debug("ignored", peer=sender, reason=reason)

    def accused(self, accusation: Accuse[M]) -> None:
        self._metrics.accused(accusation.culprit)
        self._log.warning(
            "accused",
            culprit=accusation.culprit,
            first=encode(accusation.first).hex(),
            second=encode(accusation.second).hex(),
        )

    def need_sync(self, height: int) -> None:
        self.sync.need(height)

    # --- What payloads and the mempool need. ---

    def ready(self, ticket: Ticket, prepared: Prepared | None) -> None:
        assert self.host is not None
        if prepared is not None:
            self._to_validators(encode(PayloadOffer(prepared.raw)))
        self.host.ready(ticket, prepared)

    def checked(self, ticket: Ticket, digest: Digest, prepared: Prepared | None) -> None:
        assert self.host is not None
        self.host.checked(ticket, digest, prepared)

    def ask_payload(self, digest: Digest, peer: NodeId | None) -> None:
        frame = encode(PayloadRequest(digest))
        if peer is None or not self._network.send(peer, frame):
            self._to_validators(frame)

    def admitted(self) -> None:
        """The mempool may have grown."""
        self.proposals.wake()
        self._pending()

    def spread(self, raws: Sequence[bytes]) -> None:
        for part in _parts(raws):
            self._to_validators(encode(Transactions(tuple(part))))

    # --- What catch-up needs (node.sync.Outside). ---

    def ask(self, peer: NodeId, request: BlocksRequest) -> bool:
        return self._network.send(peer, encode(request))

    def synced(self, block: ExecutedBlock) -> None:
        self._stored(block)
        self._metrics.syncing(block.header.height, max(self.sync.claims().values(), default=0))
        if self.host is not None:
            self.host.caught_up(block.header.height, block.digest)

    def distrusted(self, peer: NodeId, reason: str) -> None:
        self.ignored(peer, reason)
        self._log.warning("sync_peer_distrusted", peer=peer, reason=reason)

    # --- What becomes final. ---

    def certificate_completed(self, certificate: Certificate) -> None:
        self._certificates.put_nowait(certificate)

    def astray(self, height: int, digest: Digest) -> None:
        self._stop_because(
            Diverged(
                f"height {height}: other validators attested header {digest.hex()[:16]}, this "
                "node computed another. Stop, keep the data directory for study, and rebuild "
                "this node from its peers with an empty data directory"
            )
        )

    def committed(self, block: ExecutedBlock) -> None:
        """A block is certified: clients may rely on it."""
        self.moved_ms = self.now_ms()
        height = block.header.height
        self._own.pop(height, None)
        self.attestations.certified(height)
        self._metrics.committed(len(block.ids))
        self._metrics.height(self.chain.executed, height)
        self.waiters.committed(block)
        self._changed.set()

    async def _certify(self) -> None:
        while True:
            await self.chain.certify(await self._certificates.get())

    def _stored(self, block: ExecutedBlock) -> None:
        waited_ms = self.mempool.remove(block.ids, self.now_ms())
        if waited_ms > 0:
            self._metrics.latencies((waited_ms / 1000,))
        self.proposals.decided(block.header.height)
        self.proposals.wake()
        self._pending()

    def _pending(self) -> None:
        self._metrics.mempool(self.mempool.count, self.mempool.bytes)
        if self.host is not None:
            self.host.pending(self.mempool.count > 0)

    # --- What happens by itself. ---

    async def _report(self) -> None:
        """Tell peers how far this node is: on changes, not too often, and now and then."""
        while True:
            try:
                async with asyncio.timeout(STATUS_IDLE_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            status = self._status()
            self._metrics.view(status.view)
            self._count_traffic()
            frame = encode(status)
            for peer in self._network.connected():
                self._network.send(peer.name, frame)
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _count_traffic(self) -> None:
        traffic = self._network.traffic()
        came, went = traffic[0] - self._traffic[0], traffic[1] - self._traffic[1]
        self._traffic = traffic
        self._metrics.bytes_in(came)
        self._metrics.bytes_out(went)

    def _status(self) -> StatusReport:
        view = 0
        if self.host is not None and self.host.started:
            view = self.host.progress().view
        return StatusReport(self.chain.executed, self.chain.certified, view)

    async def _tick(self) -> None:
        """What waits too long: forward it to the leader; complain if it is passed over."""
        looked_at = self.chain.executed
        while True:
            await asyncio.sleep(TICK_S)
            now = self.now_ms()
            if not self.mempool.count:
                self.moved_ms = now
                continue
            if self.chain.executed >= looked_at + EXPIRY_EVERY_HEIGHTS:
                looked_at = self.chain.executed
                if self.mempool.drop_expired(looked_at + 1, now):
                    self._pending()
            if self.host is None or not self.host.started:
                continue
            self._forward(now)
            overdue = self.mempool.overdue(self._pace.overdue_ms, now)
            if overdue:
                self.host.overdue(len(overdue))

    def _forward(self, now: float) -> None:
        assert self.host is not None
        leader = self.host.progress().leader
        if leader == self.me:
            return
        late = self.mempool.unforwarded(leader, self._pace.forward_ms, GOSSIP_TRANSACTIONS_MAX, now)
        for part in _parts([entry.raw for entry in late]):
            frame = encode(Transactions(tuple(part)))
            if leader is None:
                self._to_validators(frame)
            else:
                self._network.send(leader, frame)

    def _to_validators(self, frame: bytes) -> None:
        for name in self.agreed.voters.members:
            if name != self.me:
                self._network.send(name, frame)


def _parts(raws: Sequence[bytes]) -> list[list[bytes]]:
    """Split so that each part fits a frame."""
    parts: list[list[bytes]] = []
    size = GOSSIP_BYTES_MAX
    for raw in raws:
        size += len(raw)
        if size > GOSSIP_BYTES_MAX or len(parts[-1]) == GOSSIP_TRANSACTIONS_MAX:
            parts.append([])
            size = len(raw)
        parts[-1].append(raw)
    return parts
