"""The messages of Tendermint, and when a set of votes in one of them proves something.

The labels are those of docs/specs/tendermint.md. Signatures were verified by the host; here it is
checked who said what, in which round, and that the authors are distinct and enough.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import NUMBER_MAX, Committee, Height, Leader, Signed, Slot, View
from crypto.encoding import Record
from crypto.header import DigestField
from crypto.interface import Digest, NodeId

MEMBERS_MAX = 1_024

NONE = -1
"""The round of a value that does not exist."""

NIL = Digest(bytes(32))
"""A vote for no value."""

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
NumberOrNone = Annotated[int, Meta(ge=NONE, le=NUMBER_MAX)]


class Prevote(Record, frozen=True, tag=1):
    """A replica accepts what is proposed in this round, or nothing (`NIL`)."""

    height: Number
    view: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("prevote", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Precommit(Record, frozen=True, tag=2):
    """A replica has seen a quorum of prevotes for it and is locked on it, or not (`NIL`)."""

    height: Number
    view: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("precommit", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


Prevotes: TypeAlias = Annotated[tuple[Signed[Prevote], ...], Meta(max_length=MEMBERS_MAX)]
Precommits: TypeAlias = Annotated[tuple[Signed[Precommit], ...], Meta(max_length=MEMBERS_MAX)]


class Proposal(Record, frozen=True, tag=3):
    """The proposer of a round proposes. `proof`: the prevotes of round `valid_view` for it."""

    height: Number
    view: Number
    payload: DigestField
    valid_view: NumberOrNone
    proof: Prevotes

    def slot(self) -> Slot | None:
        return Slot("proposal", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.proof


class ProofOfLock(Record, frozen=True, tag=4):
    """A quorum of prevotes of one round for one value. Unsigned: it proves itself."""

    votes: Prevotes

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.votes


class RoundEnd(Record, frozen=True, tag=5):
    """A quorum of precommits of one round: equal, it is a decision; else, the round may end.

    Unsigned: it proves itself.
    """

    votes: Precommits

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.votes


class Status(Record, frozen=True, tag=6):
    """Where a replica is, so that others send what it lacks. Unsigned."""

    executed: Number
    view: Number
    valid_view: NumberOrNone
    proposed: bool
    """Whether it has the proposal of this round."""

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


Message: TypeAlias = Prevote | Precommit | Proposal | ProofOfLock | RoundEnd | Status
Spoken: TypeAlias = Prevote | Precommit | Proposal
"""The signed ones."""


class Invalid(Exception):
    """A set of votes does not prove what it should. `reason` is a short constant."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rules:
    """Checks that need the committee and the leader rule, and nothing else."""

    def __init__(self, committee: Committee, leader: Leader) -> None:
        self.committee = committee
        self._leader = leader

    def proposer(self, height: int, view: int) -> NodeId:
        return self._leader.leader(self.committee, Height(height), View(view))

    def check_proposal(self, signed: Signed[Proposal]) -> None:
        """T2: by the proposer of the round; with a proof if it claims an earlier round."""
        message = signed.message
        if signed.author != self.proposer(message.height, message.view):
            raise Invalid("proposal not by the proposer")
        if message.payload == NIL:
            raise Invalid("proposal of nothing")
        if message.valid_view == NONE:
            if message.proof:
                raise Invalid("proof of no round")
            return
        if message.valid_view >= message.view:
            raise Invalid("proof of a later round")
        proved = self.check_lock(message.proof)
        if proved != Prevote(message.height, message.valid_view, message.payload):
            raise Invalid("proof of something else")

    def check_lock(self, votes: Sequence[Signed[Prevote]]) -> Prevote:
        """T5: a quorum prevoted one value in one round. Returns what each of them said."""
        self._check_votes(votes)
        first = votes[0].message
        if first.payload == NIL or any(signed.message != first for signed in votes):
            raise Invalid("prevotes differ")
        return first

    def check_end(self, votes: Sequence[Signed[Precommit]]) -> Precommit:
        """T8, T9: a quorum precommitted in one round.

        Returns what all of them said, or a precommit for nil if they said different things.
        """
        self._check_votes(votes)
        first = votes[0].message
        if all(signed.message == first for signed in votes):
            return first
        return Precommit(first.height, first.view, NIL)

    def _check_votes(self, votes: Sequence[Signed[Prevote]] | Sequence[Signed[Precommit]]) -> None:
        authors = [signed.author for signed in votes]
        if len(set(authors)) != len(authors):
            raise Invalid("author counted twice")
        if len(authors) < self.committee.quorum:
            raise Invalid("no quorum")
        if not set(authors) <= set(self.committee.members):
            raise Invalid("author is not a member")
        if len({(signed.message.height, signed.message.view) for signed in votes}) != 1:
            raise Invalid("votes of several rounds")
