"""The messages of Raft. None is signed: the channel says whose it is, and nobody is to lie.

The labels are those of docs/specs/raft.md. What binds a member is in its log before it says it.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import NUMBER_MAX, Signed, Slot
from crypto.encoding import Record
from crypto.header import DigestField
from crypto.interface import Digest

ENTRIES_MAX = 16
"""Entries in one append at most; what follows comes with the next."""

NOTHING = Digest(bytes(32))
"""The payload of an entry that only marks the beginning of a term (R9)."""

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]


class Position(Record, frozen=True):
    """An entry by its term and index. Of two logs, the one with the greater last is newer (R4)."""

    term: Number
    index: Number


class Entry(Record, frozen=True):
    """What a leader put into the log, in which term. Its index is a height."""

    term: Number
    payload: DigestField


class _Unsigned(Record, frozen=True):
    """`slot` and `enclosed` of all messages of Raft."""

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Append(_Unsigned, frozen=True, tag=1):
    """The leader's log from after `previous` on: AppendEntries. Without entries: it still leads."""

    term: Number
    previous: Position
    entries: Annotated[tuple[Entry, ...], Meta(max_length=ENTRIES_MAX)]
    decided: Number
    """The leader's commitIndex."""
    base: Number
    """The leader has no entries up to here any more."""


class Ack(_Unsigned, frozen=True, tag=2):
    """The sender's log is the leader's up to `index`, and durable."""

    term: Number
    index: Number


class Status(_Unsigned, frozen=True, tag=3):
    """The sender lacks what follows `index`: an append did not fit, or may be lost.

    With a higher term than the receiver's it says that the receiver does not lead any more.
    """

    term: Number
    index: Number


class RequestVote(_Unsigned, frozen=True, tag=4):
    """The sender stands for election."""

    term: Number
    last: Position


class Vote(_Unsigned, frozen=True, tag=5):
    """The answer to a candidate."""

    term: Number
    granted: bool
    executed: Number
    """How far the voter is: who is behind it cannot be elected by it (R5)."""


Message: TypeAlias = Append | Ack | Status | RequestVote | Vote
