"""Raft: one leader for each term, who writes the others' logs. For members that crash, not lie.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", ATC 2014. The
index of the log is the height. The rules R1 to R15, and where they depart from the paper, are in
docs/specs/raft.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.interface import (
    NUMBER_MAX,
    Accountability,
    CancelTimer,
    CaughtUp,
    CheckPayload,
    CommitteeChanged,
    ConsensusClaims,
    ConsensusProtocol,
    Decide,
    Executed,
    Height,
    Ignore,
    Input,
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
    RequestPayload,
    Send,
    SetTimer,
    Setup,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.protocols._raft_log import Log
from consensus.protocols._raft_messages import (
    ENTRIES_MAX,
    NOTHING,
    Ack,
    Append,
    Entry,
    Message,
    RequestVote,
    Status,
    Vote,
)
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

__all__ = ["CLAIMS", "Message", "Options", "create"]

CLAIMS = ConsensusClaims(
    source="Ongaro and Ousterhout, ATC 2014",
    fault_model=FaultModel.CRASH,
    timing_model="partially synchronous; safe only while nobody lies",
    messages="O(n)",
    delays=3,
    responsive=True,
    accountable=Accountability.NONE,
)

AHEAD_MAX = 64
"""Entries further above the executed height are not taken: blocks are fetched first."""

GOOD_MAX = 4 * AHEAD_MAX
"""Payloads known to be here."""

_ELECTION = "election"
_HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Options:
    """Local, though in the genesis file."""

    election_ms: int = 500
    """A follower that hears nothing for so long asks the leader, and once more, then stands."""
    stagger_ms: int = 100
    """So much later for each rank, so that two seldom stand at once."""
    election_max_ms: int = 30_000
    heartbeat_ms: int = 150
    pipeline: int = 4
    """Heights in flight."""

    def __post_init__(self) -> None:
        if min(self.election_ms, self.stagger_ms, self.heartbeat_ms) < 1:
            raise ValueError("election_ms, stagger_ms and heartbeat_ms must be at least 1")
        if self.heartbeat_ms >= self.election_ms:
            raise ValueError("heartbeat_ms must be below election_ms, or leaders are deposed")
        if self.election_max_ms < self.election_ms:
            raise ValueError("election_max_ms must be at least election_ms")
        if not 1 <= self.pipeline <= ENTRIES_MAX:
            raise ValueError(f"pipeline must be from 1 to {ENTRIES_MAX}")


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The member `setup.me`. The leader rule of the network is not asked: members elect."""
    return _Raft(setup, options)


