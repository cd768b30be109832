"""Hosts a consensus protocol: feeds it inputs and carries out its outputs, in order.

The duties are numbered in `consensus.interface`. Outputs wait in one queue; all that have to be
durable or signed among those that wait are done by one call to the signer, with one fsync, before
any effect of the group leaves. Decisions are executed by a task of their own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from consensus.interface import (
    Accuse,
    CancelTimer,
    CaughtUp,
    CheckPayload,
    ConsensusProtocol,
    Decide,
    Executed,
    Height,
    Ignore,
    Input,
    Message,
    NeedSync,
    Output,
    Overdue,
    PayloadChecked,
    PayloadReady,
    PeerConnected,
    Pending,
    Persist,
    Progress,
    Received,
    Relay,
    RequestPayload,
    Send,
    SetTimer,
    Signed,
    Started,
    Ticket,
    TimerFired,
)
from crypto.certificate import Attestation
from crypto.interface import Digest, NodeId
from node.chain import Chain
from node.executor import ExecutedBlock
from node.payloads import Payloads, Prepared
from node.proposals import Proposals
from node.signer import Attest, Forget, Job, Keep, Remember, Result, Sign, Signer
from node.workers import Lane, Workers

GROUP_MAX = 512
"""Outputs carried out with one fsync at most."""

M = TypeVar("M", bound=Message)
M_contra = TypeVar("M_contra", bound=Message, contravariant=True)

Effect: TypeAlias = Output[M] | Keep | Forget | Attest


class Outside(Protocol[M_contra]):
    """What the host needs from the rest of the node. Nothing in it blocks or raises."""

    def send(self, to: NodeId, signed: Signed[M_contra]) -> None: ...

    def broadcast(self, signed: Signed[M_contra]) -> None: ...

    def attested(self, attestation: Attestation) -> None: ...

    def executed(self, block: ExecutedBlock) -> None: ...

    def ignored(self, sender: NodeId, reason: str) -> None: ...

    def accused(self, accusation: Accuse[M_contra]) -> None: ...

    def need_sync(self, height: int) -> None: ...


class Host(Generic[M]):
    """Belongs to the event loop. `run` is its task; `step` may be called before it starts."""

    def __init__(
        self,
        protocol: ConsensusProtocol[M],
        me: NodeId,
        signer: Signer,
        chain: Chain,
        payloads: Payloads,
        proposals: Proposals,
        workers: Workers,
        outside: Outside[M],
    ) -> None:
        self._protocol = protocol
        self._me = me
        self._signer = signer
        self._chain = chain
        self._payloads = payloads
        self._proposals = proposals
        self._workers = workers
        self._outside = outside
        self._queue: deque[Effect[M]] = deque()
        self._wake = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._decisions: dict[int, Decide] = {}
        self._decided = asyncio.Event()
        self._started = False
        self._pending = False

    @property
    def started(self) -> bool:
        return self._started

    def progress(self) -> Progress:
        return self._protocol.progress()

    # --- Inputs. ---

    def start(self, uncertified: Sequence[tuple[int, Digest]]) -> None:
        """Give the protocol its first input; attest again what has no certificate yet."""
        self._started = True
        self._queue.append(Forget(self._chain.executed))
        self._queue.extend(Attest(height, digest) for height, digest in uncertified)
        self._step(
            Started(self._signer.remembered(), Height(self._chain.executed), self._chain.header)
        )
        if self._pending:
            self._step(Pending(True))

    def received(self, sender: NodeId, signed: Signed[M]) -> None:
        """A verified message."""
        self._step(Received(sender, signed))

    def connected(self, peer: NodeId) -> None:
        self._step(PeerConnected(peer))

    def pending(self, exists: bool) -> None:
        """Whether transactions wait; passed on when the answer changed."""
        if exists != self._pending:
            self._pending = exists
            self._step(Pending(exists))

    def overdue(self, requests: int) -> None:
        self._step(Overdue(requests))

    def ready(self, ticket: Ticket, prepared: Prepared | None) -> None:
        """A payload of ours can be proposed: its bytes become durable before the proposal."""
        if prepared is None:
            self._step(PayloadReady(ticket, None))
            return
        self._queue.append(Keep(ticket.height, prepared.digest, prepared.raw))
        self._step(PayloadReady(ticket, prepared.digest))

    def checked(self, ticket: Ticket, digest: Digest, prepared: Prepared | None) -> None:
        """A payload was checked; if it is valid, its bytes become durable before the vote."""
        if prepared is not None:
            self._queue.append(Keep(ticket.height, digest, prepared.raw))
        self._step(PayloadChecked(ticket, digest, prepared is not None))

    def caught_up(self, height: int, header: Digest) -> None:
        """Blocks up to `height` came from peers."""
        for old in [item for item in self._decisions if item <= height]:
            del self._decisions[old]
        self._queue.append(Forget(height))
        self._step(CaughtUp(Height(height), header))
        self._decided.set()

    def _step(self, event: Input[M]) -> None:
        if not self._started:
            return
        for output in self._protocol.step(event):
            # Why at once: a timer must not fire after the protocol has cancelled it (duty 5),
            # and timers do not leave this node.
            match output:
                case SetTimer(name=name, delay_ms=delay_ms):
                    self._set_timer(name, delay_ms)
                case CancelTimer(name=name):
                    self._cancel_timer(name)
                case _:
                    self._queue.append(output)
        self._wake.set()

    # --- Outputs. ---

    async def run(self) -> None:
        """Carry out outputs and execute decisions until cancelled; raises what is fatal."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry_out())
            tasks.create_task(self._execute())

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    async def _carry_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_MAX))]
                results = iter(await self._durable([job for job in map(_job, group) if job]))
                for effect in group:
                    self._do(effect, next(results) if _job(effect) else None)

    async def _durable(self, jobs: Sequence[Job[M]]) -> Sequence[Result[M]]:
        if not jobs:
            return ()
        return await self._workers.run(Lane.JOURNAL, self._signer.carry_out, jobs)

    def _do(self, effect: Effect[M], result: Result[M]) -> None:
        match effect:
            case Send(to=to):
                if isinstance(result, Signed):
                    self._deliver(result, to)
            case Relay(signed=signed, to=to):
                self._outside.send(to, signed)
            case Attest():
                if isinstance(result, Attestation):
                    self._outside.attested(result)
            case RequestPayload(ticket=ticket, at_once=at_once):
                self._proposals.request(ticket, at_once=at_once)
            case CheckPayload(ticket=ticket, payload=payload, proposer=proposer):
                self._proposals.check(ticket, payload, proposer)
            case Decide(height=height):
                if height > self._chain.executed:
                    self._decisions[height] = effect
                    self._decided.set()
            case Accuse():
                self._outside.accused(effect)
            case Ignore(sender=sender, reason=reason):
                self._outside.ignored(sender, reason)
            case NeedSync(height=height):
                self._outside.need_sync(height)
            case Persist() | Keep() | Forget() | SetTimer() | CancelTimer():
                pass

    def _deliver(self, signed: Signed[M], to: NodeId | None) -> None:
        if to is None:
            self._outside.broadcast(signed)
            self._step(Received(self._me, signed))
        elif to == self._me:
            self._step(Received(self._me, signed))
        else:
            self._outside.send(to, signed)

    def _set_timer(self, name: str, delay_ms: int) -> None:
        self._cancel_timer(name)
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(delay_ms / 1000, self._fire, name)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _fire(self, name: str) -> None:
        del self._timers[name]
        self._step(TimerFired(name))

    # --- Decisions. ---

    async def _execute(self) -> None:
        while True:
            await self._decided.wait()
            self._decided.clear()
            while (decision := self._decisions.pop(self._chain.executed + 1, None)) is not None:
                await self._execute_one(decision)

    async def _execute_one(self, decision: Decide) -> None:
        prepared = [self._payloads.get(digest) for digest in decision.payloads]
        payloads = [item for item in prepared if item is not None]
        if len(payloads) < len(prepared):
            # Why: bytes can be gone after a restart with a smaller memory; peers have the block.
            self._outside.need_sync(decision.height)
            return
        block = await self._chain.execute(decision.height, payloads)
        if block is None:
            return
        self._queue.append(Attest(decision.height, block.digest))
        self._queue.append(Forget(decision.height))
        self._payloads.executed(decision.height)
        self._outside.executed(block)
        self._step(Executed(decision.height, block.digest))


def _job(effect: Effect[M]) -> Job[M] | None:
    match effect:
        case Send(message=message):
            return Sign(message)
        case Persist(changes=changes):
            return Remember(changes)
        case Keep() | Forget() | Attest():
            return effect
        case _:
            return None
