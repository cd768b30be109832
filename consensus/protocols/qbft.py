"""QBFT: proposals, prepares and commits, and justified round changes.

Source: Moniz, "The Istanbul BFT Consensus Algorithm", arXiv 2002.03613, and the QBFT specification
of the Enterprise Ethereum Alliance. The rules Q1 to Q14 are those of docs/specs/qbft.md, with the
algorithm of the paper for each, and what differs and why. A round is a `view` here; it starts at 0
for each height.

Orders payload digests, one height after the other. A replica counts its own votes when the host
delivers them back to it, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.interface import (
    Accountability,
    CaughtUp,
    CommitteeChanged,
    ConsensusClaims,
    ConsensusProtocol,
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
    Progress,
    Received,
    RequestPayload,
    Send,
    Setup,
    Signed,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.protocols import _qbft_log as log
from consensus.protocols._heights import Answers, Ballots, Checks, Claims, Suspects, Timers
from consensus.protocols._qbft_messages import (
    NOTHING,
    Commit,
    Decision,
    Invalid,
    Message,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Rules,
    Spoken,
    Status,
)
from consensus.protocols._qbft_round import RoundState
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="Moniz, arXiv 2002.03613; Enterprise Ethereum QBFT specification",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n^2)",
    delays=3,
    responsive=True,
    accountable=Accountability.ONE_VIEW,
)

DOUBLINGS_MAX = 32

_ROUND = "round"
_RESEND = "resend"
_CALM = "calm"


@dataclass(frozen=True, slots=True)
class Options:
    """Agreed in the genesis file, though none has to be the same everywhere."""

    round_timeout_ms: int = 1_000
    """In round 0. Doubles with each further round of a height."""
    round_timeout_ms_max: int = 60_000
    resend_ms: int = 500
    """How often a replica that waits tells the others what it has."""

    def __post_init__(self) -> None:
        if not 1 <= self.round_timeout_ms <= self.round_timeout_ms_max:
            raise ValueError("round_timeout_ms must be from 1 to round_timeout_ms_max")
        if self.resend_ms < 1:
            raise ValueError("resend_ms must be at least 1")

    def round_ms(self, view: int) -> int:
        """Q12: twice as long with each round of a height, up to a limit."""
        doubled = self.round_timeout_ms << min(view, DOUBLINGS_MAX)
        return min(doubled, self.round_timeout_ms_max)


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return _Qbft(setup, options)


class _Qbft:
    """`step` decides what an input means; each `_on_...` appends to `_out`."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._me = setup.me
        self._committee = setup.committee
        self._rules = Rules(setup.committee, setup.leader)
        self._options = options
        self._out: list[Output[Message]] = []
        self._memory = log.recall({})
        self._ballots: Ballots[Message] = Ballots(setup.committee)
        self._state = RoundState(setup.me, self._rules, self._ballots)
        self._claims = Claims(setup.committee)
        self._checks = Checks(self._out.append)
        self._answers = Answers()
        self._suspects = Suspects(setup.committee)
        self._timers = Timers(self._out.append)
        self._decider: NodeId | None = None
        self._requested: Ticket | None = None
        self._fresh: Digest | None = None
        self._pending = False

    def step(self, event: Input[Message]) -> Sequence[Output[Message]]:
        match event:
            case Started():
                self._on_started(event)
            case PayloadReady(ticket=ticket, payload=payload):
                self._on_payload(ticket, payload)
            case PayloadChecked(ticket=ticket, payload=payload, valid=valid):
                self._checks.answered(ticket, payload, valid=valid)
            case Received(sender=sender, signed=signed):
                self._on_message(sender, signed)
            case TimerFired(name=name):
                self._on_timer(name)
            case Pending(exists=exists):
                self._pending = exists
            case Overdue():
                self._on_overdue()
            case Executed(height=height) | CaughtUp(height=height):
                if height >= self._state.now.height:
                    self._begin(height + 1)
            case CommitteeChanged():
                raise AssertionError("QBFT's committee is that of the genesis file")
            case PeerConnected(peer=peer):
                self._out.append(Send(self._state.status(), peer))
        self._advance()
        self._set_timers()
        out = list(self._out)
        self._out.clear()
        return out

    def progress(self) -> Progress:
        return Progress(
            View(self._state.now.view),
            self._state.proposer(),
            self._state.phase(),
            self._state.waiting_for() if self._waits() else (),
            self._options.round_ms(self._state.now.view),
        )

    # --- Heights and rounds (Q1, Q7, Q8). ---

    def _on_started(self, event: Started) -> None:
        self._memory = log.recall(event.remembered)
        decisions = self._memory.decisions.items()
        self._state.decisions = {height: decided.votes for height, decided in decisions}
        self._begin(event.executed + 1)
        self._out.append(Send(self._state.status()))

    def _begin(self, height: int) -> None:
        """Q1: the former height was executed. Q13: the same words as before a restart."""
        self._timers.cancel(_ROUND, _RESEND)
        self._requested = self._fresh = None
        self._checks.begin(height)
        self._state.reset(height)
        self._state.recall(self._memory)
        self._out.extend(self._state.words())
        self._state.learn()

    def _change_round(self, view: int) -> None:
        """Q7, Q8: never back, and never a vote in a round that was left."""
        self._timers.cancel(_ROUND)
        self._requested = self._fresh = None
        self._out.extend(self._state.change(view))
        self._checks.forget(view, self._state.payloads())

    # --- What others say (Q10). ---

    def _on_message(self, sender: NodeId, signed: Signed[Message]) -> None:
        message = signed.message
        if signed.author not in self._committee.members:
            self._ignore(sender, "author is not a member")
            return
        try:
            match message:
                case Proposal() | Prepare() | Commit() | RoundChange():
                    self._on_spoken(sender, signed, message)
                case PreparedCertificate():
                    self._on_certificate(sender, message)
                case Decision():
                    self._on_decision(sender, message)
                case Status():
                    self._on_status(sender, message)
        except Invalid as error:
            self._ignore(sender, error.reason)

    def _on_spoken(self, sender: NodeId, signed: Signed[Message], message: Spoken) -> None:
        self._claims.note(signed.author, message.height, message.view)
        choice = message.prepared if isinstance(message, RoundChange) else message.payload
        if isinstance(message, Proposal):
            self._rules.check_proposal(Signed(signed.author, message, signed.signature))
            # Q8: who made these round changes is in that round.
            self._claims.note_all(message.round_changes, message.height, message.view)
        elif isinstance(message, RoundChange):
            self._rules.check_round_change(message)
        slot = message.slot()
        assert slot is not None
        refused = self._ballots.file(sender, slot, choice, signed)
        self._out.extend(refused)
        if not refused and message.height == self._state.now.height:
            self._state.learn_slot(slot)

    def _on_certificate(self, sender: NodeId, message: PreparedCertificate) -> None:
        """Q9: of each member the one of the highest round is kept."""
        agreed = self._rules.check_prepared(message.votes)
        self._claims.note_all(message.votes, agreed.height, agreed.view)
        if agreed.height == self._state.now.height:
            self._state.show(sender, message.votes)
        else:
            self._ignore(sender, "certificate of another height")

    def _on_decision(self, sender: NodeId, message: Decision) -> None:
        """Q11: it can be of any round."""
        agreed = self._rules.check_decision(message.votes)
        self._claims.note_all(message.votes, agreed.height, agreed.view)
        if agreed.height == self._state.now.height:
            self._state.decisions.setdefault(agreed.height, message.votes)
        else:
            self._ignore(sender, "decision of another height")

    # --- The rules of a round (Q2 to Q9), in the order in which they can apply. ---

    def _advance(self) -> None:
        self._decide()
        state = self._state
        if state.decided or not state.may_speak():
            return
        ahead = self._claims.view(state.now.height)
        if ahead > state.now.view:
            self._change_round(ahead)
        while self._passes_over():
            self._change_round(state.now.view + 1)
        if state.may_propose():
            self._propose()
        if state.now.prepare is None:
            self._judge()
        if state.now.commit is None:
            self._commit()

    def _decide(self) -> None:
        """Q6: a quorum committed one payload in one round, whichever."""
        state, height = self._state, self._state.now.height
        votes = state.decisions.get(height)
        if votes is None or state.decided:
            return
        agreed = votes[0].message
        proposer = self._rules.proposer(height, agreed.view)
        if self._checks.ask(agreed.view, agreed.payload, proposer):
            self._decider = proposer
            self._out.extend(state.decide(votes))

    def _propose(self) -> None:
        """Q2, Q9: what the justification demands, else a new payload."""
        now = self._state.now
        justification = self._state.justification() if now.view else ((), ())
        if justification is None:
            return
        round_changes, prepares = justification
        payload = prepares[0].message.payload if prepares else self._fresh
        if payload is not None:
            self._out.extend(self._state.propose(payload, round_changes, prepares))
        elif self._requested is None:
            self._requested = Ticket(Height(now.height), View(now.view))
            self._out.append(RequestPayload(self._requested))

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket == self._requested and payload is not None and payload != NOTHING:
            self._checks.answered(ticket, payload, valid=True)
            self._fresh = payload

    def _judge(self) -> None:
        """Q3, Q4: prepare what is justified and valid; leave a round that proposes what is not."""
        state, proposal = self._state, self._state.proposed_here()
        if proposal is None:
            return
        valid = self._checks.ask(state.now.view, proposal.payload, state.proposer())
        if valid:
            self._out.extend(state.prepare(proposal.payload))
        elif valid is not None:
            self._ignore(state.proposer(), "invalid payload")
            self._change_round(state.now.view + 1)

    def _commit(self) -> None:
        """Q5: commit what a quorum prepared in this round, once it is valid here."""
        votes = self._state.prepared_here()
        if not votes:
            return
        agreed = votes[0].message
        if self._checks.ask(agreed.view, agreed.payload, self._state.proposer()):
            self._out.extend(self._state.commit(votes))

    # --- Time (Q12). ---

    def _on_timer(self, name: str) -> None:
        self._timers.fired(name)
        match name:
            case "round":
                self._change_round(self._state.now.view + 1)
            case "resend":
                self._answers.clear()
                self._out.append(Send(self._state.status()))
                decided = max(self._claims.height() - 1, *self._state.decisions, 0)
                if decided >= self._state.now.height:
                    self._out.append(NeedSync(Height(decided)))
            case "calm":
                self._answers.clear()

    def _set_timers(self) -> None:
        """Q12: timers run while something waits, and never while idle."""
        now, waits = self._state.now, self._waits()
        # Why a quorum: alone, this replica would run through rounds in which nobody is with it.
        arrived = now.view == 0 or self._claims.within(now.height, now.view)
        speaks = waits and arrived and self._state.may_speak()
        self._timers.want(_ROUND, self._options.round_ms(now.view), wanted=speaks)
        self._timers.want(_RESEND, self._options.resend_ms, wanted=waits)

    def _waits(self) -> bool:
        lags = self._claims.height() > self._state.now.height
        return not self._state.decided and (self._pending or lags or self._state.open())

    # --- Censorship (Q12). ---

    def _on_overdue(self) -> None:
        """Under a rule that lets one member lead each height, that member is passed over."""
        height, decider = self._state.now.height, self._decider
        stays = self._rules.proposer(height, 0) == self._rules.proposer(height - 1, 0)
        if stays and decider is not None and decider != self._me:
            self._suspects.add(decider, height)

    def _passes_over(self) -> bool:
        now = self._state.now
        suspected = self._suspects.has(self._state.proposer(), now.height)
        return suspected and now.prepare is None and self._waits()

    # --- Retransmission (Q14). ---

    def _on_status(self, peer: NodeId, status: Status) -> None:
        if peer == self._me:
            return
        self._claims.note(peer, status.executed + 1, status.view)
        if not self._answers.allow(peer):
            self._ignore(peer, "status too often")
            return
        self._timers.want(_CALM, self._options.resend_ms, wanted=True)
        self._out.extend(self._state.answer(peer, status))

    def _ignore(self, sender: NodeId, reason: str) -> None:
        self._out.append(Ignore(sender, reason))
