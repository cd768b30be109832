"""Answers the protocol's questions about payloads: what to propose, and whether to vote.

A payload is built when there is something to order: at once while nothing else is in flight,
otherwise when the heights below are executed, a full block waits, or `batch_delay_ms` have
passed. So blocks grow with the load, by as much as arrives in one round. Bytes of others' payloads
arrive as offers, before or after the question; what does not come is asked for, from the
proposer first and then from everybody.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from consensus.interface import Ticket
from crypto.genesis import Genesis
from crypto.interface import Digest, NodeId
from node.mempool import Mempool
from node.payloads import InvalidPayload, Payloads, Preparation, Prepared
from node.workers import Lane, Workers

REQUEST_AFTER_MS = 100
"""A payload that was not offered by then is asked for; and again, from all, at this interval."""

OFFERS_UNASKED_MAX = 64
"""Unchecked payloads kept per node before the protocol asks for them."""

INLINE_BYTES_MAX = 2 * 1024
"""So small a payload is checked on the loop: a round trip to a worker costs more."""

_OVERHEAD_BYTES = 64 * 1024


@dataclass(slots=True)
class _Question:
    """A `CheckPayload` that is not answered yet."""

    tickets: list[Ticket]
    proposer: NodeId
    asked: int = 0
    timer: asyncio.TimerHandle | None = None
    preparing: bool = False


class Proposals:
    """Belongs to the event loop."""

    def __init__(
        self,
        genesis: Genesis,
        mempool: Mempool,
        payloads: Payloads,
        preparation: Preparation,
        workers: Workers,
        *,
        executed: int,
        batch_delay_ms: float,
        now_ms: Callable[[], int],
        ready: Callable[[Ticket, Prepared | None], None],
        checked: Callable[[Ticket, Digest, Prepared | None], None],
        ask: Callable[[Digest, NodeId | None], None],
    ) -> None:
        self._genesis = genesis
        self._mempool = mempool
        self._payloads = payloads
        self._preparation = preparation
        self._workers = workers
        self._batch_delay_ms = batch_delay_ms
        self._now_ms = now_ms
        self._ready = ready
        self._checked = checked
        self._ask = ask
        self._tickets: dict[Ticket, float] = {}
        self._executed = executed
        self._build_timer: asyncio.TimerHandle | None = None
        self._questions: dict[Digest, _Question] = {}
        self._offers: dict[Digest, tuple[NodeId, bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- What to propose. ---

    def request(self, ticket: Ticket, *, at_once: bool) -> None:
        """The protocol may propose. A request for a height replaces an older one."""
        for old in [item for item in self._tickets if item.height == ticket.height]:
            del self._tickets[old]
        if at_once:
            self._answer(ticket, self._take(ticket, self._payloads.ids(ticket.parents)))
            return
        self._tickets[ticket] = asyncio.get_running_loop().time()
        self.wake()

    def wake(self) -> None:
        """The mempool grew, or a height was decided: maybe a payload can be built now.

        The latest question first: older ones may be left from views that are over.
        """
        for ticket, since in reversed(list(self._tickets.items())):
            # Why: the protocol may ask for other things when it gets an answer.
            prepared = self._build(ticket, since) if ticket in self._tickets else None
            if prepared is not None:
                del self._tickets[ticket]
                self._answer(ticket, prepared)

    def _answer(self, ticket: Ticket, prepared: Prepared | None) -> None:
        if prepared is not None:
            self._payloads.add(ticket.height, prepared)
        self._ready(ticket, prepared)

    def _build(self, ticket: Ticket, since: float) -> Prepared | None:
        if ticket.height == 1:
            return self._take(ticket, set())
        waiting = self._mempool.count
        if not waiting:
            return None
        if ticket.height > self._executed + 1:
            waited_ms = (asyncio.get_running_loop().time() - since) * 1000
            fresh = waiting - self._payloads.count(ticket.parents)
            full = fresh >= self._genesis.limits.block_transactions_max
            if not full and waited_ms < self._batch_delay_ms:
                self._wake_in(self._batch_delay_ms - waited_ms)
                return None
        return self._take(ticket, self._payloads.ids(ticket.parents))

    def _take(self, ticket: Ticket, in_flight: set[Digest]) -> Prepared | None:
        """What waits and is not in flight; for height 1 an empty payload, at once."""
        if ticket.height == 1:
            return self._preparation.build([], self._now_ms())
        limits = self._genesis.limits
        entries = self._mempool.take(
            limits.block_transactions_max, limits.block_bytes_max - _OVERHEAD_BYTES, in_flight
        )
        return self._preparation.build(entries, self._now_ms()) if entries else None

    def _wake_in(self, delay_ms: float) -> None:
        if self._build_timer is not None:
            self._build_timer.cancel()
        loop = asyncio.get_running_loop()
        self._build_timer = loop.call_later(delay_ms / 1000 + 0.0005, self.wake)

    # --- Whether to vote. ---

    def check(self, ticket: Ticket, digest: Digest, proposer: NodeId) -> None:
        """Answer once through `checked`, when the bytes are here and were looked at."""
        prepared = self._payloads.get(digest)
        if prepared is not None:
            self._payloads.add(ticket.height, prepared)
            self._checked(ticket, digest, prepared)
            return
        question = self._questions.get(digest)
        if question is not None:
            question.tickets.append(ticket)
            return
        self._questions[digest] = question = _Question([ticket], proposer)
        offer = self._offers.pop(digest, None)
        if offer is not None:
            self._prepare(digest, offer[1])
        else:
            self._ask_later(digest, question)

    def offered(self, peer: NodeId, raw: bytes) -> str | None:
        """A peer sent a payload. Returns why it was refused, as a metric label."""
        if len(raw) > self._preparation.bytes_max:
            return "payload_too_large"
        digest = self._preparation.digest(raw)
        if self._payloads.get(digest) is not None:
            return None
        if digest in self._questions:
            self._prepare(digest, raw)
            return None
        share = sum(1 for sender, _ in self._offers.values() if sender == peer)
        if share >= OFFERS_UNASKED_MAX // 4 or len(self._offers) >= OFFERS_UNASKED_MAX:
            self._drop_offer(peer)
        self._offers[digest] = (peer, raw)
        return None

    def requested(self, digest: Digest) -> bytes | None:
        """The bytes of a payload that a peer asked for, if they are here."""
        prepared = self._payloads.get(digest)
        return None if prepared is None else prepared.raw

    def decided(self, height: int) -> None:
        """Questions and tickets up to `height` need no answer any more."""
        self._executed = height
        for ticket in [item for item in self._tickets if item.height <= height]:
            del self._tickets[ticket]
        for digest, question in list(self._questions.items()):
            if all(ticket.height <= height for ticket in question.tickets):
                self._close(digest)

    def close(self) -> None:
        for digest in list(self._questions):
            self._close(digest)
        if self._build_timer is not None:
            self._build_timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _drop_offer(self, peer: NodeId) -> None:
        mine = next((key for key, value in self._offers.items() if value[0] == peer), None)
        del self._offers[mine if mine is not None else next(iter(self._offers))]

    def _ask_later(self, digest: Digest, question: _Question) -> None:
        loop = asyncio.get_running_loop()
        question.timer = loop.call_later(REQUEST_AFTER_MS / 1000, self._ask_now, digest)

    def _ask_now(self, digest: Digest) -> None:
        question = self._questions.get(digest)
        if question is None or question.preparing:
            return
        self._ask(digest, question.proposer if question.asked == 0 else None)
        question.asked += 1
        self._ask_later(digest, question)

    def _prepare(self, digest: Digest, raw: bytes) -> None:
        question = self._questions[digest]
        if question.preparing:
            return
        question.preparing = True
        if len(raw) <= INLINE_BYTES_MAX:
            self._answer_all(digest, self._prepared(raw))
            return
        task = asyncio.get_running_loop().create_task(self._prepare_now(digest, raw))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare_now(self, digest: Digest, raw: bytes) -> None:
        prepared = await self._workers.run(Lane.PAYLOADS, self._prepared, raw)
        self._answer_all(digest, prepared)

    def _prepared(self, raw: bytes) -> Prepared | None:
        try:
            return self._preparation.prepare(raw)
        except InvalidPayload:
            return None

    def _answer_all(self, digest: Digest, prepared: Prepared | None) -> None:
        question = self._close(digest)
        for ticket in question.tickets if question is not None else ():
            if prepared is not None:
                self._payloads.add(ticket.height, prepared)
            self._checked(ticket, digest, prepared)

    def _close(self, digest: Digest) -> _Question | None:
        question = self._questions.pop(digest, None)
        if question is not None and question.timer is not None:
            question.timer.cancel()
        return question
