"""Catch-up: fetches certified blocks from peers, verifies each, executes it and compares.

A peer's claim of a height is only a reason to ask. What it sends must carry a certificate of the
committee, continue our chain and give our own result when executed. A peer that sends something
false or does not answer is not asked again for a while.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crypto.certificate import InvalidCertificate, verify_certificate
from crypto.encoding import Malformed
from crypto.header import header_digest
from crypto.interface import Digest, Hash, NodeId, PublicKey, SignatureScheme
from node.chain import Chain
from node.executor import ExecutedBlock, Executor
from node.payloads import InvalidPayload, Preparation, Prepared
from node.wire import BLOCKS_MAX, BlocksReply, BlocksRequest, CertifiedBlock
from node.workers import Lane, Workers
from storage.ledger import Ledger

REPLY_BYTES_MAX = 2 * 1024 * 1024
"""A reply holds blocks up to about this size, but at least one."""

REPLY_TIMEOUT_S = 5.0
DISTRUST_S = 30.0
"""So long a peer that lied or did not answer is not asked."""

LAG_HEIGHTS = 2
"""A validator that is fewer heights behind lets consensus deliver them, unless it stands still."""

STALL_S = 0.4


class FalseBlocks(Exception):
    """A peer sent blocks that do not verify. `reason` is a short constant."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Committee:
    """What certificates are verified against."""

    keys: Sequence[PublicKey]
    quorum: int
    genesis: Digest
    scheme: SignatureScheme
    hash: Hash


class Outside(Protocol):
    """What catch-up needs from the node."""

    def ask(self, peer: NodeId, request: BlocksRequest) -> bool: ...

    def synced(self, block: ExecutedBlock) -> None:
        """One block came in from a peer."""
        ...

    def distrusted(self, peer: NodeId, reason: str) -> None: ...


