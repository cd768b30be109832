"""The messages of QBFT, and when one of them is justified by those that it carries.

The labels are those of docs/specs/qbft.md. Signatures were verified by the host; here it is checked
who said what, in which round, and that the authors are distinct and enough.
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
"""The prepared round of a replica that has prepared nothing."""

NOTHING = Digest(bytes(32))
"""What such a replica has prepared."""

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
NumberOrNone = Annotated[int, Meta(ge=NONE, le=NUMBER_MAX)]


class Prepare(Record, frozen=True, tag=1):
    """A replica accepts the proposal of this round."""

    height: Number
    view: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("prepare", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Commit(Record, frozen=True, tag=2):
    """A replica has a prepared certificate of this round."""

    height: Number
    view: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("commit", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class RoundChange(Record, frozen=True, tag=3):
    """A replica goes to round `view`, and says what it has prepared in which earlier round.

    Its prepared certificate goes beside it (`PreparedCertificate`), so that a proposal can
    enclose the round changes of a quorum without a certificate in each.
    """

    height: Number
    view: Number
    prepared_view: NumberOrNone
    prepared: DigestField

    def slot(self) -> Slot | None:
        return Slot("round-change", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


Prepares: TypeAlias = Annotated[tuple[Signed[Prepare], ...], Meta(max_length=MEMBERS_MAX)]
Commits: TypeAlias = Annotated[tuple[Signed[Commit], ...], Meta(max_length=MEMBERS_MAX)]
RoundChanges: TypeAlias = Annotated[tuple[Signed[RoundChange], ...], Meta(max_length=MEMBERS_MAX)]


class Proposal(Record, frozen=True, tag=4):
    """The proposer of a round proposes; above round 0 with the justification."""

    height: Number
    view: Number
    payload: DigestField
    round_changes: RoundChanges
    prepares: Prepares

    def slot(self) -> Slot | None:
        return Slot("proposal", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return (*self.round_changes, *self.prepares)


class PreparedCertificate(Record, frozen=True, tag=5):
    """A quorum of prepares of one round. Unsigned: it proves itself."""

    votes: Prepares

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.votes


class Decision(Record, frozen=True, tag=6):
    """A quorum of commits of one round. Unsigned: it proves itself."""

    votes: Commits

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.votes


class Status(Record, frozen=True, tag=7):
    """Where a replica is, so that others send what it lacks. Unsigned."""

    executed: Number
    view: Number
    proposed: bool
    """Whether it has the proposal of this round."""

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


Message: TypeAlias = (
    Prepare | Commit | RoundChange | Proposal | PreparedCertificate | Decision | Status
)
Spoken: TypeAlias = Prepare | Commit | RoundChange | Proposal
"""The signed ones."""


class Invalid(Exception):
    """A message is not justified. `reason` is a short constant."""

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

    def check_round_change(self, message: RoundChange) -> None:
        """Q7: what it claims can be true."""
        if message.prepared_view >= message.view:
            raise Invalid("prepared in a later round")
        if (message.prepared_view == NONE) != (message.prepared == NOTHING):
            raise Invalid("prepared in no round")

    def check_proposal(self, signed: Signed[Proposal]) -> None:
        """Q2, Q3: by the proposer of the round, and justified."""
        message = signed.message
        if signed.author != self.proposer(message.height, message.view):
            raise Invalid("proposal not by the proposer")
        if message.payload == NOTHING:
            raise Invalid("proposal of nothing")
        if message.view == 0:
            if message.round_changes or message.prepares:
                raise Invalid("round 0 needs no justification")
            return
        self._check_authors([item.author for item in message.round_changes])
        highest = (NONE, NOTHING)
        for item in message.round_changes:
            change = item.message
            if (change.height, change.view) != (message.height, message.view):
                raise Invalid("round-change to another round")
            self.check_round_change(change)
            highest = max(highest, (change.prepared_view, change.prepared))
        if highest[0] == NONE:
            if message.prepares:
                raise Invalid("prepares of no round")
            return
        if Prepare(message.height, *highest) != self.check_prepared(message.prepares):
            raise Invalid("prepares of something else")
        if message.payload != highest[1]:
            raise Invalid("proposal is not what was prepared")

    def check_prepared(self, votes: Sequence[Signed[Prepare]]) -> Prepare:
        """Q5: a quorum prepared one payload in one round. Returns what each of them said."""
        self._check_authors([signed.author for signed in votes])
        if any(signed.message != votes[0].message for signed in votes):
            raise Invalid("prepares differ")
        return votes[0].message

    def check_decision(self, votes: Sequence[Signed[Commit]]) -> Commit:
        """Q6: a quorum committed one payload in one round. Returns what each of them said."""
        self._check_authors([signed.author for signed in votes])
        if any(signed.message != votes[0].message for signed in votes):
            raise Invalid("commits differ")
        return votes[0].message

    def _check_authors(self, authors: Sequence[NodeId]) -> None:
        if len(set(authors)) != len(authors):
            raise Invalid("author counted twice")
        if len(authors) < self.committee.quorum:
            raise Invalid("no quorum")
        if not set(authors) <= set(self.committee.members):
            raise Invalid("author is not a member")
