"""The log of a Raft member, its term and its vote: what it remembers across a restart.

The labels are those of docs/specs/raft.md. Entries at or below the executed height are kept for a
while, for members that are a little behind.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from consensus.interface import NUMBER_MAX
from consensus.protocols._raft_messages import NOTHING, Entry, Position
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest

ENTRIES_KEPT = 16
"""Of so many executed heights the entries are kept; who is further behind fetches blocks."""

_TERM = b"term"
_ENTRY = b"log/"
_FLOOR = b"floor"
_DECIDED = b"decided"
_INDEX_BYTES = 8

Changes = dict[bytes, bytes | None]


class CorruptMemory(Exception):
    """What this member remembered does not decode: the journal is damaged."""


class CurrentTerm(Record, frozen=True):
    """The paper's currentTerm and votedFor (nobody: empty)."""

    term: int
    voted: str


_terms: Codec[CurrentTerm] = Codec(CurrentTerm, bytes_max=1024)
_entries: Codec[Entry] = Codec(Entry, bytes_max=1024)
_numbers: Codec[int] = Codec(Annotated[int, Meta(ge=0, le=NUMBER_MAX)], bytes_max=16)


class Log:
    """Entries without a gap. Every change is returned, to be made durable."""

    def __init__(self, remembered: Mapping[bytes, bytes], executed: int) -> None:
        """Raises `CorruptMemory`."""
        self.blank = not remembered and executed == 0
        """Nothing ever happened here."""
        self.executed = executed
        try:
            self.current = (
                _terms.decode(remembered[_TERM]) if _TERM in remembered else CurrentTerm(0, "")
            )
            self._entries = {
                int.from_bytes(key[len(_ENTRY) :], "big"): _entries.decode(raw)
                for key, raw in sorted(remembered.items())
                if key.startswith(_ENTRY)
            }
            self._floor = _numbers.decode(remembered[_FLOOR]) if _FLOOR in remembered else 0
            self.decided = _numbers.decode(remembered[_DECIDED]) if _DECIDED in remembered else 0
            """Up to here the entries that are here are those that were decided."""
        except Malformed as error:
            raise CorruptMemory(f"Raft cannot read what it remembered: {error}") from None

    @property
    def last(self) -> Position:
        """R5: where this member's log ends, for elections.

        What was executed counts as held. Blocks that came from peers do not say their term; the
        highest one that was acknowledged here stands for it, and it is never below the term of
        anything that a majority, this member among them, acknowledged.
        """
        term, index = self._floor, self.executed
        if self._entries:
            end = next(reversed(self._entries))
            term, index = max(term, self._entries[end].term), max(index, end)
        return Position(term, index)

    @property
    def base(self) -> int:
        """Below the first entry that is kept; at least what cannot be continued is not."""
        first = next(iter(self._entries), self.executed + 1)
        return first - 1 if self.last.index in self._entries else self.executed

    def get(self, index: int) -> Entry | None:
        return self._entries.get(index)

    def position(self, index: int) -> Position:
        """The entry at `index` as an append names it; a term that is not known is 0."""
        entry = self._entries.get(index) if index > self.base else None
        return Position(0 if entry is None else entry.term, index)

    def holds(self, position: Position) -> bool:
        """Whether exactly this entry is here, and so, by R8, all below it as its leader had it."""
        entry = self._entries.get(position.index)
        return entry is not None and entry.term == position.term

    def after(self, index: int, count: int) -> tuple[Entry, ...]:
        """The entries that follow `index`, at most `count`."""
        last = min(self.last.index, index + count)
        return tuple(self._entries[i] for i in range(index + 1, last + 1) if i in self._entries)

    def undecided(self, decided: int) -> list[Digest]:
        """The payloads above `decided`, oldest first."""
        above = [entry.payload for index, entry in self._entries.items() if index > decided]
        return [payload for payload in above if payload != NOTHING]

    def enter(self, term: int, voted: str) -> Changes:
        """R2: remembered before anything is said in this term. One vote in each term."""
        assert self.current.term <= term <= NUMBER_MAX
        assert term > self.current.term or not self.current.voted
        self.current = CurrentTerm(term, voted)
        return {_TERM: encode(self.current)}

    def put(self, first: int, entries: tuple[Entry, ...]) -> Changes:
        """R8: these entries from `first` on; what stood there, and all that follows it, goes.

        The caller has found that they are not what stood there: an append that comes late and
        says less takes nothing away.
        """
        old = self.executed + 1 - ENTRIES_KEPT
        gone = [index for index in self._entries if index >= first or index < old]
        for index in gone:
            del self._entries[index]
        changes: Changes = {_key(index): None for index in gone}
        for index, entry in enumerate(entries, first):
            self._entries[index] = entry
            changes[_key(index)] = encode(entry)
        return changes

    def decide(self, height: int) -> Changes:
        """R12: remembered before it is said.

        So that after a restart it is known which entries were decided, and which were overtaken by
        blocks from peers.
        """
        self.decided = height
        return {_DECIDED: encode(height)}

    def skip(self, height: int) -> Changes:
        """R12: blocks up to `height` came from peers: what stands there may not be what they are.

        What was executed by way of this log is among it: which is which is not known any more.
        """
        self.executed = max(self.executed, height)
        gone = [index for index in self._entries if index <= height]
        floor = max((self._entries.pop(index).term for index in gone), default=0)
        changes: Changes = {_key(index): None for index in gone}
        if floor > self._floor:
            self._floor = floor
            changes[_FLOOR] = encode(floor)
        return changes


def _key(index: int) -> bytes:
    return _ENTRY + index.to_bytes(_INDEX_BYTES, "big")
