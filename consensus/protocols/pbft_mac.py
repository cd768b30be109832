"""PBFT with MACs in place of signatures: nothing that one member says can be shown to another.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery", ACM TOCS
20(4), 2002. The rules M1 to M26 are those of docs/specs/pbft_mac.md, with what differs and why.

Orders payload digests: one decision for each height. Promises what `pbft` promises, but needs no
signature on any of its messages. No offence can be proved. View changes rest on claims about
what was prepared, which are weighed against each other, and not on certificates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.interface import (
    Accountability,
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
    Setup,
    Signed,
    Slot,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.protocols import _pbft_mac_log as log
from consensus.protocols._heights import Answers, Timers
from consensus.protocols._pbft_common import check_limits, committed_by, forget_votes
from consensus.protocols._pbft_mac_changes import Changes, Offer
from consensus.protocols._pbft_mac_choice import choose
from consensus.protocols._pbft_mac_messages import (
    CHECKPOINTS_MAX,
    NULL,
    SPAN_MAX,
    Ack,
    Checkpoint,
    Claim,
    Commit,
    Copy,
    Fetch,
    Invalid,
    Message,
    Named,
    NewView,
    Prepare,
    PrePrepare,
    Result,
    Status,
    ViewChange,
    Vote,
    check_view_change,
    filed,
)
from consensus.votes import Votes
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="Castro and Liskov, TOCS 20(4), 2002",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n^2)",
    delays=3,
    responsive=True,
    accountable=Accountability.NONE,
)

VIEWS_AHEAD_MAX = 2
"""Votes of views further ahead are not kept."""

RELAY_HEIGHTS_MAX = 8
"""A status is answered with what is lacking for so many heights at most."""

_VIEW_TIMER = "view"
_RESEND = "resend"
_GRACE = "grace"
_CALM = "calm"


@dataclass(frozen=True, slots=True)
class Options:
    """Agreed in the genesis file; `window` and `checkpoint_interval` are the same everywhere."""

    view_timeout_ms: int = 1_000
    """Without progress for so long, a backup leaves the view. Doubles with each failed view."""
    view_timeout_ms_max: int = 60_000
    window: int = 64
    """Heights above the low watermark that may be in flight (the paper's L)."""
    pipeline: int = 4
    """Undecided proposals that a primary keeps in flight."""
    checkpoint_interval: int = 16
    resend_ms: int = 500
    """How often a replica that waits tells the others what it has."""

    def __post_init__(self) -> None:
        check_limits(self)


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return _PbftMac(setup, options)


class _PbftMac:
    """`step` decides what an input means; each `_on_...` appends to `_out`."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._setup = setup
        self._me = setup.me
        self._committee = setup.committee
        self._options = options
        self._out: list[Output[Message]] = []
        self._view = 0
        self._changing = False
        self._executed = self._decided = self._low = 0
        self._stable = Result(0, NULL)
        self._checkpoints: dict[int, Result] = {}
        self._entries: dict[int, log.Entry] = {}
        self._votes: Votes[Message] = Votes()
        self._changes = Changes(setup.committee, setup.hash)
        self._change: ViewChange | None = None
        self._offer: Offer | None = None
        self._weighed: tuple[Digest, ...] = ()
        """The view-changes in S for which there was no choice."""
        self._begun: log.Begun | None = None
        self._base = 0
        self._assignments: dict[int, Digest] = {}
        self._proposed = 0
        self._requested: Ticket | None = None
        self._pending = False
        self._timeout_ms = options.view_timeout_ms
        self._timers = Timers(self._out_timer)
        self._answers = Answers()
        self._copied = Answers()
        self._graced = False
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
                self._send(self._status(), peer)
        self._set_timers()
        out, self._out = self._out, []
        return out

    def progress(self) -> Progress:
        return Progress(
            View(self._view),
            self._primary(self._view),
            "view-change" if self._changing else "normal",
            tuple(self._waiting_for()),
            self._timeout_ms,
        )

    # --- Start and restart (M25). ---

    def _on_started(self, event: Started) -> None:
        memory = log.recall(event.remembered)
        self._executed = self._low = self._decided = event.executed
        self._view, self._changing = memory.current.view, memory.current.changing
        self._stable, self._entries = memory.stable, memory.entries
        self._change = memory.change
        self._checkpoints = memory.checkpoints
        for result in memory.checkpoints.values():
            self._send(Checkpoint(result.height, result.header))
        self._checkpoint(event.executed, event.header)
        if memory.begun is not None and memory.begun.new_view.view == self._view:
            self._begun = memory.begun
            if self._changing:
                self._offer_again(memory.begun)
            else:
                self._assign(memory.begun.new_view)
        if self._changing:
            assert memory.change is not None
            self._send(memory.change)
        else:
            self._repeat()
        self._send(self._status())
        self._propose()

    def _offer_again(self, begun: log.Begun) -> None:
        """M19: this replica is the primary, and said so before it crashed: the same again."""
        self._offer = self._offered(begun.new_view)
        for copy in begun.copies:
            self._changes.add(copy.author, copy.change)
        self._look_up()
        self._send(begun.new_view)

    def _repeat(self) -> None:
        """M25: what was said in this view is said again, once it is checked again."""
        for height, entry in sorted(self._entries.items()):
            payload = entry.said(self._view)
            if payload is None or height <= self._base:
                continue
            if self._leads():
                self._proposed = max(self._proposed, height)
                self._send(PrePrepare(self._view, height, payload))
            else:
                self._accept(height, payload)
            if entry.prepared is not None and entry.prepared.view == self._view:
                self._send(Commit(self._view, height, payload))

    # --- Proposing (M2, M3). ---

    def _propose(self) -> None:
        """M3: keep `pipeline` proposals in flight, within the watermarks."""
        if self._changing or not self._leads() or self._requested is not None:
            return
        height = max(self._proposed, self._executed, self._base, *self._assignments) + 1
        in_flight = height - 1 - self._executed
        if in_flight >= self._options.pipeline or height > self._high():
            return
        payloads = self._parents(height)
        if len(payloads) < in_flight:
            return  # An own proposal is still on its way back.
        self._requested = Ticket(Height(height), View(self._view), payloads)
        self._out.append(RequestPayload(self._requested))

    def _parents(self, height: int) -> tuple[Digest, ...]:
        """What is assigned and not executed below `height`."""
        return tuple(
            entry.assigned
            for below, entry in sorted(self._entries.items())
            if self._executed < below < height and entry.assigned is not None
        )

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket != self._requested or payload is None or payload == NULL:
            return
        self._requested = None
        self._proposed = ticket.height
        self._pre_prepare(ticket.height, payload)

    def _pre_prepare(self, height: int, payload: Digest) -> None:
        """M4: in Q before it is said; a primary says no second thing for it."""
        self._keep_q(height, payload)
        self._send(PrePrepare(self._view, height, payload))

    def _keep_q(self, height: int, payload: Digest) -> None:
        entry = self._entry(height)
        entry.add(Claim(height, self._view, payload))
        self._out.append(Persist(log.keep_pre_prepared(height, entry)))

    # --- The normal case (M6 to M9). ---

    def _on_message(self, sender: NodeId, signed: Signed[Message]) -> None:
        message = signed.message
        if sender not in self._committee.members or signed.author != sender:
            # M1: the link vouches for its other end and for nobody else.
            self._ignore(sender, "not the author")
            return
        match message:
            case PrePrepare() | Prepare() | Commit():
                self._on_vote(sender, signed, message)
            case Checkpoint():
                self._on_checkpoint(sender, signed, message)
            case ViewChange():
                self._on_view_change(sender, message)
            case Ack():
                self._on_ack(sender, message)
            case NewView():
                self._on_new_view(sender, message)
            case Fetch():
                self._on_fetch(sender, message)
            case Copy():
                self._on_copy(sender, message)
            case Status():
                self._on_status(sender, message)

    def _on_vote(self, sender: NodeId, signed: Signed[Message], vote: Vote) -> None:
        by_primary = sender == self._primary(vote.view)
        if vote.height <= max(self._stable.height, self._low - self._options.window):
            self._ignore(sender, "height below the low watermark")
        elif vote.height > self._high():
            self._ignore(sender, "height above the high watermark")
        elif vote.view < self._view:
            self._ignore(sender, "old view")
        elif vote.view > self._view + VIEWS_AHEAD_MAX:
            self._ignore(sender, "view too far ahead")
            self._ask(sender)
        elif isinstance(vote, PrePrepare) and not by_primary:
            self._ignore(sender, "pre-prepare not by the primary")
        elif isinstance(vote, Prepare) and by_primary:
            self._ignore(sender, "prepare by the primary")
        elif self._votes.add(filed(vote), vote.payload, signed) is not None:
            self._ignore(sender, "a second thing said")  # M6: the first stays.
        elif vote.view > self._view:
            self._ask(sender)
        elif isinstance(vote, PrePrepare):
            self._on_pre_prepare(sender, vote)
        else:
            self._advance(vote.height)

    def _on_pre_prepare(self, sender: NodeId, message: PrePrepare) -> None:
        """M6: one assignment for each height and view, and the one that a new view demands."""
        height, payload = message.height, message.payload
        said = self._entry(height).said(self._view)
        if self._changing:
            self._ignore(sender, "view change in progress")
        elif self._entry(height).assigned is not None:
            return
        elif height <= self._base:
            self._ignore(sender, "height below the start of the view")
        elif said is not None and said != payload:
            self._ignore(sender, "not what was agreed to before a restart")
        elif self._assignments.get(height, payload) != payload:
            self._ignore(sender, "not what the new view demands")
        elif payload == NULL and height not in self._assignments:
            self._ignore(sender, "null request outside a new view")
        else:
            self._accept(height, payload)
            self._propose()

    def _accept(self, height: int, payload: Digest) -> None:
        self._entry(height).assigned = payload
        if payload == NULL or height <= self._executed:
            self._voted(height, payload)
            return
        ticket = Ticket(Height(height), View(self._view), self._parents(height))
        self._out.append(CheckPayload(ticket, payload, self._primary(self._view)))

    def _on_checked(self, ticket: Ticket, payload: Digest, valid: bool) -> None:
        entry = self._entries.get(ticket.height)
        if entry is None or entry.checked or self._changing:
            return
        if (ticket.view, payload) != (self._view, entry.assigned):
            return
        if not valid:
            # M7: no correct replica votes for it, so this view will not get over this height.
            self._ignore(self._primary(self._view), "invalid payload")
            self._leave(self._view + 1)
            return
        self._voted(ticket.height, payload)

    def _voted(self, height: int, payload: Digest) -> None:
        """M7: a backup prepares what it accepted and checked; the primary has said so already."""
        self._entry(height).checked = True
        if not self._leads():
            self._keep_q(height, payload)
            self._send(Prepare(self._view, height, payload))
        self._advance(height)

    def _advance(self, height: int) -> None:
        """M8, M9: prepared, then committed, then decided in order."""
        entry = self._entries.get(height)
        if self._changing or entry is None or entry.assigned is None or not entry.checked:
            return
        payload = entry.assigned
        prepared = Claim(height, self._view, payload)
        if entry.prepared != prepared:
            votes = self._votes.of(Slot("prepare", height, self._view), payload)
            if len(votes) < self._committee.quorum - 1:
                return
            entry.prepared = prepared
            self._out.append(Persist(log.keep_prepared(prepared)))
            self._send(Commit(self._view, height, payload))
        commits = self._votes.of(Slot("commit", height, self._view), payload)
        if entry.decided is None and len(commits) >= self._committee.quorum:
            entry.decided = payload
            self._decide()

    def _decide(self) -> None:
        """M9: heights are decided in order, each once."""
        while True:
            entry = self._entries.get(self._decided + 1)
            if entry is None or entry.decided is None:
                return
            self._decided += 1
            payloads = () if entry.decided == NULL else (entry.decided,)
            self._out.append(Decide(Height(self._decided), View(self._view), payloads))

    # --- Execution and checkpoints (M10). ---

    def _on_executed(self, height: int, header: Digest) -> None:
        self._executed = max(self._executed, height)
        self._decided = max(self._decided, height)
        if not self._changing and height not in self._assignments:
            self._timeout_ms = self._options.view_timeout_ms  # M24: the view has shown it works.
        self._progressed(height, header)

    def _on_caught_up(self, height: int, header: Digest) -> None:
        """Certified blocks take the place of decisions. P and Q stay: others may need them."""
        if height <= self._executed:
            return
        self._executed = self._low = height
        self._decided = max(self._decided, height)
        if self._requested is not None and self._requested.height <= height:
            self._requested = None
        self._progressed(height, header)
        self._decide()

    def _progressed(self, height: int, header: Digest) -> None:
        if not self._changing:
            self._timers.cancel(_VIEW_TIMER, _RESEND)
        self._checkpoint(height, header)
        self._propose()

    def _checkpoint(self, height: int, header: Digest) -> None:
        if height % self._options.checkpoint_interval or height <= self._stable.height:
            return
        if height in self._checkpoints or len(self._checkpoints) >= CHECKPOINTS_MAX - 1:
            return
        result = self._checkpoints[height] = Result(height, header)
        self._out.append(Persist(log.keep_checkpoint(result)))
        self._send(Checkpoint(height, header))

    def _on_checkpoint(self, sender: NodeId, signed: Signed[Message], said: Checkpoint) -> None:
        if said.height <= self._stable.height:
            self._ignore(sender, "old checkpoint")
        elif said.height % self._options.checkpoint_interval:
            self._ignore(sender, "checkpoint at no interval")
        elif said.height > self._high() + self._options.window:
            self._ignore(sender, "checkpoint far ahead")
        elif self._votes.add(filed(said), said.header, signed) is not None:
            self._ignore(sender, "a second thing said")
        elif len(self._votes.of(filed(said), said.header)) >= self._committee.quorum:
            if said.height > self._executed:
                self._out.append(NeedSync(Height(said.height)))
            else:
                self._make_stable(Result(said.height, said.header))

    def _make_stable(self, stable: Result) -> None:
        """M10: everything up to it is forgotten; the watermarks move."""
        forgotten = {*self._entries, *self._checkpoints}
        settled = sorted(height for height in forgotten if height <= stable.height)
        self._stable = stable
        self._low = max(self._low, stable.height)
        for height in settled:
            self._entries.pop(height, None)
            self._checkpoints.pop(height, None)
        self._out.append(Persist(log.keep_stable(stable, settled)))
        self._assignments = {h: p for h, p in self._assignments.items() if h > stable.height}
        self._forget_votes()
        self._propose()

    # --- Leaving a view (M11 to M13). ---

    def _leave(self, view: int) -> None:
        """M11: vote no more in lower views; say what was prepared and pre-prepared."""
        if view <= self._view:
            return
        self._clear(view, changing=True)
        entries = [entry for _, entry in sorted(self._entries.items())]
        self._change = ViewChange(
            view,
            self._stable.height,
            (self._stable, *(result for _, result in sorted(self._checkpoints.items()))),
            tuple(entry.prepared for entry in entries if entry.prepared is not None),
            tuple(claim for entry in entries for claim in entry.pre_prepared),
        )
        self._timers.cancel(_VIEW_TIMER)
        self._out.append(Persist(log.keep_change(self._change)))
        self._send(self._change)
        for author in self._changes.of(view):
            self._acknowledge(author)
        self._look_at_changes()

    def _clear(self, view: int, *, changing: bool) -> None:
        self._view, self._changing = view, changing
        self._requested = self._offer = None
        self._weighed = ()
        self._proposed = self._base = 0
        self._assignments = {}
        for entry in self._entries.values():
            entry.assigned, entry.checked = None, False
        self._forget_votes()

    def _on_view_change(self, sender: NodeId, change: ViewChange) -> None:
        if change.view <= self._view and not self._changing:
            self._ignore(sender, "old view-change")
            if change.view == self._view and sender != self._me and self._may_answer(sender):
                self._show_view(sender)
            return
        try:
            check_view_change(change, self._options.checkpoint_interval)
        except Invalid as error:
            self._ignore(sender, f"view-change: {error.reason}")
            return
        if change.view < self._view or not self._changes.add(sender, change):
            self._ignore(sender, "known view-change")
            return
        if change.view == self._view:
            self._acknowledge(sender)
        self._look_at_changes()

    def _acknowledge(self, author: NodeId) -> None:
        """M12: tell the primary what was received from whom."""
        primary = self._primary(self._view)
        if primary not in {self._me, author} and author != self._me:
            _, name = self._changes.of(self._view)[author]
            self._send(Ack(self._view, author, name), primary)

    def _on_ack(self, sender: NodeId, ack: Ack) -> None:
        if ack.view < self._view or ack.author not in self._committee.members:
            self._ignore(sender, "old or unknown view-change acknowledged")
            return
        self._changes.acknowledge(sender, ack)
        self._look_at_changes()

    def _look_at_changes(self) -> None:
        ahead = [view for view in self._changes.views() if view > self._view]
        if len(ahead) >= self._committee.one_correct:
            # M12: one of them is correct; go with the smallest of their views.
            self._leave(ahead[0])
            return
        if not self._changing:
            return
        here = self._changes.of(self._view)
        if len(ahead) + len(here) >= self._committee.quorum:
            # M24: a quorum is under way, so the new primary's time begins.
            self._timers.want(_VIEW_TIMER, self._timeout_ms, wanted=True)
        self._look_up()
        if not self._leads():
            self._try_to_enter(self._primary(self._view))
        elif self._offer is None:
            self._make_new_view()

    def _make_new_view(self) -> None:
        """M19: one choice for each view, remembered before it is said."""
        certified = self._changes.certified(self._me, self._view)
        names = tuple(name for _, name in certified.values())
        if len(certified) < self._committee.quorum or names == self._weighed:
            return
        self._weighed = names
        choice = choose([change for change, _ in certified.values()], self._committee)
        if choice is None:
            return
        named = tuple(Named(author, name) for author, (_, name) in certified.items())
        message = NewView(self._view, named, choice.base, choice.payloads)
        copies = tuple(Copy(author, change) for author, (change, _) in certified.items())
        self._begun = log.Begun(message, copies)
        self._offer = self._offered(message)
        self._look_up()
        self._out.append(Persist(log.keep_offer(self._begun)))
        self._send(message)

    # --- Entering a view (M20 to M22). ---

    def _offered(self, message: NewView) -> Offer:
        primary = self._primary(message.view)
        return Offer(self._committee, self._setup.hash, primary, message)

    def _on_new_view(self, sender: NodeId, message: NewView) -> None:
        authors = [item.author for item in message.changes]
        if message.view > self._view:
            self._ignore(sender, "new-view of a later view")
            self._ask(sender)
        elif message.view < self._view or not self._changing:
            self._ignore(sender, "old new-view")
        elif sender != self._primary(message.view):
            self._ignore(sender, "new-view not by the primary")
        elif len(authors) < self._committee.quorum or authors != sorted(set(authors)):
            self._ignore(sender, "new-view: no quorum")
        elif not set(authors) <= set(self._committee.members):
            self._ignore(sender, "new-view: not a member")
        elif self._offer is not None and self._offer.new_view != message:
            self._ignore(sender, "a second thing said")
        else:
            first = self._offer is None
            self._offer = self._offer or self._offered(message)
            self._look_up()
            lacking = self._offer.lacks()
            if first and lacking:
                self._send(Fetch(self._view, lacking))
            self._try_to_enter(sender)

    def _look_up(self) -> None:
        if self._offer is not None:
            for author, (change, name) in self._changes.of(self._view).items():
                self._offer.take(author, change, name)

    def _on_fetch(self, sender: NodeId, message: Fetch) -> None:
        """M21: copies of what came from the authors themselves."""
        if message.view != self._view or sender == self._me or not self._copied.allow(sender):
            self._ignore(sender, "nothing to copy")
            return
        self._timers.want(_CALM, self._options.resend_ms, wanted=True)
        if self._changing:
            known = self._changes.of(self._view).items()
            copies = tuple(Copy(author, change) for author, (change, _) in known)
        else:
            copies = () if self._begun is None else self._begun.copies
        for copy in copies:
            if copy.author in message.authors:
                own = copy.author == self._me
                self._send(copy.change if own else copy, sender)

    def _on_copy(self, sender: NodeId, message: Copy) -> None:
        if self._offer is None or message.change.view != self._view or sender == message.author:
            self._ignore(sender, "copy of no use")
            return
        self._offer.copy(sender, message)
        self._try_to_enter(sender)

    def _try_to_enter(self, sender: NodeId) -> None:
        """M22: everybody computes the choice."""
        offer = self._offer
        if offer is None or offer.refused or not self._changing or offer.lacks():
            return
        message = offer.new_view
        offer.refused = True  # Until it is found right.
        try:
            for change in offer.changes():
                if change.view != message.view:
                    raise Invalid("view-change of another view")
                check_view_change(change, self._options.checkpoint_interval)
        except Invalid as error:
            self._ignore(sender, f"new-view: {error.reason}")
            return
        choice = choose(offer.changes(), self._committee)
        if choice is None or (choice.base, choice.payloads) != (message.base, message.payloads):
            self._ignore(sender, "new-view: another choice")
            return
        self._enter(log.Begun(message, offer.copies()))

    def _enter(self, begun: log.Begun) -> None:
        message = begun.new_view
        self._clear(message.view, changing=False)
        self._begun = begun
        self._changes.forget(message.view)
        self._out.append(Persist(log.keep_view(begun)))
        self._assign(message)
        if self._base > self._executed:
            self._out.append(NeedSync(Height(self._base)))
        self._timers.cancel(_VIEW_TIMER)
        self._timers.want(_GRACE, self._options.view_timeout_ms, wanted=True)
        self._graced = True
        if self._leads():
            for height, payload in self._assignments.items():
                self._pre_prepare(height, payload)
        primary = self._primary(self._view)
        for height in range(self._base + 1, self._high() + 1):
            early = self._votes.by(Slot("pre-prepare", height, self._view), primary)
            if early is not None and isinstance(early.message, PrePrepare):
                self._on_pre_prepare(primary, early.message)
        self._propose()

    def _assign(self, message: NewView) -> None:
        self._base = message.base.height
        demanded = enumerate(message.payloads, message.base.height + 1)
        self._assignments = {h: payload for h, payload in demanded if h > self._stable.height}

    # --- Timers and complaints (M23, M24). ---

    def _on_timer(self, name: str) -> None:
        self._timers.fired(name)
        match name:
            case "view":
                lagging = self._lagging()
                if lagging:
                    self._excused = lagging
                    self._out.append(NeedSync(Height(lagging)))
                    return
                if self._changing:
                    doubled = self._timeout_ms * 2
                    self._timeout_ms = min(doubled, self._options.view_timeout_ms_max)
                self._leave(self._view + 1)
            case "resend":
                self._calm()
                self._send(self._status())
                if self._offer is not None and self._offer.lacks():
                    self._send(Fetch(self._view, self._offer.lacks()))
            case "calm":
                self._calm()
            case "grace":
                self._graced = False

    def _lagging(self) -> int:
        """M24: a height of this view that f + 1 others committed and that is not executed here."""
        if self._changing:
            return 0
        known = max(self._executed, self._excused)
        return committed_by(
            self._votes, self._view, above=known, members=self._committee.one_correct
        )

    def _on_overdue(self) -> None:
        """M23: the primary passes requests over. Not in a view that has only begun."""
        if not self._changing and not self._graced and not self._leads():
            self._leave(self._view + 1)

    def _set_timers(self) -> None:
        """M24: timers run while something waits, and never while idle."""
        waits = bool(self._pending or self._in_flight() or not self._executed)
        if not self._changing:
            self._timers.want(_VIEW_TIMER, self._timeout_ms, wanted=waits)
        wanted = waits or self._changing
        self._timers.want(_RESEND, self._options.resend_ms, wanted=wanted)

    # --- Saying again what was lost (M26). ---

    def _status(self) -> Status:
        return Status(self._view, self._changing, self._executed, self._stable.height)

    def _ask(self, peer: NodeId) -> None:
        """The peer is in a later view: tell it where this replica is, so that it helps."""
        if peer != self._me and self._may_answer(peer):
            self._send(self._status(), peer)

    def _may_answer(self, peer: NodeId) -> bool:
        self._timers.want(_CALM, self._options.resend_ms, wanted=True)
        return self._answers.allow(peer)

    def _calm(self) -> None:
        self._answers.clear()
        self._copied.clear()

    def _on_status(self, peer: NodeId, status: Status) -> None:
        if peer == self._me:
            return
        if not self._may_answer(peer):
            self._ignore(peer, "status too often")
            return
        behind = status.view < self._view or (status.view == self._view and status.changing)
        if status.view > self._view or (self._changing and not behind):
            self._send(self._status(), peer)
        if behind:
            self._show_view(peer)
        elif status.view == self._view and not self._changing:
            self._show_votes(peer, status.executed)
        if status.stable < self._stable.height:
            self._send(Checkpoint(self._stable.height, self._stable.header), peer)
        for _, result in sorted(self._checkpoints.items())[:RELAY_HEIGHTS_MAX]:
            self._send(Checkpoint(result.height, result.header), peer)

    def _show_view(self, peer: NodeId) -> None:
        """The own view-change, the own acks if the peer is to choose, the own new-view."""
        if self._change is not None and self._change.view == self._view:
            self._send(self._change, peer)
        if self._changing and self._primary(self._view) == peer:
            for author in self._changes.of(self._view):
                self._acknowledge(author)
        begun = self._begun
        if begun is not None and begun.new_view.view == self._view and self._leads():
            self._send(begun.new_view, peer)

    def _show_votes(self, peer: NodeId, executed: int) -> None:
        for height in range(executed + 1, executed + 1 + RELAY_HEIGHTS_MAX):
            for phase in ("pre-prepare", "prepare", "commit"):
                own = self._votes.by(Slot(phase, height, self._view), self._me)
                if own is not None:
                    self._send(own.message, peer)

    # --- Small things. ---

    def _primary(self, view: int) -> NodeId:
        """M2. Sticky: the height has no say."""
        return self._setup.leader.leader(self._committee, Height(0), View(view))

    def _leads(self) -> bool:
        return self._primary(self._view) == self._me

    def _high(self) -> int:
        """The high watermark."""
        return min(self._low + self._options.window, self._stable.height + SPAN_MAX)

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
            here = self._changes.of(self._view)
            return [name for name in members if name not in here]
        for height, entry in sorted(self._entries.items()):
            if height > self._executed and entry.assigned is not None and entry.decided is None:
                voted = self._votes.of(Slot("commit", height, self._view), entry.assigned)
                return [name for name in members if name not in voted]
        return [self._primary(self._view)] if self._pending else []

    def _send(self, message: Message, to: NodeId | None = None) -> None:
        self._out.append(Send(message, to))

    def _out_timer(self, output: Output[Message]) -> None:
        self._out.append(output)

    def _ignore(self, sender: NodeId, reason: str) -> None:
        self._out.append(Ignore(sender, reason))
