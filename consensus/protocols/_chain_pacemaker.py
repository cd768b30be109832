"""The pacemaker: which view this is, when to give it up, what to say again (C7, C8, C13 to C18).

It moves by certificates alone: of votes, or of timeouts. It decides nothing and proposes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.interface import CancelTimer, Output, Send, SetTimer
from consensus.protocols._chain_ballots import Ballots
from consensus.protocols._chain_log import Memory
from consensus.protocols._chain_messages import (
    ChainMessage,
    QuorumCertificate,
    Rules,
    Status,
    Timeout,
    TimeoutCertificate,
)
from crypto.interface import Digest, NodeId

HEIGHTS_AHEAD_MAX = 256
"""No payload is checked so far above what is executed here."""

ANSWERS_MAX = 16
"""So many questions of a peer are answered in one resend interval."""

VIEW_TIMER: Final = "view"
RESEND: Final = "resend"
CALM: Final = "calm"


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """Agreed in the genesis file, though none has to be the same everywhere."""

    view_timeout_ms: int = 1_000
    """Without a certificate for so long, a replica gives the view up. Doubles with each one."""
    view_timeout_ms_max: int = 60_000
    window: int = 16
    """Proposed payloads that a leader leaves undecided or not executed before it adds another."""
    resend_ms: int = 500
    """How often a replica that waits tells the others what it has."""

    def __post_init__(self) -> None:
        if not 1 <= self.view_timeout_ms <= self.view_timeout_ms_max:
            raise ValueError("view_timeout_ms must be from 1 to view_timeout_ms_max")
        if not 1 <= self.window <= HEIGHTS_AHEAD_MAX // 2:
            raise ValueError(f"window must be from 1 to {HEIGHTS_AHEAD_MAX // 2}")
        if self.resend_ms < 1:
            raise ValueError("resend_ms must be at least 1")


class Pacemaker:
    """Belongs to one replica; its outputs go to `emit`."""

    def __init__(
        self, rules: Rules, options: ChainOptions, emit: Callable[[Output[ChainMessage]], None]
    ) -> None:
        self._rules = rules
        self._options = options
        self._emit = emit
        self.memory = Memory({})
        self.ballots = Ballots(rules.committee, emit)
        self.view = 1
        self.timeout_ms = options.view_timeout_ms
        self._timers: set[str] = set()
        self._answered: dict[NodeId, int] = {}
        self._fetched: set[Digest] = set()

    def start(self, memory: Memory) -> None:
        """C15, C16: in the view that it was in, with the same words."""
        self.memory = memory
        self.view = memory.view
        self.ballots.enter(self.view)
        self._emit(Send(self.status(asks=True)))
        self.repeat(None)

    # --- Certificates end views. ---

    def learn(self, certificate: QuorumCertificate) -> None:
        """C7: the highest is kept."""
        if certificate.view > self.memory.high.view:
            self.memory.high = certificate
            self._enter()

    def learn_timeouts(self, certificate: TimeoutCertificate | None) -> None:
        """C8: if the certificates that its authors claim are here."""
        known = self.memory.gave_up
        if certificate is None or certificate.certified() > self.memory.high.view:
            return
        if known is None or certificate.view > known.view:
            self.memory.gave_up = certificate
            if certificate.view >= self.view:
                self.timeout_ms = min(self.timeout_ms * 2, self._options.view_timeout_ms_max)
            self._enter()

    def _enter(self) -> None:
        if self.memory.view > self.view:
            self.view = self.memory.view
            self.ballots.enter(self.view)
            self._cancel(VIEW_TIMER)
            self._cancel(RESEND)

    def progressed(self) -> None:
        """C14: something was executed."""
        self.timeout_ms = self._options.view_timeout_ms

    # --- Giving a view up. ---

    @property
    def gave_up(self) -> bool:
        timeout = self.memory.timeout
        return timeout is not None and timeout.view == self.view

    def give_up(self) -> None:
        """C8: no vote in this view any more; say which certificate is the highest here."""
        if self.gave_up:
            return
        self._cancel(VIEW_TIMER)
        self.memory.timeout = Timeout(self.view, self.memory.high.view)
        self._emit(self.memory.flush())
        self._emit(Send(self.status(asks=False)))
        self.repeat(None)

    def count_timeouts(self) -> None:
        """C8: f + 1 are joined, a quorum ends the view."""
        if len(self.ballots.timed_out()) >= self._rules.committee.one_correct:
            self.give_up()
        self.learn_timeouts(self.ballots.timeout_certificate(self.memory.high.view))

    # --- Saying it again. ---

    def status(self, *, asks: bool) -> Status:
        high, gave_up = self.memory.high, self.memory.gave_up
        newer = gave_up is not None and gave_up.view > high.view
        return Status(high, gave_up if newer else None, asks)

    def repeat(self, to: NodeId | None) -> None:
        """C16: what was said in this view, in the same words."""
        voted, timeout = self.memory.voted, self.memory.timeout
        collector = self._rules.leader(self.view + 1)
        if voted is not None and voted.view == self.view:
            if self.gave_up:
                # C9: the next leader may be the one that is silent.
                self._emit(Send(voted, to))
            elif to in {None, collector}:
                self._emit(Send(voted, collector))
        if timeout is not None and timeout.view == self.view:
            self._emit(Send(timeout, to))

    def may_answer(self, peer: NodeId) -> bool:
        """C18: each peer so often in one interval."""
        self._start(CALM, self._options.resend_ms)
        self._answered[peer] = self._answered.get(peer, 0) + 1
        return self._answered[peer] <= ANSWERS_MAX

    def may_fetch(self, name: Digest) -> bool:
        """C17: each node once in one interval."""
        self._start(CALM, self._options.resend_ms)
        known = name in self._fetched
        self._fetched.add(name)
        return not known

    def waiting_for(self, me: NodeId, proposed: Digest | None) -> tuple[NodeId, ...]:
        """Whose word would end this view, as far as can be told from here."""
        collector = self._rules.leader(self.view + 1)
        if self.gave_up:
            heard = self.ballots.timed_out()
        elif proposed is None:
            return (self._rules.leader(self.view),)
        elif collector != me:
            return (collector,)
        else:
            heard = self.ballots.voters(self.view, proposed)
        return tuple(name for name in self._rules.committee.members if name not in heard)

    # --- Timers. ---

    def fired(self, name: str) -> None:
        self._timers.discard(name)
        if name == VIEW_TIMER:
            self.give_up()
            return
        self._answered.clear()
        self._fetched.clear()
        if name == RESEND:
            self._emit(Send(self.status(asks=True)))
            if self.gave_up:
                self.repeat(None)

    def set_timers(self, *, waits: bool) -> None:
        """C13: none but `calm` runs while nothing waits."""
        if not waits:
            self._cancel(VIEW_TIMER)
            self._cancel(RESEND)
            return
        self._start(RESEND, self._options.resend_ms)
        if not self.gave_up:
            self._start(VIEW_TIMER, self.timeout_ms)

    def _start(self, name: str, delay_ms: int) -> None:
        if name not in self._timers:
            self._timers.add(name)
            self._emit(SetTimer(name, delay_ms))

    def _cancel(self, name: str) -> None:
        if name in self._timers:
            self._timers.discard(name)
            self._emit(CancelTimer(name))
