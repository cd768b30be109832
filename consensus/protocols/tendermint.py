"""Tendermint: rounds of propose, prevote and precommit, with locks and proofs of lock.

Source: Buchman, Kwon and Milosevic, "The latest gossip on BFT consensus", arXiv 1807.04938. The
rules T1 to T18 are those of docs/specs/tendermint.md, with the lines of the paper's algorithm 1 for
each, and what differs and why. A round is a `view` here; it starts at 0 for each height.

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
    Persist,
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
from consensus.protocols import _tendermint_log as log
from consensus.protocols._heights import (
    Answers,
    Ballots,
    Checks,
    Claims,
    Suspects,
    Timers,
)
from consensus.protocols._tendermint_messages import (
    NIL,
    NONE,
    Invalid,
    Message,
    Precommit,
    Precommits,
    Prevote,
    ProofOfLock,
    Proposal,
    RoundEnd,
    Rules,
    Spoken,
    Status,
)
from consensus.protocols._tendermint_round import PRECOMMIT, PREVOTE, PROPOSE, STEPS, RoundState
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="Buchman, Kwon and Milosevic, arXiv 1807.04938",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n^2)",
    delays=3,
    responsive=False,
    accountable=Accountability.ONE_VIEW,
)

_RESEND = "resend"
_CALM = "calm"


@dataclass(frozen=True, slots=True)
class Options:
    """Agreed in the genesis file, though none has to be the same everywhere."""

    propose_timeout_ms: int = 1_000
    """In round 0. Each further round adds `timeout_step_ms` to this and the next."""
    vote_timeout_ms: int = 500
    """How long stragglers' votes are waited for once a quorum voted but did not agree."""
    timeout_step_ms: int = 500
    timeout_ms_max: int = 60_000
    resend_ms: int = 500
    """How often a replica that waits tells the others what it has."""

    def __post_init__(self) -> None:
        for name in ("propose_timeout_ms", "vote_timeout_ms", "timeout_step_ms", "resend_ms"):
            if not 1 <= getattr(self, name) <= self.timeout_ms_max:
                raise ValueError(f"{name} must be from 1 to timeout_ms_max")

    def propose_ms(self, view: int) -> int:
        """T13: longer with each round of a height, up to a limit."""
        return min(self.propose_timeout_ms + view * self.timeout_step_ms, self.timeout_ms_max)

    def vote_ms(self, view: int) -> int:
        return min(self.vote_timeout_ms + view * self.timeout_step_ms, self.timeout_ms_max)


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return _Tendermint(setup, options)


