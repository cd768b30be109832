"""Verifies what validators send, in batches, before anybody acts on it.

A batch is verified off the loop. A single vote that arrives while nothing waits is verified at
once: handing it to a thread and back costs more than the check, and delays it more.

A message yields its own claim and, recursively, those of everything it encloses. What was
verified before is remembered (bounded), so that a view change does not verify every old vote
again. Each peer has a budget of claims that wait; above it, reading from that peer pauses.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from consensus.interface import Message, Signed
from crypto import domains
from crypto.encoding import encode
from crypto.interface import Claim, Digest, NodeId, PublicKey, SignatureScheme
from node.workers import Lane, Workers

CLAIMS_PER_MESSAGE_MAX = 20_000
"""A new-view of 25 validators, each with a full window of 64 prepared heights, stays below."""

CLAIMS_PER_PEER_MAX = 4_096
"""Above, the peer is not read from until its claims are verified."""

CLAIMS_PER_BATCH = 256
CLAIMS_AT_ONCE_MAX = 2
"""So many claims hold the loop up for about as long as handing them to a worker would."""

KNOWN_MAX = 8_192

M = TypeVar("M", bound=Message)


class Unverifiable(Exception):
    """The message cannot be valid; `reason` is a short constant for the metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Job:
    peer: NodeId
    claims: Sequence[Claim]
    done: Callable[[bool], None]


class ClaimsOf(Generic[M]):
    """Finds all that has to be verified in one message of one protocol."""

    def __init__(self, protocol: str, genesis: Digest, keys: Mapping[NodeId, PublicKey]) -> None:
        self._protocol = protocol
        self._genesis = genesis
        self._keys = keys

    def claims(self, sender: NodeId, signed: Signed[M]) -> list[Claim]:
        """Claims of the message and of what it encloses. Raises `Unverifiable`."""
        found: list[Claim] = []
        stack: list[Signed[Message]] = [signed]
        while stack:
            item = stack.pop()
            slot = item.message.slot()
            if slot is None:
                if item.author != sender or item.signature or item is not signed:
                    raise Unverifiable("unsigned message of another author")
            else:
                found.append(self._claim(item, slot.phase))
            if len(found) > CLAIMS_PER_MESSAGE_MAX:
                raise Unverifiable("too many signatures in one message")
            stack.extend(item.message.enclosed())
        return found

    def _claim(self, item: Signed[Message], phase: str) -> Claim:
        key = self._keys.get(item.author)
        if key is None:
            raise Unverifiable("author is not a validator")
        domain = domains.consensus(self._protocol, phase)
        statement = domains.statement(domain, self._genesis, encode(item.message))
        return Claim(key, statement, item.signature)


class Verifier:
    """One queue for all peers; verdicts come back on the loop, per peer in order."""

    def __init__(
        self,
        scheme: SignatureScheme,
        workers: Workers,
        pause: Callable[[NodeId], None],
        resume: Callable[[NodeId], None],
        counted: Callable[[int, float], None],
    ) -> None:
        self._scheme = scheme
        self._workers = workers
        self._pause = pause
        self._resume = resume
        self._counted = counted
        self._jobs: list[_Job] = []
        self._waiting: defaultdict[NodeId, int] = defaultdict(int)
        self._paused: set[NodeId] = set()
        self._known: OrderedDict[Claim, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._busy = False

    def submit(self, peer: NodeId, claims: Sequence[Claim], done: Callable[[bool], None]) -> None:
        """Call `done` with whether all claims hold, after everything submitted before."""
        if not self._jobs and not self._busy and len(claims) <= CLAIMS_AT_ONCE_MAX:
            done(all(self._settle(claims, self._check(self._unknown(claims))).values()))
            return
        self._jobs.append(_Job(peer, claims, done))
        self._waiting[peer] += len(claims)
        if self._waiting[peer] > CLAIMS_PER_PEER_MAX and peer not in self._paused:
            self._paused.add(peer)
            self._pause(peer)
        self._wake.set()

    async def run(self) -> None:
        """The task that verifies; ends when cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._jobs:
                jobs, claims = self._next_batch()
                self._busy = True
                verdicts = await self._verify(claims)
                self._busy = False
                for job in jobs:
                    job.done(all(verdicts[claim] for claim in job.claims))
                    self._finished(job)

    def _next_batch(self) -> tuple[list[_Job], list[Claim]]:
        jobs: list[_Job] = []
        claims: list[Claim] = []
        for job in self._jobs:
            if jobs and len(claims) + len(job.claims) > CLAIMS_PER_BATCH:
                break
            jobs.append(job)
            claims.extend(job.claims)
        del self._jobs[: len(jobs)]
        return jobs, claims

    async def _verify(self, claims: Sequence[Claim]) -> dict[Claim, bool]:
        unknown = self._unknown(claims)
        results: Sequence[bool] = ()
        if unknown:
            results = await self._workers.run(Lane.VOTES, self._check, unknown)
        return self._settle(claims, results)

    def _unknown(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those that were not verified before, each once."""
        return [claim for claim in dict.fromkeys(claims) if claim not in self._known]

    def _settle(self, claims: Sequence[Claim], results: Sequence[bool]) -> dict[Claim, bool]:
        """The verdict on each claim, given those on the unknown ones."""
        verdicts = dict.fromkeys(claims, True)
        for claim, valid in zip(self._unknown(claims), results, strict=True):
            verdicts[claim] = valid
        for claim, valid in verdicts.items():
            if valid:
                self._known[claim] = None
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return verdicts

    def _check(self, claims: Sequence[Claim]) -> Sequence[bool]:
        if not claims:
            return ()
        began = time.perf_counter()
        results = self._scheme.verify_batch(claims)
        self._counted(len(claims), time.perf_counter() - began)
        return results

    def _finished(self, job: _Job) -> None:
        self._waiting[job.peer] -= len(job.claims)
        if not self._waiting[job.peer]:
            del self._waiting[job.peer]
        low = self._waiting.get(job.peer, 0) < CLAIMS_PER_PEER_MAX // 2
        if low and job.peer in self._paused:
            self._paused.discard(job.peer)
            self._resume(job.peer)