class Sync:
    """Belongs to the event loop; `run` is its task."""

    def __init__(
        self,
        chain: Chain,
        executor: Executor,
        preparation: Preparation,
        committee: Committee,
        workers: Workers,
        outside: Outside,
        *,
        follows_only: bool,
        now_s: Callable[[], float],
    ) -> None:
        self._chain = chain
        self._executor = executor
        self._preparation = preparation
        self._committee = committee
        self._workers = workers
        self._outside = outside
        self._lag_heights = 1 if follows_only else LAG_HEIGHTS
        self._now_s = now_s
        self._claims: dict[NodeId, int] = {}
        self._distrusted: dict[NodeId, float] = {}
        self._reply: asyncio.Future[BlocksReply] | None = None
        self._asked: NodeId | None = None
        self._first = 0
        self._wake = asyncio.Event()
        self._urgent = 0
        self._moved_s = now_s()
        self._seen = 0
        self.active = False
        """Whether blocks are being fetched now."""

    def claims(self) -> Mapping[NodeId, int]:
        """The certified heights that connected peers claim."""
        return self._claims

    def trusted_claims(self) -> Mapping[NodeId, int]:
        """Those of peers that did not lie lately."""
        now = self._now_s()
        return {
            peer: height
            for peer, height in self._claims.items()
            if self._distrusted.get(peer, 0.0) <= now
        }

    def report(self, peer: NodeId, certified: int) -> None:
        """A peer says how far it is."""
        self._claims[peer] = certified
        if certified > self._chain.certified:
            self._wake.set()

    def gone(self, peer: NodeId) -> None:
        self._claims.pop(peer, None)
        if peer == self._asked and self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError())

    def need(self, height: int) -> None:
        """Consensus cannot deliver `height`: do not wait for it."""
        self._urgent = max(self._urgent, height)
        self._wake.set()

    def replied(self, peer: NodeId, reply: BlocksReply) -> bool:
        """A reply came; False if nobody asked this peer for it."""
        expected = peer == self._asked and reply.first == self._first
        if not expected or self._reply is None or self._reply.done():
            return False
        self._reply.set_result(reply)
        return True

    async def run(self) -> None:
        """Follow the peers until cancelled. Raises `Diverged` if our result is another."""
        while True:
            try:
                async with asyncio.timeout(STALL_S / 4):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            while (peer := self._whom_to_ask()) is not None:
                self.active = True
                await self._fetch(peer)
            self.active = False

    def _whom_to_ask(self) -> NodeId | None:
        """The trusted peer that claims most, if we should not wait for consensus."""
        now = self._now_s()
        if self._chain.certified != self._seen:
            self._seen, self._moved_s = self._chain.certified, now
        trusted = self.trusted_claims()
        if not trusted:
            return None
        peer = max(trusted, key=lambda item: trusted[item])
        lag = trusted[peer] - self._chain.certified
        if lag <= 0:
            self._moved_s = now
            return None
        urgent = self._urgent > self._chain.executed
        stalled = now - self._moved_s > STALL_S
        behind = trusted[peer] - self._chain.executed >= self._lag_heights
        late = behind and (self.active or self._lag_heights == 1 or lag > BLOCKS_MAX)
        return peer if urgent or stalled or late else None

    async def _fetch(self, peer: NodeId) -> None:
        self._asked = peer
        self._first = self._chain.certified + 1
        self._reply = asyncio.get_running_loop().create_future()
        try:
            if not self._outside.ask(peer, BlocksRequest(self._first, BLOCKS_MAX)):
                self._claims.pop(peer, None)
                return
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                reply = await self._reply
            if not reply.blocks and self._chain.certified < self._first:
                raise FalseBlocks("claimed_height_not_served")
            for block in reply.blocks:
                await self._take(block)
            self._moved_s = self._now_s()
        except FalseBlocks as error:
            self._distrust(peer, error.reason)
        except TimeoutError:
            self._distrust(peer, "no_answer")
        except ConnectionError:
            # The link broke while we waited; the next peer is asked.
            return
        finally:
            self._asked = None
            self._reply = None

    def _distrust(self, peer: NodeId, reason: str) -> None:
        self._distrusted[peer] = self._now_s() + DISTRUST_S
        self._outside.distrusted(peer, reason)

    async def _take(self, block: CertifiedBlock) -> None:
        height = block.header.height
        if height <= self._chain.certified:
            return
        await self._workers.run(Lane.VOTES, self._verify, block)
        if height > self._chain.executed:
            if height != self._chain.executed + 1 or block.header.parent != self._chain.header:
                raise FalseBlocks("does_not_continue_our_chain")
            payloads = await self._workers.run(Lane.PAYLOADS, self._payloads, block)
            executed = await self._chain.execute(height, payloads, block.header)
            if executed is not None:
                self._outside.synced(executed)
        await self._chain.certify(block.certificate)

    def _verify(self, block: CertifiedBlock) -> None:
        committee = self._committee
        digest = header_digest(block.header, committee.hash)
        certificate = block.certificate
        if (certificate.height, certificate.header) != (block.header.height, digest):
            raise FalseBlocks("certificate_of_another_header")
        try:
            verify_certificate(
                certificate,
                committee.keys,
                committee.quorum,
                committee.genesis,
                committee.scheme,
            )
        except InvalidCertificate:
            raise FalseBlocks("invalid_certificate") from None

    def _payloads(self, block: CertifiedBlock) -> list[Prepared]:
        if self._committee.hash.digest(block.body) != block.header.payload:
            raise FalseBlocks("body_of_another_header")
        try:
            body = self._executor.bodies.decode(block.body)
            return [self._preparation.trusted(raw) for raw in body.payloads]
        except (Malformed, InvalidPayload):
            # Why not false: a quorum certified this body. It is we who cannot read it.
            raise AssertionError("a certified body does not decode") from None


def serve(ledger: Ledger, certified: int, request: BlocksRequest) -> BlocksReply:
    """Answer a peer's request from the ledger; runs on the ledger lane."""
    blocks: list[CertifiedBlock] = []
    size = 0
    for height in range(request.first, min(request.first + request.count, certified + 1)):
        certificate = ledger.certificate(height)
        if certificate is None:
            break
        stored = ledger.block(height)
        size += len(stored.body)
        if blocks and size > REPLY_BYTES_MAX:
            break
        blocks.append(CertifiedBlock(stored.header, stored.body, certificate))
    return BlocksReply(request.first, tuple(blocks))