class _Tendermint:
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
                raise AssertionError("Tendermint's committee is that of the genesis file")
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
            self._state.step(),
            self._state.waiting_for() if self._waits() else (),
            self._options.propose_ms(self._state.now.view),
        )

    # --- Heights and rounds (T1, T9, T10). ---

    def _on_started(self, event: Started) -> None:
        self._memory = log.recall(event.remembered)
        ends = self._memory.commits.items()
        self._state.commits = {height: end.votes for height, end in ends}
        self._begin(event.executed + 1)
        self._out.append(Send(self._state.status()))

    def _begin(self, height: int) -> None:
        """T1: the former height was executed. T15: the same words as before a restart."""
        self._timers.cancel(*STEPS, _RESEND)
        self._requested = None
        self._checks.begin(height)
        self._state.reset(height)
        self._state.recall(self._memory)
        self._out.extend(Send(message) for message in self._state.words())
        self._state.learn()
        self._propose()

    def _start_round(self, view: int, entry: Precommits | None) -> None:
        """T9, T10: never back."""
        if not self._state.may_speak():
            return
        self._timers.cancel(*STEPS)
        self._requested = None
        self._state.enter(view, entry)
        kept = {**log.keep_current(self._state.now), **log.keep_entry(entry)}
        self._out.append(Persist(kept))
        self._checks.forget(view, self._state.payloads())
        self._propose()

    def _propose(self) -> None:
        """T2: the valid value with its proof, else a new one."""
        state = self._state
        if not state.may_propose():
            return
        if state.valid:
            agreed = state.valid[0].message
            self._out.extend(state.propose(agreed.payload, agreed.view, state.valid))
        elif state.step() == PROPOSE:
            self._requested = Ticket(Height(state.now.height), View(state.now.view))
            self._out.append(RequestPayload(self._requested))

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket != self._requested or payload is None or payload == NIL:
            return
        self._requested = None
        if self._state.step() == PROPOSE:
            self._checks.answered(ticket, payload, valid=True)
            self._out.extend(self._state.propose(payload, NONE, ()))

    # --- What others say (T11). ---

    def _on_message(self, sender: NodeId, signed: Signed[Message]) -> None:
        message = signed.message
        if signed.author not in self._committee.members:
            self._ignore(sender, "author is not a member")
            return
        try:
            match message:
                case Proposal() | Prevote() | Precommit():
                    self._on_spoken(sender, signed, message)
                case ProofOfLock():
                    self._on_proof(sender, message)
                case RoundEnd():
                    self._on_end(sender, message)
                case Status():
                    self._on_status(sender, message)
        except Invalid as error:
            self._ignore(sender, error.reason)

    def _on_spoken(self, sender: NodeId, signed: Signed[Message], message: Spoken) -> None:
        self._claims.note(signed.author, message.height, message.view)
        if isinstance(message, Proposal):
            self._rules.check_proposal(Signed(signed.author, message, signed.signature))
        slot = message.slot()
        assert slot is not None
        refused = self._ballots.file(sender, slot, message.payload, signed)
        self._out.extend(refused)
        if not refused and message.height == self._state.now.height:
            self._state.learn_slot(slot)

    def _on_proof(self, sender: NodeId, message: ProofOfLock) -> None:
        """T14: it shows that a quorum is in that round, too."""
        agreed = self._rules.check_lock(message.votes)
        self._claims.note_all(message.votes, agreed.height, agreed.view)
        if agreed.height == self._state.now.height:
            self._state.take_polka(message.votes)
        else:
            self._ignore(sender, "proof of another height")

    def _on_end(self, sender: NodeId, message: RoundEnd) -> None:
        """T8, T9: a decision, or votes that let a round end once their time is up."""
        agreed = self._rules.check_end(message.votes)
        self._claims.note_all(message.votes, agreed.height, agreed.view)
        if agreed.height != self._state.now.height or self._state.decided:
            self._ignore(sender, "precommits of another height")
        elif agreed.payload != NIL:
            self._state.commits.setdefault(agreed.height, message.votes)
        elif agreed.view >= self._state.now.view:
            self._out.extend(self._state.take_end(sender, message.votes))

    # --- The rules of a round (T3 to T8), in the order in which they can apply. ---

    def _advance(self) -> None:
        state = self._state
        self._decide()
        if state.decided or not state.may_speak():
            return
        ahead = self._claims.view(state.now.height)
        if ahead > state.now.view:
            self._start_round(ahead, None)
        if state.step() == PROPOSE:
            self._judge()
        self._update_valid()
        if state.step() == PREVOTE:
            self._agree()
        self._out.extend(state.show_lock())

    def _decide(self) -> None:
        """T8: a quorum precommitted one value in one round, whichever."""
        state, height = self._state, self._state.now.height
        votes = state.commits.get(height)
        if votes is None or state.decided:
            return
        agreed = votes[0].message
        proposer = self._rules.proposer(height, agreed.view)
        if not self._checks.ask(agreed.view, agreed.payload, proposer):
            return
        self._decider = proposer
        self._out.extend(state.decide(votes))

    def _judge(self) -> None:
        """T3, T4: prevote what is proposed, if it is valid and no lock forbids it."""
        state, proposer = self._state, self._state.proposer()
        if self._suspects.has(proposer, state.now.height) and self._waits():
            self._out.extend(state.prevote(NIL))
            return
        proposal = state.proposed_here()
        if proposal is None:
            return
        valid = self._checks.ask(state.now.view, proposal.payload, proposer)
        if valid is None:
            return
        if not valid:
            self._ignore(proposer, "invalid payload")
        accepted = valid and state.free_for(proposal)
        self._out.extend(state.prevote(proposal.payload if accepted else NIL))

    def _update_valid(self) -> None:
        """T6: what a quorum prevoted, and is valid here, is what this replica would propose."""
        state = self._state
        if not state.polka or state.polka == state.valid:
            return
        agreed = state.polka[0].message
        proposer = self._rules.proposer(agreed.height, agreed.view)
        if self._checks.ask(agreed.view, agreed.payload, proposer):
            state.valid = state.polka
            self._out.append(Persist(log.keep_valid(state.valid)))

    def _agree(self) -> None:
        """T5, T7: precommit what a quorum prevoted in this round, or nothing."""
        if self._state.polka_here():
            self._out.extend(self._state.lock())
        elif self._state.against():
            self._out.extend(self._state.precommit(NIL))

    # --- Time (T13, T16, T17). ---

    def _on_timer(self, name: str) -> None:
        self._timers.fired(name)
        match name:
            case "propose":
                self._out.extend(self._state.prevote(NIL))
            case "prevote":
                self._out.extend(self._state.precommit(NIL))
            case "precommit":
                self._start_round(self._state.now.view + 1, self._state.end())
            case "resend":
                self._answers.clear()
                self._out.append(Send(self._state.status()))
                decided = max(self._claims.height() - 1, *self._state.commits, 0)
                if decided >= self._state.now.height:
                    self._out.append(NeedSync(Height(decided)))
            case "calm":
                self._answers.clear()

    def _set_timers(self) -> None:
        """T16: timers run while something waits, and never while idle."""
        state, options = self._state, self._options
        view, step = state.now.view, state.step()
        waits = self._waits()
        speaks = waits and state.may_speak()
        prevoted = step == PREVOTE and self._ballots.complete(PREVOTE)
        precommitted = self._ballots.complete(PRECOMMIT)
        self._timers.want(PROPOSE, options.propose_ms(view), wanted=speaks and step == PROPOSE)
        self._timers.want(PREVOTE, options.vote_ms(view), wanted=speaks and prevoted)
        self._timers.want(PRECOMMIT, options.vote_ms(view), wanted=speaks and precommitted)
        self._timers.want(_RESEND, options.resend_ms, wanted=waits)

    def _waits(self) -> bool:
        lags = self._claims.height() > self._state.now.height
        return not self._state.decided and (self._pending or lags or self._state.open())

    def _on_overdue(self) -> None:
        """T17: under a rule that lets one member lead each height, pass that member over."""
        height, decider = self._state.now.height, self._decider
        stays = self._rules.proposer(height, 0) == self._rules.proposer(height - 1, 0)
        if stays and decider is not None and decider != self._me:
            self._suspects.add(decider, height)

    # --- Retransmission (T18). ---

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
