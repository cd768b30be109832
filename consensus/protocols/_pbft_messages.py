"""The messages of PBFT, and when a certificate in one of them holds.

The labels are those of docs/specs/pbft.md. Signatures were verified by the host; here it is
checked who said what, in which view, and that the authors are distinct and enough.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import NUMBER_MAX, Committee, Height, Leader, Signed, Slot, View
from crypto.encoding import Record
from crypto.header import DigestField
from crypto.interface import Digest, NodeId

MEMBERS_MAX = 1_024
PREPARED_MAX = 1_024

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]

NULL = Digest(bytes(32))
"""The digest of the null request: nothing is executed (P17)."""


class PrePrepare(Record, frozen=True, tag=1):
    """The primary assigns a payload to a height."""

    view: Number
    height: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("pre-prepare", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Prepare(Record, frozen=True, tag=2):
    """A backup agrees to the assignment in this view."""

    view: Number
    height: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("prepare", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Commit(Record, frozen=True, tag=3):
    """A replica has a prepared certificate for the assignment."""

    view: Number
    height: Number
    payload: DigestField

    def slot(self) -> Slot | None:
        return Slot("commit", self.height, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Checkpoint(Record, frozen=True, tag=4):
    """A replica executed this height with this result."""

    height: Number
    header: DigestField

    def slot(self) -> Slot | None:
        return Slot("checkpoint", self.height, 0)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Prepared(Record, frozen=True):
    """The prepared certificate: a pre-prepare and matching prepares of a quorum less one."""

    pre_prepare: Signed[PrePrepare]
    prepares: Annotated[tuple[Signed[Prepare], ...], Meta(max_length=MEMBERS_MAX)]


class ViewChange(Record, frozen=True, tag=5):
    """A replica leaves for `view`, and says what it has prepared above its stable checkpoint."""

    view: Number
    stable: Number
    proof: Annotated[tuple[Signed[Checkpoint], ...], Meta(max_length=MEMBERS_MAX)]
    prepared: Annotated[tuple[Prepared, ...], Meta(max_length=PREPARED_MAX)]

    def slot(self) -> Slot | None:
        return Slot("view-change", 0, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        found: list[Signed[Message]] = [*self.proof]
        for item in self.prepared:
            found += [item.pre_prepare, *item.prepares]
        return found


class NewView(Record, frozen=True, tag=6):
    """The new primary shows the view changes of a quorum; its pre-prepares follow from them."""

    view: Number
    view_changes: Annotated[tuple[Signed[ViewChange], ...], Meta(max_length=MEMBERS_MAX)]

    def slot(self) -> Slot | None:
        return Slot("new-view", 0, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return self.view_changes


class Status(Record, frozen=True, tag=7):
    """Where a replica is, so that others send what it lacks. Unsigned."""

    view: Number
    changing: bool
    executed: Number
    stable: Number

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


Message: TypeAlias = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView | Status


class Invalid(Exception):
    """A certificate does not hold. `reason` is a short constant."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rules:
    """Checks that need the committee and the leader rule, and nothing else."""

    def __init__(self, committee: Committee, leader: Leader) -> None:
        self.committee = committee
        self._leader = leader

    def primary(self, view: int) -> NodeId:
        """The primary of a view. Sticky: the height has no say."""
        return self._leader.leader(self.committee, Height(0), View(view))

    def check_stable(self, stable: int, proof: Sequence[Signed[Checkpoint]]) -> None:
        """P13: a quorum of distinct replicas signed one checkpoint of this height."""
        if stable == 0:
            if proof:
                raise Invalid("proof of height 0")
            return
        if len({signed.message.header for signed in proof}) != 1:
            raise Invalid("checkpoints differ")
        if any(signed.message.height != stable for signed in proof):
            raise Invalid("checkpoint of another height")
        self._check_authors([signed.author for signed in proof], self.committee.quorum)

    def check_prepared(self, item: Prepared) -> None:
        """P6: the primary of that view assigned it, and a quorum less one of others agreed."""
        assigned = item.pre_prepare.message
        primary = self.primary(assigned.view)
        if item.pre_prepare.author != primary:
            raise Invalid("pre-prepare not by the primary")
        authors = [signed.author for signed in item.prepares]
        if primary in authors:
            raise Invalid("prepare by the primary")
        wanted = (assigned.view, assigned.height, assigned.payload)
        for signed in item.prepares:
            vote = signed.message
            if (vote.view, vote.height, vote.payload) != wanted:
                raise Invalid("prepare of something else")
        self._check_authors(authors, self.committee.quorum - 1)

    def check_view_change(self, message: ViewChange) -> None:
        """P14: its checkpoint is proven, and every claim of preparedness too."""
        self.check_stable(message.stable, message.proof)
        heights = [item.pre_prepare.message.height for item in message.prepared]
        if any(left >= right for left, right in pairwise(heights)):
            raise Invalid("prepared heights not in order")
        if heights and heights[0] <= message.stable:
            raise Invalid("prepared below the checkpoint")
        for item in message.prepared:
            if item.pre_prepare.message.view >= message.view:
                raise Invalid("prepared in a later view")
            self.check_prepared(item)

    def check_new_view(self, signed: Signed[NewView]) -> None:
        """P15: by the primary of the view, from valid view changes of a quorum."""
        message = signed.message
        if signed.author != self.primary(message.view):
            raise Invalid("new-view not by the primary")
        for change in message.view_changes:
            if change.message.view != message.view:
                raise Invalid("view-change of another view")
            self.check_view_change(change.message)
        authors = [change.author for change in message.view_changes]
        self._check_authors(authors, self.committee.quorum)

    def _check_authors(self, authors: Sequence[NodeId], wanted: int) -> None:
        if len(set(authors)) != len(authors):
            raise Invalid("author counted twice")
        if len(authors) < wanted:
            raise Invalid("no quorum")


def assignments(changes: Iterable[ViewChange]) -> tuple[int, dict[int, Digest]]:
    """P16, P17: what a new view must assign, computed by everybody from the same view changes.

    Returns the highest stable height, and for each height above it up to the highest prepared one
    the payload of the certificate of the highest view, or the null request.
    """
    changes = list(changes)
    stable = max(change.stable for change in changes)
    best: dict[int, PrePrepare] = {}
    for change in changes:
        for item in change.prepared:
            assigned = item.pre_prepare.message
            known = best.get(assigned.height)
            if assigned.height > stable and (known is None or assigned.view > known.view):
                best[assigned.height] = assigned
    highest = max(best, default=stable)
    return stable, {
        height: best[height].payload if height in best else NULL
        for height in range(stable + 1, highest + 1)
    }
