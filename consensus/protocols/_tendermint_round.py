"""What a Tendermint replica knows of the round that it is in, and what it has said there.

It decides nothing. The labels are those of docs/specs/tendermint.md.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from consensus.interface import Decide, Height, Output, Persist, Relay, Send, Signed, Slot, View
from consensus.protocols import _tendermint_log as log
from consensus.protocols._heights import COMMITS_KEPT, Ballots
from consensus.protocols._tendermint_log import Current, Memory
from consensus.protocols._tendermint_messages import (
    NIL,
    NONE,
    Message,
    Precommit,
    Precommits,
    Prevote,
    Prevotes,
    ProofOfLock,
    Proposal,
    RoundEnd,
    Rules,
    Status,
)
from crypto.interface import Digest, NodeId

PROPOSE, PREVOTE, PRECOMMIT = STEPS = ("propose", "prevote", "precommit")
"""The steps of a round. Each has the timer of that name, the latter two are phases of votes."""

PROPOSAL = "proposal"


class RoundState:
    """Height, round, step, lock and valid value: the variables of the paper's algorithm 1."""

    def __init__(self, me: NodeId, rules: Rules, ballots: Ballots[Message]) -> None:
        self._me = me
        self._rules = rules
        self._ballots = ballots
        self.commits: dict[int, Precommits] = {}
        """What decided this height and former ones (T12)."""
        self._floor = 1
        self.reset(1)

    def reset(self, height: int) -> None:
        """Nothing is known of `height` but the votes that came early."""
        self.now = Current(height, 0)
        self.proposal: Proposal | None = None
        """The own one."""
        self.valid: Prevotes = ()
        """The proof of the valid value (T6)."""
        self.polka: Prevotes = ()
        """The proof of the highest round; its value may still have to be checked."""
        self.entry: Precommits | None = None
        """What ended the former round, if this replica saw it."""
        self.decided = self.shared = self.proposed = False
        self._ballots.enter(height, 0)

    def recall(self, memory: Memory) -> None:
        """T15: what was remembered of this height."""
        current, height = memory.current, self.now.height
        self._floor = 1 if current is None else current.height
        if current is None or current.height != height:
            return
        self.now = current
        proposal = memory.proposal
        if proposal and (proposal.height, proposal.view) == (height, current.view):
            self.proposal = proposal
        if memory.valid is not None and memory.valid.votes[0].message.height == height:
            self.valid = self.polka = memory.valid.votes
        if memory.entry is not None and memory.entry.votes[0].message.height == height:
            self.entry = memory.entry.votes
        self._ballots.enter(height, current.view)

    def words(self) -> list[Message]:
        """What this replica has said in this round."""
        now = self.now
        said: list[Message] = [] if self.proposal is None else [self.proposal]
        if now.prevote is not None:
            said.append(Prevote(now.height, now.view, now.prevote))
        if now.precommit is not None:
            said.append(Precommit(now.height, now.view, now.precommit))
        return said

    def enter(self, view: int, entry: Precommits | None) -> None:
        """T9, T10: the lock and the valid value come along, votes of the round do not."""
        self.now = replace(self.now, view=view, prevote=None, precommit=None)
        self.entry, self.proposal, self.shared = entry, None, False
        self._ballots.enter(self.now.height, view)

    def learn(self) -> None:
        """What the votes of this height prove together."""
        for slot in self._ballots.slots():
            self.learn_slot(slot)

    def learn_slot(self, slot: Slot) -> None:
        if slot.phase == PROPOSAL:
            self.proposed = True
            proposer = self._rules.proposer(slot.height, slot.view)
            signed = self._ballots.said(slot, proposer)
            if signed and isinstance(signed.message, Proposal) and signed.message.proof:
                self.take_polka(signed.message.proof)
            return
        for payload, votes in self._ballots.chosen(slot).items():
            if payload == NIL:
                continue
            if slot.phase == PREVOTE:
                self.take_polka(_prevotes(votes))
            else:
                self.commits.setdefault(slot.height, _precommits(votes))

    def take_polka(self, votes: Prevotes) -> None:
        """T6: the proof of the highest round counts."""
        if not self.polka or votes[0].message.view > self.polka[0].message.view:
            self.polka = votes

    def take_end(self, sender: NodeId, votes: Precommits) -> list[Output[Message]]:
        """T9: as if each of them had come by itself.

        Why not the next round at once: a faulty member could show it before a slow replica has
        seen the prevotes, and end each round before that replica can lock.
        """
        out: list[Output[Message]] = []
        for signed in votes:
            vote = signed.message
            slot = Slot(PRECOMMIT, vote.height, vote.view)
            out += self._ballots.file(sender, slot, vote.payload, signed)
        return out

    # --- What it says. Each is remembered before it is signed (T15). ---

    def propose(self, payload: Digest, valid_view: int, proof: Prevotes) -> list[Output[Message]]:
        now = self.now
        self.proposal = Proposal(now.height, now.view, payload, valid_view, proof)
        changes = {**log.keep_current(now), **log.keep_proposal(self.proposal)}
        return [Persist(changes), Send(self.proposal)]

    def prevote(self, payload: Digest) -> list[Output[Message]]:
        now = self.now = replace(self.now, prevote=payload)
        said = Prevote(now.height, now.view, payload)
        return [Persist(log.keep_current(now)), Send(said)]

    def precommit(self, payload: Digest) -> list[Output[Message]]:
        now = self.now = replace(self.now, precommit=payload)
        said = Precommit(now.height, now.view, payload)
        return [Persist(log.keep_current(now)), Send(said)]

    def lock(self) -> list[Output[Message]]:
        """T5: the lock and its proof are remembered before anybody can hear of them."""
        locked = self.valid[0].message.payload
        self.now = replace(self.now, locked_view=self.now.view, locked=locked)
        return self.precommit(locked)

    def decide(self, votes: Precommits) -> list[Output[Message]]:
        """T12: what decided is remembered first, for those who lack one of these votes."""
        self.decided = True
        agreed = votes[0].message
        forgotten = [old for old in self.commits if old <= agreed.height - COMMITS_KEPT]
        for old in forgotten:
            del self.commits[old]
        changes = log.keep_commit(agreed.height, votes, forgotten)
        decision = Decide(Height(agreed.height), View(agreed.view), (agreed.payload,))
        return [Persist(changes), decision]

    def show_lock(self) -> list[Output[Message]]:
        """T14: the round fails though this replica locked: show the next proposer why."""
        here = self.now.locked_view == self.now.view
        if not here or self.shared or not self._ballots.complete(PRECOMMIT):
            return []
        self.shared = True
        return [Send(ProofOfLock(self.valid))]

    # --- Questions. ---

    def may_speak(self) -> bool:
        """T15: not below a height where it spoke before, or its lock there might be overwritten."""
        return self.now.height >= self._floor

    def open(self) -> bool:
        """T16: something was proposed and is undecided."""
        # Why height 1: it needs no transaction, so it is due from the start.
        height = self.now.height
        return self.proposed or bool(self.polka) or height in self.commits or height == 1

    def may_propose(self) -> bool:
        """T2: once in a round, by its proposer."""
        return self.proposer() == self._me and self.proposal is None and self.may_speak()

    def polka_here(self) -> bool:
        """T5: a quorum prevoted one value in this round, and it is valid here."""
        return bool(self.valid) and self.valid[0].message.view == self.now.view

    def waiting_for(self) -> tuple[NodeId, ...]:
        step = self.step()
        if step == PROPOSE:
            return (self.proposer(),)
        members = self._rules.committee.members
        return tuple(name for name in members if self._ballots.by(step, name) is None)

    def step(self) -> str:
        """The step follows from what was said in this round."""
        if self.now.precommit is not None:
            return PRECOMMIT
        return PROPOSE if self.now.prevote is None else PREVOTE

    def proposer(self) -> NodeId:
        return self._rules.proposer(self.now.height, self.now.view)

    def proposed_here(self) -> Proposal | None:
        """The proposal of this round."""
        signed = self._ballots.by(PROPOSAL, self.proposer())
        return signed.message if signed and isinstance(signed.message, Proposal) else None

    def free_for(self, proposal: Proposal) -> bool:
        """T3, T4: no lock, a lock on the same, or a quorum that prevoted it after the lock."""
        now = self.now
        if now.locked_view == NONE or now.locked == proposal.payload:
            return True
        return now.locked_view <= proposal.valid_view

    def against(self) -> bool:
        """T7: a quorum prevoted nil in this round."""
        slot = Slot(PREVOTE, self.now.height, self.now.view)
        return NIL in self._ballots.chosen(slot)

    def end(self) -> Precommits:
        """T9: all precommits of this round."""
        return _precommits(self._ballots.all(PRECOMMIT))

    def payloads(self) -> set[Digest]:
        """Those that may be decided or proposed later on, whatever this round brings."""
        proved = {signed.message.payload for signed in (*self.valid, *self.polka)}
        decided = self.commits.get(self.now.height, ())
        return proved | {signed.message.payload for signed in decided}

    # --- Retransmission (T18). ---

    def status(self) -> Status:
        valid_view = self.valid[0].message.view if self.valid else NONE
        proposed = self.proposed_here() is not None
        return Status(self.now.height - 1, self.now.view, valid_view, proposed)

    def answer(self, peer: NodeId, status: Status) -> list[Output[Message]]:
        """What the peer lacks: a proof of its height, or what was said in this round."""
        height = status.executed + 1
        commit = self.commits.get(height)
        if height <= self.now.height and commit is not None:
            return [Send(RoundEnd(commit), peer)]
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
        if not level and self.entry is not None:
            out.append(Send(RoundEnd(self.entry), peer))
        if own.valid_view > status.valid_view:
            out.append(Send(ProofOfLock(self.valid), peer))
        show = [self._ballots.by(phase, self._me) for phase in (PREVOTE, PRECOMMIT)]
        if not (level and status.proposed):
            show.insert(0, self._ballots.by(PROPOSAL, self.proposer()))
        return out + [Relay(signed, peer) for signed in show if signed is not None]


def _prevotes(votes: Sequence[Signed[Message]]) -> Prevotes:
    return tuple(
        Signed(signed.author, signed.message, signed.signature)
        for signed in votes
        if isinstance(signed.message, Prevote)
    )


def _precommits(votes: Sequence[Signed[Message]]) -> Precommits:
    return tuple(
        Signed(signed.author, signed.message, signed.signature)
        for signed in votes
        if isinstance(signed.message, Precommit)
    )
