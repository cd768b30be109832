"""Answers the API: the `NodeService` of a running node. No logic but looking things up."""

from collections.abc import Sequence
from typing import Any

from crypto.bundle import Bundle
from crypto.certificate import Certificate
from crypto.genesis import Genesis
from crypto.header import Header
from crypto.interface import Digest, NodeId
from node.events import EventStream
from node.node import Node
from node.reads import Reads
from node.service import BlockView, Outcome, Refusal, Status, Verdict
from node.standing import Standing
from node.workers import Lane, Workers
from p2p.interface import Network, Role


class Answers:
    """Implements `node.service.NodeService`."""

    def __init__(
        self,
        node: Node[Any],
        genesis: Genesis,
        role: Role,
        reads: Reads,
        network: Network,
        workers: Workers,
        events: EventStream,
    ) -> None:
        self._node = node
        self._genesis = genesis
        self._role = role
        self._reads = reads
        self._network = network
        self._workers = workers
        self._events = events

    @property
    def name(self) -> NodeId:
        return self._node.me

    @property
    def genesis(self) -> Genesis:
        return self._genesis

    @property
    def genesis_digest(self) -> Digest:
        return self._node.agreed.digest

    @property
    def events(self) -> EventStream:
        return self._events

    def status(self) -> Status:
        node = self._node
        started = node.host is not None and node.host.started
        progress = node.host.progress() if node.host is not None and started else None
        peers = self._network.connected()
        reachable = {peer.name for peer in peers if peer.role is Role.VALIDATOR}
        moving, reason = Standing(
            committee=node.agreed.voters,
            me=node.me,
            reachable=reachable,
            progress=progress,
            pending=node.mempool.count,
            syncing=node.sync.active,
            abstaining=node.signer is not None and node.signer.abstaining,
            executed=node.chain.executed,
            certified=node.chain.certified,
            unattested=self._unattested(),
            stalled_s=(node.now_ms() - node.moved_ms) / 1000 if self._waits() else 0.0,
        ).sentence()
        return Status(
            name=node.me,
            role=self._role,
            height=node.chain.executed,
            certified=node.chain.certified,
            header=node.chain.header,
            state_root=node.chain.state_root,
            view=progress.view if progress is not None else 0,
            leader=progress.leader if progress is not None else None,
            phase=progress.phase if progress is not None else "following",
            waiting_for=progress.waiting_for if progress is not None else (),
            next_timeout_ms=progress.next_timeout_ms if progress is not None else 0,
            peers=peers,
            mempool_count=node.mempool.count,
            mempool_bytes=node.mempool.bytes,
            syncing=node.sync.active,
            moving=moving,
            reason=reason,
        )

    async def submit(self, raws: Sequence[bytes]) -> Sequence[Verdict]:
        if self._role is not Role.VALIDATOR:
            text = "this node is an observer; submit to a validator"
            return [Verdict(None, Refusal.NOT_VALIDATOR, text)] * len(raws)
        return await self._node.ingress.submit(raws)

    async def wait_committed(
        self, ids: Sequence[Digest], timeout_ms: int
    ) -> Sequence[Outcome | None]:
        # Why listen before looking: it may be committed in between.
        with self._node.waiters.waiting(ids) as call:
            elsewhere = [item for item in ids if not self._node.mempool.waits(item)]
            if elsewhere:
                call.add(await self._workers.run(Lane.LEDGER, self._reads.outcomes, elsewhere))
            await call.wait(timeout_ms)
        return [call.found.get(identity) for identity in ids]

    async def outcome(self, identity: Digest) -> Outcome | None:
        found = await self._workers.run(Lane.LEDGER, self._reads.outcomes, [identity])
        return found[0] if found else None

    def is_pending(self, identity: Digest) -> bool:
        node = self._node
        return node.mempool.waits(identity) or node.chain.is_uncertified(identity)

    async def header(self, height: int) -> tuple[Header, Certificate | None] | None:
        return await self._workers.run(Lane.LEDGER, self._reads.header, height)

    async def block(self, height: int) -> BlockView | None:
        return await self._workers.run(Lane.LEDGER, self._reads.block, height)

    async def bundle(self, identity: Digest) -> Bundle | None:
        return await self._workers.run(Lane.LEDGER, self._reads.bundle, identity)

    async def inclusion(self, index: int, size: int) -> Sequence[Digest]:
        return await self._workers.run(Lane.LEDGER, self._reads.inclusion, index, size)

    async def consistency(self, old: int, new: int) -> Sequence[Digest]:
        return await self._workers.run(Lane.LEDGER, self._reads.consistency, old, new)

    async def query(self, application: str, path: Sequence[str]) -> tuple[int, object]:
        return await self._workers.run(Lane.LEDGER, self._reads.query, application, path)

    def _waits(self) -> bool:
        node = self._node
        return node.mempool.count > 0 or node.chain.executed > node.chain.certified

    def _unattested(self) -> list[NodeId]:
        node = self._node
        present = node.attestations.attested_by(node.chain.certified + 1)
        members = node.agreed.voters.members
        return [name for index, name in enumerate(members) if index not in present]
