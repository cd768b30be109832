"""PBFT: practical Byzantine fault tolerance, with signatures.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999, and "Practical
Byzantine Fault Tolerance and Proactive Recovery", ACM TOCS 20(4), 2002. The rules P1 to P24 are
those of docs/specs/pbft.md, with the section of the paper for each, and what differs and why.

Orders payload digests: one decision for each height. A replica counts its own votes when the host
delivers them back to it, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.interface import (
    Accountability,
    Accuse,
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
    Relay,
    RequestPayload,
    Send,
    SetTimer,
    Setup,
    Signed,
    Slot,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.protocols import _pbft_log as log
from consensus.protocols._pbft_common import check_limits, committed_by, forget_votes
from consensus.protocols._pbft_messages import (
    NULL,
    Checkpoint,
    Commit,
    Invalid,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Rules,
    Status,
    ViewChange,
    assignments,
)
from consensus.votes import Votes
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="Castro and Liskov, OSDI 1999; TOCS 2002",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n^2)",
    delays=3,
    responsive=True,
    accountable=Accountability.ONE_VIEW,
)

VIEWS_AHEAD_MAX = 2
"""Votes of views further ahead are not kept (faults: future-round flood)."""

RELAY_HEIGHTS_MAX = 8
"""A status is answered with what is lacking for so many heights at most."""

_VIEW_TIMER = "view"
_RESEND = "resend"
_CALM = "calm"
_GRACE = "grace"


@dataclass(frozen=True, slots=True)
class Options:
    """Agreed in the genesis file, though only `window` has to be the same everywhere."""

    view_timeout_ms: int = 1_000
    """Without progress for so long, a backup leaves the view. Doubles with each failed view."""
    view_timeout_ms_max: int = 60_000
    window: int = 64
    """Heights above the low watermark that may be in flight (the paper's k)."""
    pipeline: int = 4
    """Undecided proposals that a primary keeps in flight."""
    checkpoint_interval: int = 16
    resend_ms: int = 500
    """How often a replica that waits tells the others what it has."""

    def __post_init__(self) -> None:
        check_limits(self)


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return _Pbft(setup, options)


class _Pbft:
    """`step` decides what an input means; each `_on_...` appends to `_out`."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._me = setup.me
        self._committee = setup.committee
        self._rules = Rules(setup.committee, setup.leader)
        self._options = options
        self._out: list[Output[Message]] = []
        self._view = 0
        self._changing = False
        self._executed = 0
        self._low = 0
        self._stable = log.Stable(0, ())
        self._entries: dict[int, log.Entry] = {}
        self._votes: Votes[Message] = Votes()
        self._changes: dict[NodeId, Signed[ViewChange]] = {}
        self._new_view: Signed[NewView] | None = None
        self._assignments: dict[int, Digest] = {}
        self._proposed = 0
        self._requested: Ticket | None = None
        self._pending = False
        self._timeout_ms = options.view_timeout_ms
        self._timers: set[str] = set()
        self._answered: set[NodeId] = set()
        self._accused: set[tuple[NodeId, Slot]] = set()
        self._decided = 0
        self._excused = 0

    def step(self, event: Input[Message]) -> Sequence[Output[Message]]:
        match event:
            case Started():
                self._on_started(event)
            case PayloadReady(ticket=ticket, payload=payload):
                self._on_payload(ticket, payload)
            case PayloadChecked(ticket=ticket, payload=payload, valid=valid):
                self._on_checked(ticket, payload, valid)
            case Received(sender=sender, signed=signed):
                self._on_message(sender, signed)
            case TimerFired(name=name):
                self._on_timer(name)
            case Pending(exists=exists):
                self._pending = exists
            case Overdue():
                self._on_overdue()
            case Executed(height=height, header=header):
                self._on_executed(height, header)
            case CaughtUp(height=height, header=header):
                self._on_caught_up(height, header)
            case CommitteeChanged():
                raise AssertionError("PBFT's committee is that of the genesis file")
            case PeerConnected(peer=peer):
                self._out.append(Send(self._status(), peer))
        self._set_timers()
        out, self._out = self._out, []
        return out

    def progress(self) -> Progress:
        return Progress(
            View(self._view),
            self._rules.primary(self._view),
            "view-change" if self._changing else "normal",
            tuple(self._waiting_for()),
            self._timeout_ms,
        )

    # --- Start and restart. ---

    def _on_started(self, event: Started) -> None:
        memory = log.recall(event.remembered)
        self._executed = self._low = self._decided = event.executed
        self._view, self._changing = memory.current.view, memory.current.changing
        self._stable, self._new_view = memory.stable, memory.new_view
        for height, prepared in memory.prepared.items():
            self._entry(height).prepared = prepared
        if self._new_view is not None and self._new_view.message.view == self._view:
            self._assign(self._new_view.message)
        # P22: without them the watermarks might never move again.
        self._out.extend(Send(message) for message in memory.checkpoints.values())
        self._checkpoint(event.executed, event.header)
        if self._changing:
            assert memory.change is not None
            # P12: the same words again; the signer gives the same signature.
            self._out.append(Send(memory.change))
        else:
            self._repeat(memory)
        self._out.append(Send(self._status()))
        self._propose()

    def _repeat(self, memory: log.Memory) -> None:
        """P22: vote again for what was voted for in this view; a primary proposes it again."""
        for height, signed in memory.assigned.items():
            if signed.message.view == self._view and height > self._executed:
                self._accept(signed)
        for height, prepared in memory.prepared.items():
            agreed = prepared.pre_prepare.message
            if agreed.view == self._view and height > self._executed:
                self._out.append(Send(Commit(agreed.view, height, agreed.payload)))
        for height, message in memory.proposed.items():
            if message.view == self._view and self._leads():
                self._proposed = max(self._proposed, height)
                if height > self._executed and height not in memory.assigned:
                    self._out.append(Send(message))

    # --- Proposing (P1, P2). ---

    def _propose(self) -> None:
        """P2: keep `pipeline` proposals in flight, within the watermarks."""
        if self._changing or not self._leads() or self._requested is not None:
            return
        height = max(self._proposed, self._executed, *self._assignments, 0) + 1
        in_flight = height - 1 - self._executed
        if in_flight >= self._options.pipeline or height > self._high():
            return
        parents = (
            self._entries[below].assigned
            for below in range(self._executed + 1, height)
            if below in self._entries
        )
        payloads = tuple(item.message.payload for item in parents if item is not None)
        if len(payloads) < in_flight:
            return  # An own proposal is still on its way back from the signer.
        self._requested = Ticket(Height(height), View(self._view), payloads)
        self._out.append(RequestPayload(self._requested))

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket != self._requested or payload is None or payload == NULL:
            return
        self._requested = None
        message = PrePrepare(self._view, ticket.height, payload)
        self._proposed = ticket.height
        # P22: remembered before it is signed, so that a restart proposes the same again.
        self._out.append(Persist(log.keep_proposed(message)))
        self._out.append(Send(message))

    # --- The normal case (P3 to P9). ---

    def _on_message(self, sender: NodeId, signed: Signed[Message]) -> None:
        message = signed.message
        if signed.author not in self._committee.members:
            self._ignore(sender, "author is not a member")
            return
        match message:
            case PrePrepare() | Prepare() | Commit():
                self._on_vote(sender, signed, message)
            case Checkpoint():
                self._on_checkpoint(sender, signed, message)
            case ViewChange():
                self._on_view_change(sender, Signed(signed.author, message, signed.signature))
            case NewView():
                self._on_new_view(sender, Signed(signed.author, message, signed.signature))
            case Status():
                self._on_status(sender, message)

    def _on_vote(
        self, sender: NodeId, signed: Signed[Message], vote: PrePrepare | Prepare | Commit
    ) -> None:
        if vote.height <= max(self._stable.height, self._low - self._options.window):
            self._ignore(sender, "height below the low watermark")
        elif vote.height > self._high():
            self._ignore(sender, "height above the high watermark")
        elif vote.view < self._view:
            self._ignore(sender, "old view")
        elif vote.view > self._view + VIEWS_AHEAD_MAX:
            self._ignore(sender, "view too far ahead")
            self._ask(sender)
        elif isinstance(vote, PrePrepare) and signed.author != self._rules.primary(vote.view):
            self._ignore(sender, "pre-prepare not by the primary")
        elif isinstance(vote, Prepare) and signed.author == self._rules.primary(vote.view):
            self._ignore(sender, "prepare by the primary")
        else:
            self._count(sender, signed, vote)

    def _count(
        self, sender: NodeId, signed: Signed[Message], vote: PrePrepare | Prepare | Commit
    ) -> None:
        slot = vote.slot()
        assert slot is not None
        conflict = self._votes.add(slot, vote.payload, signed)
        if conflict is not None:
            # P5: the first stays, the second is evidence.
            self._accuse(slot, conflict.first, conflict.second)
            self._ignore(sender, "second body for a slot")
            return
        if vote.view > self._view:
            self._ask(sender)
        elif isinstance(vote, PrePrepare):
            self._on_pre_prepare(sender, Signed(signed.author, vote, signed.signature))
        else:
            self._advance(vote.height)

    def _on_pre_prepare(self, sender: NodeId, signed: Signed[PrePrepare]) -> None:
        """P3: one assignment for each height and view, and the one that a new view demands."""
        message = signed.message
        entry = self._entry(message.height)
        if self._changing:
            self._ignore(sender, "view change in progress")
        elif entry.assigned is not None:
            return
        elif self._assignments.get(message.height, message.payload) != message.payload:
            self._ignore(sender, "not what the new view demands")
        elif message.payload == NULL and message.height not in self._assignments:
            self._ignore(sender, "null request outside a new view")
        else:
            self._accept(signed)
            self._propose()

    def _accept(self, signed: Signed[PrePrepare]) -> None:
        message = signed.message
        entry = self._entry(message.height)
        entry.assigned = signed
        if message.payload == NULL or message.height <= self._executed:
            # P17: nothing to check; what was executed was checked, and a new view repeats it.
            self._voted(message)
            return
        parents = tuple(
            item.assigned.message.payload
            for height, item in sorted(self._entries.items())
            if self._executed < height < message.height and item.assigned is not None
        )
        ticket = Ticket(Height(message.height), View(message.view), parents)
        self._out.append(CheckPayload(ticket, message.payload, signed.author))

    def _on_checked(self, ticket: Ticket, payload: Digest, valid: bool) -> None:
        entry = self._entries.get(ticket.height)
        if entry is None or entry.assigned is None or entry.checked or self._changing:
            return
        message = entry.assigned.message
        if (message.view, message.payload) != (ticket.view, payload):
            return
        if not valid:
            # P4: no honest replica votes for it, so this view will not get over this height.
            self._ignore(entry.assigned.author, "invalid payload")
            self._leave(self._view + 1)
            return
        self._voted(message)

    def _voted(self, message: PrePrepare) -> None:
        """P4: a backup prepares what it accepted and checked; the primary has said so already."""
        entry = self._entry(message.height)
        entry.checked = True
        if not self._leads() and entry.assigned is not None:
            self._out.append(Persist(log.keep_assigned(entry.assigned)))
            self._out.append(Send(Prepare(message.view, message.height, message.payload)))
        self._advance(message.height)

    def _advance(self, height: int) -> None:
        """P6 to P9: prepared, then committed, then decided in order."""
        entry = self._entries.get(height)
        if self._changing or entry is None or entry.assigned is None or not entry.checked:
            return
        assigned = entry.assigned.message
        self._prepare(entry, entry.assigned)
        in_this_view = entry.prepared is not None and (
            entry.prepared.pre_prepare.message.view == self._view
        )
        if not in_this_view or entry.decided is not None:
            return
        commits = self._votes.of(Slot("commit", height, self._view), assigned.payload)
        if len(commits) >= self._committee.quorum:
            entry.decided = assigned.payload
            self._decide()

    def _prepare(self, entry: log.Entry, accepted: Signed[PrePrepare]) -> None:
        """P6, P7: with a prepared certificate, remembered first, a replica commits."""
        assigned = accepted.message
        known = entry.prepared
        if known is not None and known.pre_prepare.message.view == self._view:
            return
        votes = self._votes.of(Slot("prepare", assigned.height, self._view), assigned.payload)
        if len(votes) < self._committee.quorum - 1:
            return
        prepares = tuple(
            Signed(signed.author, signed.message, signed.signature)
            for _, signed in sorted(votes.items())
            if isinstance(signed.message, Prepare)
        )
        entry.prepared = Prepared(accepted, prepares)
        self._out.append(Persist(log.keep_prepared(entry.prepared)))
        self._out.append(Send(Commit(assigned.view, assigned.height, assigned.payload)))

    def _decide(self) -> None:
        """P9: heights are decided in order, each once."""
        while True:
            height = self._decided + 1
            entry = self._entries.get(height)
            if entry is None or entry.decided is None:
                return
            self._decided = height
            payloads = () if entry.decided == NULL else (entry.decided,)
            self._out.append(Decide(Height(height), View(self._view), payloads))

    # --- Execution and checkpoints (P10, P11). ---

    def _on_executed(self, height: int, header: Digest) -> None:
        self._executed = max(self._executed, height)
        self._decided = max(self._decided, height)
        if not self._changing and height not in self._assignments:
            # P20: the view has shown that it works.
            self._timeout_ms = self._options.view_timeout_ms
        self._restart_timer()
        self._checkpoint(height, header)
        self._propose()

    def _on_caught_up(self, height: int, header: Digest) -> None:
        """P21: certified blocks take the place of decisions.

        What was prepared stays in memory until a checkpoint is proven: a later new view may need
        it, for others need not have caught up.
        """
        if height <= self._executed:
            return
        self._executed = self._low = height
        self._decided = max(self._decided, height)
        if self._requested is not None and self._requested.height <= height:
            self._requested = None
        self._restart_timer()
        self._checkpoint(height, header)
        self._decide()
        self._propose()

    def _checkpoint(self, height: int, header: Digest) -> None:
        """P10: every `checkpoint_interval` heights."""
        if height % self._options.checkpoint_interval == 0 and height > self._stable.height:
            message = Checkpoint(height, header)
            self._out.append(Persist(log.keep_checkpoint(message)))
            self._out.append(Send(message))

    def _on_checkpoint(self, sender: NodeId, signed: Signed[Message], message: Checkpoint) -> None:
        if message.height <= self._stable.height:
            self._ignore(sender, "old checkpoint")
            return
        if message.height % self._options.checkpoint_interval:
            self._ignore(sender, "checkpoint at no interval")
            return
        if message.height > self._high() + self._options.window:
            # P21: so far ahead that voting does not help any more.
            self._ignore(sender, "checkpoint far ahead")
            return
        slot = Slot("checkpoint", message.height, 0)
        conflict = self._votes.add(slot, message.header, signed)
        if conflict is not None:
            self._accuse(slot, conflict.first, conflict.second)
            return
        votes = self._votes.of(slot, message.header)
        if len(votes) < self._committee.quorum:
            return
        if message.height > self._executed:
            self._out.append(NeedSync(Height(message.height)))
            return
        proof = tuple(
            Signed(item.author, item.message, item.signature)
            for _, item in sorted(votes.items())
            if isinstance(item.message, Checkpoint)
        )
        self._make_stable(log.Stable(message.height, proof))

    def _make_stable(self, stable: log.Stable) -> None:
        """P11: everything up to a proven checkpoint is forgotten; the watermarks move."""
        self._out.append(Persist(log.keep_stable(stable, self._stable.height)))
        self._stable = stable
        self._low = max(self._low, stable.height)
        for height in [item for item in self._entries if item <= stable.height]:
            del self._entries[height]
        self._assignments = {
            height: payload
            for height, payload in self._assignments.items()
            if height > stable.height
        }
        self._forget_votes()
        self._propose()

    # --- Leaving a view (P12 to P14). ---

    def _leave(self, view: int) -> None:
        """P12: vote no more in lower views; say what was prepared."""
        if view <= self._view:
            return
        self._view, self._changing = view, True
        self._requested = None
        for entry in self._entries.values():
            entry.assigned, entry.checked = None, False
        self._assignments = {}
        prepared = tuple(
            entry.prepared
            for _, entry in sorted(self._entries.items())
            if entry.prepared is not None
        )
        change = ViewChange(view, self._stable.height, self._stable.proof, prepared)
        self._cancel(_VIEW_TIMER)
        self._out.append(Persist(log.keep_change(change)))
        self._out.append(Send(change))
        self._forget_votes()
        self._look_at_changes()

    def _on_view_change(self, sender: NodeId, signed: Signed[ViewChange]) -> None:
        message = signed.message
        known = self._changes.get(signed.author)
        if message.view < self._view or (message.view == self._view and not self._changing):
            self._ignore(sender, "old view-change")
            return
        if known is not None and known.message.view >= message.view:
            if known.message.view == message.view and known.message != message:
                slot = message.slot()
                assert slot is not None
                self._accuse(slot, _wide(known), _wide(signed))
            return
        try:
            self._rules.check_view_change(message)
        except Invalid as error:
            self._ignore(sender, f"view-change: {error.reason}")
            return
        self._changes[signed.author] = signed
        self._look_at_changes()

    def _look_at_changes(self) -> None:
        views = sorted(signed.message.view for signed in self._changes.values())
        ahead = [view for view in views if view > self._view]
        if len(ahead) >= self._committee.one_correct:
            # P14: one of them is honest; go with the smallest of their views.
            self._leave(ahead[0])
            return
        if not self._changing:
            return
        here = [item for item in self._changes.values() if item.message.view == self._view]
        if len([view for view in views if view >= self._view]) >= self._committee.quorum:
            # P19: a quorum is under way, so the new primary's time begins.
            self._start(_VIEW_TIMER, self._timeout_ms)
        if self._leads() and len(here) >= self._committee.quorum:
            chosen = sorted(here, key=lambda item: item.author)[: self._committee.quorum]
            self._out.append(Send(NewView(self._view, tuple(chosen))))

    # --- Entering a view (P15 to P18). ---

    def _on_new_view(self, sender: NodeId, signed: Signed[NewView]) -> None:
        view = signed.message.view
        if view < self._view or (view == self._view and not self._changing):
            known = self._new_view
            # Why the author: what somebody else signed is no evidence against the primary.
            if (
                known is not None
                and (known.author, known.message.view) == (signed.author, view)
                and known.message != signed.message
            ):
                slot = signed.message.slot()
                assert slot is not None
                self._accuse(slot, _wide(known), _wide(signed))
            self._ignore(sender, "old new-view")
            return
        try:
            self._rules.check_new_view(signed)
        except Invalid as error:
            self._ignore(sender, f"new-view: {error.reason}")
            return
        self._enter(signed)

    def _enter(self, signed: Signed[NewView]) -> None:
        self._view, self._changing = signed.message.view, False
        self._new_view = signed
        self._requested = None
        self._proposed = 0
        self._changes = {
            author: change
            for author, change in self._changes.items()
            if change.message.view > self._view
        }
        for entry in self._entries.values():
            entry.assigned, entry.checked = None, False
        self._out.append(Persist(log.keep_view(signed)))
        self._forget_votes()
        stable = self._assign(signed.message)
        if stable.height > self._executed:
            self._out.append(NeedSync(Height(stable.height)))
        elif stable.height > self._stable.height:
            self._make_stable(stable)
        self._cancel(_VIEW_TIMER)
        self._start(_GRACE, self._options.view_timeout_ms)
        if self._leads():
            for height, payload in self._assignments.items():
                message = PrePrepare(self._view, height, payload)
                self._out.append(Persist(log.keep_proposed(message)))
                self._out.append(Send(message))
        self._take_early_votes()
        self._propose()

    def _assign(self, message: NewView) -> log.Stable:
        """P16, P17: what this view must assign first; the highest checkpoint in it."""
        changes = [change.message for change in message.view_changes]
        highest, demanded = assignments(changes)
        self._assignments = {
            height: payload for height, payload in demanded.items() if height > self._stable.height
        }
        best = max(changes, key=lambda change: change.stable)
        return log.Stable(highest, best.proof)

    def _take_early_votes(self) -> None:
        """Pre-prepares that came before this replica entered the view."""
        primary = self._rules.primary(self._view)
        for height in range(self._stable.height + 1, self._high() + 1):
            early = self._votes.by(Slot("pre-prepare", height, self._view), primary)
            if early is not None and isinstance(early.message, PrePrepare):
                accepted = Signed(early.author, early.message, early.signature)
                self._on_pre_prepare(primary, accepted)

    # --- Timers (P19, P20) and complaints. ---

    def _on_timer(self, name: str) -> None:
        self._timers.discard(name)
        match name:
            case "view":
                lagging = self._lagging()
                if lagging:
                    # P19: others have committed in this view; it is this replica that lags.
                    self._excused = lagging
                    self._out.append(NeedSync(Height(lagging)))
                    return
                if self._changing:
                    doubled = self._timeout_ms * 2
                    self._timeout_ms = min(doubled, self._options.view_timeout_ms_max)
                self._leave(self._view + 1)
            case "resend":
                self._answered.clear()
                self._out.append(Send(self._status()))
            case "calm":
                self._answered.clear()

    def _lagging(self) -> int:
        """P19: a height of this view that f + 1 others committed and that is not executed here.

        Each such height excuses the primary once, so that it cannot be excused for ever.
        """
        if self._changing:
            return 0
        known = max(self._executed, self._excused)
        return committed_by(
            self._votes, self._view, above=known, members=self._committee.one_correct
        )

    def _on_overdue(self) -> None:
        """P24: the primary passes requests over. Not in a view that has only begun."""
        if not self._changing and _GRACE not in self._timers and not self._leads():
            self._leave(self._view + 1)

    def _set_timers(self) -> None:
        """P19: timers run while something waits, and never while idle."""
        # Why height 1: it needs no transaction, so it is due from the start. A primary that came up
        # alone and left its view would otherwise be the only one that ever leaves it.
        waits = self._pending or self._in_flight() or not self._executed
        if waits and not self._changing and _VIEW_TIMER not in self._timers:
            self._start(_VIEW_TIMER, self._timeout_ms)
        if not waits and not self._changing:
            self._cancel(_VIEW_TIMER)
        if (waits or self._changing) and _RESEND not in self._timers:
            self._start(_RESEND, self._options.resend_ms)
        if not waits and not self._changing:
            self._cancel(_RESEND)

    def _restart_timer(self) -> None:
        """P20: progress. What waits now gets the whole time again."""
        if not self._changing:
            self._cancel(_VIEW_TIMER)
            self._cancel(_RESEND)

    def _start(self, name: str, delay_ms: int) -> None:
        if name not in self._timers:
            self._timers.add(name)
            self._out.append(SetTimer(name, delay_ms))

    def _cancel(self, name: str) -> None:
        if name in self._timers:
            self._timers.discard(name)
            self._out.append(CancelTimer(name))

    # --- Retransmission (P23). ---

    def _status(self) -> Status:
        return Status(self._view, self._changing, self._executed, self._stable.height)

    def _on_status(self, peer: NodeId, status: Status) -> None:
        if peer == self._me:
            return
        if peer in self._answered:
            self._ignore(peer, "status too often")
            return
        self._answered.add(peer)
        self._start(_CALM, self._options.resend_ms)
        if status.view > self._view or (status.view == self._view and self._changing):
            self._out.append(Send(self._status(), peer))
        behind = status.view < self._view or (status.view == self._view and status.changing)
        if behind and not self._changing and self._new_view is not None:
            self._relay(_wide(self._new_view), peer)
        own = self._changes.get(self._me)
        if self._changing and own is not None and status.view <= self._view:
            self._relay(_wide(own), peer)
        if status.stable < self._stable.height <= status.executed:
            for checkpoint in self._stable.proof:
                self._relay(_wide(checkpoint), peer)
        if status.view == self._view and not self._changing and not status.changing:
            self._relay_votes(peer, status.executed)
        self._relay_checkpoints(peer)

    def _relay_votes(self, peer: NodeId, executed: int) -> None:
        for height in range(executed + 1, executed + 1 + RELAY_HEIGHTS_MAX):
            entry = self._entries.get(height)
            if entry is None:
                continue
            if entry.assigned is not None:
                self._relay(_wide(entry.assigned), peer)
            for phase in ("prepare", "commit"):
                vote = self._votes.by(Slot(phase, height, self._view), self._me)
                if vote is not None:
                    self._relay(vote, peer)

    def _relay_checkpoints(self, peer: NodeId) -> None:
        """Own checkpoints that are not stable yet: at most window / interval of them."""
        for slot in self._votes.slots():
            if slot.phase == "checkpoint":
                own = self._votes.by(slot, self._me)
                if own is not None:
                    self._relay(own, peer)

    def _ask(self, peer: NodeId) -> None:
        """The peer is in a later view: tell it where this replica is, so that it helps."""
        if peer != self._me and peer not in self._answered:
            self._answered.add(peer)
            self._start(_CALM, self._options.resend_ms)
            self._out.append(Send(self._status(), peer))

    def _relay(self, signed: Signed[Message], peer: NodeId) -> None:
        self._out.append(Relay(signed, peer))

    # --- Small things. ---

    def _leads(self) -> bool:
        return self._rules.primary(self._view) == self._me

    def _high(self) -> int:
        """The high watermark."""
        return self._low + self._options.window

    def _entry(self, height: int) -> log.Entry:
        return self._entries.setdefault(height, log.Entry())

    def _in_flight(self) -> bool:
        return any(
            height > self._executed and entry.assigned is not None
            for height, entry in self._entries.items()
        )

    def _forget_votes(self) -> None:
        forget_votes(self._votes, stable=self._stable.height, view=self._view)

    def _waiting_for(self) -> list[NodeId]:
        members = self._committee.members
        if self._changing:
            return [name for name in members if name not in self._changes]
        for height in sorted(self._entries):
            entry = self._entries[height]
            if height <= self._executed or entry.assigned is None or entry.decided is not None:
                continue
            payload = entry.assigned.message.payload
            voted = self._votes.of(Slot("commit", height, self._view), payload)
            return [name for name in members if name not in voted]
        return [self._rules.primary(self._view)] if self._pending else []

    def _ignore(self, sender: NodeId, reason: str) -> None:
        self._out.append(Ignore(sender, reason))

    def _accuse(self, slot: Slot, first: Signed[Message], second: Signed[Message]) -> None:
        if (first.author, slot) not in self._accused and len(self._accused) < 1_024:
            self._accused.add((first.author, slot))
            self._out.append(Accuse(first.author, first, second))


def _wide(
    signed: Signed[ViewChange] | Signed[NewView] | Signed[PrePrepare] | Signed[Checkpoint],
) -> Signed[Message]:
    """The same message under the type of the union."""
    return Signed(signed.author, signed.message, signed.signature)
