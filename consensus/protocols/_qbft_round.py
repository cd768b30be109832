"""What a QBFT replica knows of the round that it is in, and what it has said there.

It decides nothing. The labels are those of docs/specs/qbft.md.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from consensus.interface import Decide, Height, Output, Persist, Relay, Send, Signed, Slot, View
from consensus.protocols import _qbft_log as log
from consensus.protocols._heights import COMMITS_KEPT, Ballots
from consensus.protocols._qbft_log import Current, Memory
from consensus.protocols._qbft_messages import (
    NONE,
    NOTHING,
    Commit,
    Commits,
    Decision,
    Message,
    Prepare,
    PreparedCertificate,
    Prepares,
    Proposal,
    RoundChange,
    RoundChanges,
    Rules,
    Status,
)
from crypto.interface import Digest, NodeId

PROPOSAL, PREPARE, COMMIT, ROUND_CHANGE = "proposal", "prepare", "commit", "round-change"


class RoundState:
    """Height, round, and the prepared round and value: the variables of the paper."""

    def __init__(self, me: NodeId, rules: Rules, ballots: Ballots[Message]) -> None:
        self._me = me
        self._rules = rules
        self._ballots = ballots
        self.decisions: dict[int, Commits] = {}
        """What decided this height and former ones (Q11)."""
        self._floor = 1
        self.reset(1)

    def reset(self, height: int) -> None:
        """Nothing is known of `height` but the votes that came early."""
        self.now = Current(height, 0)
        self.proposal: Proposal | None = None
        """The own one."""
        self.prepared: Prepares = ()
        """The certificate of the highest round that was prepared here (Q5)."""
        self.shown: dict[NodeId, Prepares] = {}
        """The certificate that each member has shown."""
        self.decided = self.proposed = False
        self._ballots.enter(height, 0)

    def recall(self, memory: Memory) -> None:
        """Q13: what was remembered of this height."""
        current, height = memory.current, self.now.height
        self._floor = 1 if current is None else current.height
        if current is None or current.height != height:
            return
        self.now = current
        proposal = memory.proposal
        if proposal and (proposal.height, proposal.view) == (height, current.view):
            self.proposal = proposal
        if memory.prepared is not None and memory.prepared.votes[0].message.height == height:
            self.prepared = memory.prepared.votes
        self._ballots.enter(height, current.view)

    def learn(self) -> None:
        """What the votes of this height prove together."""
        for slot in self._ballots.slots():
            self.learn_slot(slot)

    def learn_slot(self, slot: Slot) -> None:
        """Q6: commits of a quorum in one round, whichever."""
        self.proposed = self.proposed or slot.phase == PROPOSAL
        if slot.phase == COMMIT:
            for votes in self._ballots.chosen(slot).values():
                self.decisions.setdefault(slot.height, _commits(votes))

    def show(self, member: NodeId, votes: Prepares) -> None:
        """Q9: a member has shown a prepared certificate."""
        known = self.shown.get(member)
        if known is None or known[0].message.view < votes[0].message.view:
            self.shown[member] = votes

    # --- What it says. Each is remembered before it is signed (Q13). ---

    def words(self) -> list[Output[Message]]:
        """What this replica has said in this round."""
        now = self.now
        said: list[Message] = []
        if now.round_change is not None:
            said += [*self._certificate(), now.round_change]
        if self.proposal is not None:
            said.append(self.proposal)
        if now.prepare is not None:
            said.append(Prepare(now.height, now.view, now.prepare))
        if now.commit is not None:
            said.append(Commit(now.height, now.view, now.commit))
        return [Send(message) for message in said]

    def change(self, view: int) -> list[Output[Message]]:
        """Q7: to a later round, for good, with what was prepared."""
        height = self.now.height
        message = RoundChange(height, view, NONE, NOTHING)
        if self.prepared:
            agreed = self.prepared[0].message
            message = RoundChange(height, view, agreed.view, agreed.payload)
        self.now = Current(height, view, message)
        self.proposal = None
        self._ballots.enter(height, view)
        return [Persist(log.keep_current(self.now)), *self.words()]

    def propose(
        self, payload: Digest, round_changes: RoundChanges, prepares: Prepares
    ) -> list[Output[Message]]:
        now = self.now
        self.proposal = Proposal(now.height, now.view, payload, round_changes, prepares)
        changes = {**log.keep_current(now), **log.keep_proposal(self.proposal)}
        return [Persist(changes), Send(self.proposal)]

    def prepare(self, payload: Digest) -> list[Output[Message]]:
        now = self.now = replace(self.now, prepare=payload)
        said = Prepare(now.height, now.view, payload)
        return [Persist(log.keep_current(now)), Send(said)]

    def commit(self, votes: Prepares) -> list[Output[Message]]:
        """Q5: the certificate is remembered before anybody can hear of it."""
        agreed = votes[0].message
        self.prepared = votes
        now = self.now = replace(self.now, commit=agreed.payload)
        changes = {**log.keep_current(now), **log.keep_prepared(votes)}
        return [Persist(changes), Send(Commit(now.height, now.view, agreed.payload))]

    def decide(self, votes: Commits) -> list[Output[Message]]:
        """Q11: what decided is remembered first, for those who lack one of these votes."""
        self.decided = True
        agreed = votes[0].message
        forgotten = [old for old in self.decisions if old <= agreed.height - COMMITS_KEPT]
        for old in forgotten:
            del self.decisions[old]
        changes = log.keep_decision(agreed.height, votes, forgotten)
        decision = Decide(Height(agreed.height), View(agreed.view), (agreed.payload,))
        return [Persist(changes), decision]

    # --- Questions. ---

    def open(self) -> bool:
        """Q12: something was proposed and is undecided."""
        # Why height 1: it needs no transaction, so it is due from the start.
        height = self.now.height
        return self.proposed or bool(self.prepared) or height in self.decisions or height == 1

    def may_speak(self) -> bool:
        """Q13: not below a height where it spoke before: that memory must not be overwritten."""
        return self.now.height >= self._floor

    def may_propose(self) -> bool:
        """Q2: once in a round, by its proposer."""
        return self.proposer() == self._me and self.proposal is None

    def proposer(self) -> NodeId:
        return self._rules.proposer(self.now.height, self.now.view)

    def proposed_here(self) -> Proposal | None:
        """The proposal of this round."""
        signed = self._ballots.by(PROPOSAL, self.proposer())
        return signed.message if signed and isinstance(signed.message, Proposal) else None

    def prepared_here(self) -> Prepares:
        """Q5: the prepares of a quorum in this round."""
        slot = Slot(PREPARE, self.now.height, self.now.view)
        for votes in self._ballots.chosen(slot).values():
            return _prepares(votes)
        return ()

    def justification(self) -> tuple[RoundChanges, Prepares] | None:
        """Q9: round changes of a quorum, and the certificate of the highest round they name.

        A claim that no certificate proves is left out, unless a higher one is proved.
        """
        changes = _round_changes(self._ballots.all(ROUND_CHANGE))
        proved = sorted(
            {votes[0].message.view: votes for votes in self.shown.values()}.items(), reverse=True
        )
        for view, votes in [*proved, (NONE, ())]:
            payload = votes[0].message.payload if votes else NOTHING
            fitting = [
                item
                for item in changes
                if item.message.prepared_view < view
                or (item.message.prepared_view, item.message.prepared) == (view, payload)
            ]
            # Why first: the one that names the highest round must be among the quorum.
            fitting.sort(key=lambda item: (-item.message.prepared_view, item.author))
            quorum = self._rules.committee.quorum
            if len(fitting) >= quorum and fitting[0].message.prepared_view == view:
                return tuple(fitting[:quorum]), votes
        return None

    def payloads(self) -> set[Digest]:
        """Those that may be decided or proposed later on, whatever this round brings."""
        proved = {votes[0].message.payload for votes in self.shown.values()}
        proved |= {signed.message.payload for signed in self.prepared[:1]}
        return proved | {vote.message.payload for vote in self.decisions.get(self.now.height, ())}

    def waiting_for(self) -> tuple[NodeId, ...]:
        now, members = self.now, self._rules.committee.members
        if now.prepare is None and self.proposer() != self._me:
            return (self.proposer(),)
        phase = ROUND_CHANGE if now.prepare is None else PREPARE
        phase = phase if now.commit is None else COMMIT
        return tuple(name for name in members if self._ballots.by(phase, name) is None)

    def phase(self) -> str:
        if self.now.commit is not None:
            return COMMIT
        if self.now.prepare is not None:
            return PREPARE
        return ROUND_CHANGE if self.now.view else PROPOSAL

    # --- Retransmission (Q14). ---

    def status(self) -> Status:
        return Status(self.now.height - 1, self.now.view, self.proposed_here() is not None)

    def answer(self, peer: NodeId, status: Status) -> list[Output[Message]]:
        """What the peer lacks: what decided its height, or what was said in this round."""
        height = status.executed + 1
        decision = self.decisions.get(height)
        if height <= self.now.height and decision is not None:
            return [Send(Decision(decision), peer)]
        if height > self.now.height:
            return [Send(self.status(), peer)]
        return self._help(peer, status) if height == self.now.height else []

    def _help(self, peer: NodeId, status: Status) -> list[Output[Message]]:
        now, own = self.now, self.status()
        ahead, level = status.view > now.view, status.view == now.view
        out: list[Output[Message]] = []
        if ahead or (level and status.proposed and not own.proposed):
            out.append(Send(own, peer))
        if ahead:
            return out
        show = [self._ballots.by(phase, self._me) for phase in (PREPARE, COMMIT)]
        if not (level and status.proposed):
            out += [Send(message, peer) for message in self._certificate()]
            show.insert(0, self._ballots.by(ROUND_CHANGE, self._me))
            show.insert(1, self._ballots.by(PROPOSAL, self.proposer()))
        return out + [Relay(signed, peer) for signed in show if signed is not None]

    def _certificate(self) -> list[Message]:
        return [PreparedCertificate(self.prepared)] if self.prepared else []


def _prepares(votes: Sequence[Signed[Message]]) -> Prepares:
    return tuple(
        Signed(signed.author, signed.message, signed.signature)
        for signed in votes
        if isinstance(signed.message, Prepare)
    )


def _commits(votes: Sequence[Signed[Message]]) -> Commits:
    return tuple(
        Signed(signed.author, signed.message, signed.signature)
        for signed in votes
        if isinstance(signed.message, Commit)
    )


def _round_changes(votes: Sequence[Signed[Message]]) -> RoundChanges:
    return tuple(
        Signed(signed.author, signed.message, signed.signature)
        for signed in votes
        if isinstance(signed.message, RoundChange)
    )