class _Raft:
    """`step` decides what an input means; each `_on_...` appends to `_out`."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._me = setup.me
        self._committee = setup.committee
        self._others = [name for name in setup.committee.members if name != setup.me]
        self._options = options
        self._out: list[Output[Message]] = []
        self._log = Log({}, 0)
        self._leader: NodeId | None = None
        self._votes: set[NodeId] | None = None
        """Who voted for us, while we stand."""
        self._acked: dict[NodeId, int] = {}
        """The paper's matchIndex, ourselves included; of a leader."""
        self._next: dict[NodeId, int] = {}
        self._requested: Ticket | None = None
        self._matched = 0
        """Up to here our log is the leader's, in this term."""
        self._coming: dict[int, Entry] = {}
        """Of this term's leader, above `_matched`; their payloads are being checked."""
        self._good: dict[Digest, None] = {}
        self._asked: set[Digest] = set()
        self._decided = 0
        """The paper's commitIndex."""
        self._said = 0
        """The last `Decide`."""
        self._pending = False
        self._failed = 0
        """Elections since something was decided: each doubles the next timeout (R13)."""
        self._probing = False
        self._rested = False
        """The election timer begins anew."""
        self._timer: str | None = None

    def step(self, event: Input[Message]) -> Sequence[Output[Message]]:
        match event:
            case Started():
                self._on_started(event)
            case PayloadReady(ticket=ticket, payload=payload):
                self._on_payload(ticket, payload)
            case PayloadChecked(payload=payload, valid=valid):
                self._on_checked(payload, valid=valid)
            case Received(sender=sender, signed=signed):
                self._on_message(sender, signed.message)
            case TimerFired():
                self._on_timer()
            case Pending(exists=exists):
                self._pending = exists
            case Executed(height=height):
                self._on_executed(height)
            case CaughtUp(height=height):
                if height > self._executed:
                    self._forget(height)
                    self._on_executed(height)
            case PeerConnected(peer=peer):
                self._on_connected(peer)
            case CommitteeChanged():
                raise AssertionError("the committee is that of the genesis file")
            case Overdue():
                pass  # R15: leaders do not censor.
        self._decide()
        self._propose()
        self._set_timer()
        out, self._out = self._out, []
        return out

    def progress(self) -> Progress:
        waiting: list[NodeId] = []
        if self._busy():
            if self._votes is not None:
                waiting = [name for name in self._others if name not in self._votes]
            elif self._leads:
                last = self._log.last.index
                waiting = [name for name in self._others if self._acked.get(name, 0) < last]
            elif self._leader is not None:
                waiting = [self._leader]
        phase = "normal" if self._leader is not None else "election"
        term = View(self._log.current.term)
        return Progress(term, self._leader, phase, tuple(waiting), self._timeout_ms())

    @property
    def _leads(self) -> bool:
        return self._leader == self._me

    @property
    def _executed(self) -> int:
        return self._log.executed

    # --- Starting, and the terms (R1 to R5). ---

    def _on_started(self, event: Started) -> None:
        self._log = Log(event.remembered, event.executed)
        self._decided = max(event.executed, self._log.decided)
        self._said = self._matched = event.executed
        if event.executed > self._log.decided:
            self._forget(event.executed)
        if self._log.blank:
            first = self._committee.members[0]
            self._leader = first
            if self._me == first:
                # R1: remembered, so that it leads term 0 in its first run only.
                self._out.append(Persist(self._log.enter(0, self._me)))
                self._lead()

    def _enter(self, term: int, voted: str) -> None:
        """R2: a new term, or our vote in this one; durable before anything that follows."""
        if term > self._log.current.term:
            self._leader = None
            self._votes = None
            self._coming.clear()
            self._matched = self._executed
            self._requested = None
        self._out.append(Persist(self._log.enter(term, voted)))

    def _stand(self) -> None:
        """R3. Its own vote comes back behind the `Persist`."""
        term = self._log.current.term + 1
        if term > NUMBER_MAX:
            return
        self._enter(term, self._me)
        self._votes = set()
        self._failed += 1
        last = self._log.last
        self._out += [Send(RequestVote(term, last), name) for name in self._others]
        self._out.append(Send(Vote(term, True, self._executed), self._me))

    def _on_request(self, sender: NodeId, request: RequestVote) -> None:
        term = self._log.current.term
        if request.term > term:
            self._enter(term := request.term, "")
        mine = self._log.last
        # R5: and nobody who lacks what was executed here.
        complete = (request.last.term, request.last.index) >= (mine.term, mine.index)
        granted = (
            request.term == term
            and self._log.current.voted in ("", sender)
            and complete
            and request.last.index >= self._executed
        )
        if granted and not self._log.current.voted:
            self._out.append(Persist(self._log.enter(term, sender)))
        self._out.append(Send(Vote(term, granted, self._executed), sender))

    def _on_vote(self, sender: NodeId, vote: Vote) -> None:
        if vote.executed > self._log.last.index:
            self._out.append(NeedSync(Height(vote.executed)))
        if self._votes is None or not vote.granted:
            return
        self._votes.add(sender)
        if len(self._votes) >= self._committee.quorum:
            self._lead()
            # R6: entries of older terms are counted only below one of our own.
            self._append(NOTHING)

    def _lead(self) -> None:
        self._votes = None
        self._leader = self._me
        self._probing = False
        last = self._log.last.index
        self._matched = last
        self._acked = {}
        self._next = dict.fromkeys(self._others, last + 1)
        self._requested = None

    # --- The leader (R6 to R10). ---

    def _propose(self) -> None:
        """R7: up to `pipeline` heights in flight."""
        height = self._log.last.index + 1
        if not self._leads or self._requested is not None:
            return
        if height - 1 - self._executed >= self._options.pipeline:
            return
        parents = tuple(self._log.undecided(self._executed))
        self._requested = Ticket(Height(height), View(self._log.current.term), parents)
        self._out.append(RequestPayload(self._requested))

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket != self._requested or payload is None:
            return
        self._requested = None
        self._learn(payload)
        self._append(payload)

    def _append(self, payload: Digest) -> None:
        """R8: the others write while we do; our own acknowledgement is behind our `Persist`."""
        term, height = self._log.current.term, self._log.last.index + 1
        changes = self._log.put(height, (Entry(term, payload),))
        self._matched = height
        for name in self._others:
            self._tell(name)
        self._out += [Persist(changes), Send(Ack(term, height), self._me)]

    def _tell(self, name: NodeId) -> None:
        """What `name` lacks of the log, as far as we know; at least that we lead."""
        base = self._log.base
        first = max(self._next[name], base + 1)
        entries = self._log.after(first - 1, ENTRIES_MAX)
        self._next[name] = first + len(entries)
        previous = self._log.position(first - 1)
        term = self._log.current.term
        self._out.append(Send(Append(term, previous, entries, self._decided, base), name))

    def _on_ack(self, sender: NodeId, ack: Ack) -> None:
        if not self._leads or ack.index > self._log.last.index:
            return
        self._acked[sender] = max(ack.index, self._acked.get(sender, 0))
        self._next[sender] = max(self._next.get(sender, 0), ack.index + 1)
        counts = sorted(
            (self._acked.get(name, 0) for name in self._committee.members), reverse=True
        )
        agreed = counts[self._committee.quorum - 1]
        if agreed > self._decided and self._counts(agreed):
            self._decided = agreed
            for name in self._others:
                self._tell(name)
        elif sender != self._me and self._next[sender] <= self._log.last.index:
            self._tell(sender)

    def _counts(self, index: int) -> bool:
        """R9: entries of older terms are not decided by counting who holds them."""
        entry = self._log.get(index)
        return entry is not None and entry.term == self._log.current.term

    def _on_status(self, sender: NodeId, status: Status) -> None:
        """R10: it lacks what follows `index`."""
        if self._leads and sender in self._next:
            self._next[sender] = min(status.index, self._log.last.index) + 1
            self._tell(sender)

    # --- The follower (R10 to R12). ---

    def _on_append(self, sender: NodeId, append: Append) -> None:
        if append.term < self._log.current.term:
            self._out.append(Send(Status(self._log.current.term, self._executed), sender))
            return
        if self._leads or self._leader not in (None, sender):
            self._out.append(Ignore(sender, "second leader of a term"))
            return
        self._leader, self._votes = sender, None
        self._rest()
        if append.base > self._executed:
            self._out.append(NeedSync(Height(append.base)))
            return
        previous = append.previous
        if previous.index > self._executed and not self._log.holds(previous):
            self._out.append(Send(Status(append.term, self._executed), sender))
            return
        self._matched = max(self._matched, previous.index, self._executed)
        end = previous.index + len(append.entries)
        if end > self._executed + AHEAD_MAX:
            self._out.append(Ignore(sender, "entries too far ahead"))
            self._out.append(NeedSync(Height(previous.index)))
            return
        for index, entry in enumerate(append.entries, previous.index + 1):
            if index == self._matched + 1 and self._log.get(index) == entry:
                self._matched = index
            elif index > self._matched:
                self._coming[index] = entry
        self._take()
        if append.entries and self._matched >= end:
            self._out.append(Send(Ack(append.term, self._matched), sender))
        self._decided = max(self._decided, min(append.decided, self._matched))

    def _take(self) -> None:
        """R11: entries are held, and acknowledged, once their payloads are here."""
        first = self._matched + 1
        taken: list[Entry] = []
        while (entry := self._coming.get(first + len(taken))) and self._here(entry.payload):
            taken.append(entry)
        self._coming = {
            index: entry for index, entry in self._coming.items() if index >= first + len(taken)
        }
        if taken:
            self._matched += len(taken)
            self._out.append(Persist(self._log.put(first, tuple(taken))))
        for index, entry in self._coming.items():
            self._check(index, entry)

    def _check(self, index: int, entry: Entry) -> None:
        if entry.payload not in self._asked and not self._here(entry.payload):
            self._asked.add(entry.payload)
            proposer = self._leader or self._me
            ticket = Ticket(Height(index), View(entry.term))
            self._out.append(CheckPayload(ticket, entry.payload, proposer))

    def _here(self, payload: Digest) -> bool:
        return payload == NOTHING or payload in self._good

    def _learn(self, payload: Digest) -> None:
        self._good[payload] = None
        while len(self._good) > GOOD_MAX:
            del self._good[next(iter(self._good))]

    def _on_checked(self, payload: Digest, *, valid: bool) -> None:
        self._asked.discard(payload)
        if not valid:
            return
        self._learn(payload)
        if self._coming and self._leader is not None:
            before = self._matched
            self._take()
            if self._matched > before:
                self._out.append(Send(Ack(self._log.current.term, self._matched), self._leader))

    # --- Messages of any term. ---

    def _on_message(self, sender: NodeId, message: Message) -> None:
        if sender not in self._committee.members:
            self._out.append(Ignore(sender, "not a member"))
            return
        if message.term > self._log.current.term and not isinstance(message, RequestVote):
            self._enter(message.term, "")
        match message:
            case Append():
                self._on_append(sender, message)
            case RequestVote():
                self._on_request(sender, message)
            case Ack() | Status() | Vote() if message.term < self._log.current.term:
                self._out.append(Ignore(sender, "old term"))
            case Ack():
                self._on_ack(sender, message)
            case Status():
                self._on_status(sender, message)
            case Vote():
                self._on_vote(sender, message)

    def _on_connected(self, peer: NodeId) -> None:
        """What was on its way is lost: begin again behind what is known to be there."""
        if peer not in self._others:
            return
        if self._leads:
            self._next[peer] = self._acked.get(peer, self._decided) + 1
            self._tell(peer)
        else:
            self._out.append(Send(Status(self._log.current.term, self._executed), peer))

    # --- Deciding (R12). ---

    def _decide(self) -> None:
        decisions: list[Output[Message]] = []
        while self._said < self._decided:
            entry = self._log.get(self._said + 1)
            if entry is None:
                self._out.append(NeedSync(Height(self._decided)))
                break
            if not self._here(entry.payload):
                self._check(self._said + 1, entry)
                break
            self._said += 1
            payloads = () if entry.payload == NOTHING else (entry.payload,)
            decisions.append(Decide(Height(self._said), View(entry.term), payloads))
        if decisions:
            self._out += [Persist(self._log.decide(self._said)), *decisions]

    def _forget(self, height: int) -> None:
        """R12: what peers fetched decided may have overtaken what stands in the log."""
        changes = self._log.skip(height)
        if changes:
            self._out.append(Persist(changes))
        if self._leads and self._log.last.index == height:
            self._leader = None
            self._requested = None

    def _on_executed(self, height: int) -> None:
        self._log.executed = max(self._log.executed, height)
        self._decided = max(self._decided, height)
        self._said = max(self._said, height)
        self._matched = max(self._matched, height)
        self._coming = {index: entry for index, entry in self._coming.items() if index > height}
        self._failed = 0
        self._rest()

    # --- Timers (R13, R14). ---

    def _busy(self) -> bool:
        undecided = self._log.last.index > self._executed or bool(self._coming)
        return self._pending or undecided or self._executed == 0

    def _timeout_ms(self) -> int:
        """R13: staggered by rank, so that two seldom stand at once; doubled by each failure."""
        options, members = self._options, self._committee.members
        rank = (members.index(self._me) + self._log.current.term) % len(members)
        base = min(options.election_ms << min(self._failed, 16), options.election_max_ms)
        return base + rank * options.stagger_ms

    def _rest(self) -> None:
        """We heard of the leader, or moved on: the time begins anew."""
        self._probing = False
        self._rested = True

    def _set_timer(self) -> None:
        wanted = None
        if self._busy():
            wanted = _HEARTBEAT if self._leads else _ELECTION
        again, self._rested = self._rested and wanted == _ELECTION, False
        if wanted == self._timer and not again:
            return
        if self._timer is not None or wanted is None:
            for name in (_ELECTION, _HEARTBEAT):
                if name != wanted:
                    self._out.append(CancelTimer(name))
        if wanted is not None:
            delay = self._options.heartbeat_ms if wanted == _HEARTBEAT else self._timeout_ms()
            self._out.append(SetTimer(wanted, delay))
        self._timer = wanted

    def _on_timer(self) -> None:
        self._timer = None
        if not self._busy():
            return
        if self._leads:
            for name in self._others:
                self._next[name] = self._acked.get(name, self._decided) + 1
                self._tell(name)
        elif self._leader is not None and not self._probing:
            # R14: it may only have had nothing to say.
            self._probing = True
            self._out.append(Send(Status(self._log.current.term, self._executed), self._leader))
        else:
            self._probing = False
            self._stand()
