"""The messages of PBFT with MACs, and what may be in them. The labels are those of its spec.

None is signed. Each goes from its author to its receiver over their own authenticated link, whose
MAC convinces that receiver and nobody else (M1).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import NUMBER_MAX, Signed, Slot
from crypto.encoding import Record, encode
from crypto.header import DigestField
from crypto.interface import Digest, Hash, NodeId

MEMBERS_MAX = 1_024

SPAN_MAX = 1_024
"""Nothing is pre-prepared further above the own stable checkpoint than this."""

CHOICES_MAX = 4
"""Payloads of one height in Q at most; the one of the lowest view goes (M5)."""

CHECKPOINTS_MAX = 1_024

NULL = Digest(bytes(32))
"""The digest of the null request: nothing is executed."""

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Name = Annotated[NodeId, Meta(min_length=1, max_length=128)]


class _Unsigned(Record, frozen=True):
    """`slot` and `enclosed` of all messages here."""

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class PrePrepare(_Unsigned, frozen=True, tag=1):
    """The primary assigns a payload to a height."""

    view: Number
    height: Number
    payload: DigestField


class Prepare(_Unsigned, frozen=True, tag=2):
    """A backup agrees to the assignment in this view."""

    view: Number
    height: Number
    payload: DigestField


class Commit(_Unsigned, frozen=True, tag=3):
    """A replica has prepared the assignment in this view."""

    view: Number
    height: Number
    payload: DigestField


class Checkpoint(_Unsigned, frozen=True, tag=4):
    """A replica executed this height with this result."""

    height: Number
    header: DigestField


class Result(Record, frozen=True):
    """A checkpoint that a replica holds: an element of C."""

    height: Number
    header: DigestField


class Claim(Record, frozen=True):
    """An element of P or Q: the paper's <n, d, v>. Nothing proves it."""

    height: Number
    view: Number
    payload: DigestField


class ViewChange(_Unsigned, frozen=True, tag=5):
    """A replica leaves for `view` and says what it holds, prepared and pre-prepared."""

    view: Number
    stable: Number
    """The paper's h."""
    checkpoints: Annotated[tuple[Result, ...], Meta(max_length=CHECKPOINTS_MAX)]
    """C: the stable one first, then its own later ones."""
    prepared: Annotated[tuple[Claim, ...], Meta(max_length=SPAN_MAX)]
    """P: of each height the payload that prepared here in the highest view."""
    pre_prepared: Annotated[tuple[Claim, ...], Meta(max_length=SPAN_MAX * CHOICES_MAX)]
    """Q: of each height and payload the highest view in which it pre-prepared here."""


class Ack(_Unsigned, frozen=True, tag=6):
    """View-change-ack: the sender received this view-change from its author."""

    view: Number
    author: Name
    change: DigestField


class Named(Record, frozen=True):
    """An element of V: whose view-change, and its digest."""

    author: Name
    change: DigestField


class NewView(_Unsigned, frozen=True, tag=7):
    """The primary's choice (X), and the view-changes that it was made from (V)."""

    view: Number
    changes: Annotated[tuple[Named, ...], Meta(max_length=MEMBERS_MAX)]
    base: Result
    """The checkpoint from which the view starts."""
    payloads: Annotated[tuple[DigestField, ...], Meta(max_length=SPAN_MAX)]
    """Of the heights from `base` + 1 on."""


class Fetch(_Unsigned, frozen=True, tag=8):
    """The sender lacks the view-changes of these members that the new view names."""

    view: Number
    authors: Annotated[tuple[Name, ...], Meta(max_length=MEMBERS_MAX)]


class Copy(_Unsigned, frozen=True, tag=9):
    """An ack with the view-change itself: the sender had it from `author`."""

    author: Name
    change: ViewChange


class Status(_Unsigned, frozen=True, tag=10):
    """Where a replica is, so that others send what it lacks."""

    view: Number
    changing: bool
    executed: Number
    stable: Number


Vote: TypeAlias = PrePrepare | Prepare | Commit
Message: TypeAlias = Vote | Checkpoint | ViewChange | Ack | NewView | Fetch | Copy | Status

PHASES: dict[type[Vote | Checkpoint], str] = {
    PrePrepare: "pre-prepare",
    Prepare: "prepare",
    Commit: "commit",
    Checkpoint: "checkpoint",
}


def filed(message: Vote | Checkpoint) -> Slot:
    """Under what a vote is counted: a member says one thing for each."""
    view = 0 if isinstance(message, Checkpoint) else message.view
    return Slot(PHASES[type(message)], message.height, view)


def digest(hashing: Hash, change: ViewChange) -> Digest:
    """What acks and new-views call a view-change by. It covers every field."""
    return hashing.digest(encode(change))


class Invalid(Exception):
    """No correct replica says this. `reason` is a short constant."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_view_change(message: ViewChange, interval: int) -> None:
    """M12: what a correct replica may say of itself. Raises `Invalid`."""
    heights = [item.height for item in message.checkpoints]
    if not heights or heights[0] != message.stable:
        raise Invalid("no stable checkpoint")
    if any(height % interval for height in heights) or _unordered(heights):
        raise Invalid("checkpoints not in order")
    if _unordered([item.height for item in message.prepared]):
        raise Invalid("P not in order")
    choices = [(item.height, item.payload) for item in message.pre_prepared]
    if any(left >= right for left, right in pairwise(choices)):
        raise Invalid("Q not in order")
    for item in (*message.prepared, *message.pre_prepared):
        if not message.stable < item.height <= message.stable + SPAN_MAX:
            raise Invalid("height outside the watermarks")
        if item.view >= message.view:
            raise Invalid("claim of a later view")


def _unordered(numbers: Sequence[int]) -> bool:
    return any(left >= right for left, right in pairwise(numbers))
