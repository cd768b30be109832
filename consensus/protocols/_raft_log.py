"""The log of a Raft member, its term and its vote: what it remembers across a restart.

The labels are those of docs/specs/raft.md. Entries at or below the executed height are kept for a
while, for members that are a little behind.
"""

from collections.abc import Mapping

from consensus.interface import NUMBER_MAX
from consensus.protocols._raft_messages import NOTHING, Entry, Position
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest

ENTRIES_KEPT = 16
"""Of so many executed heights the entries are kept; who is further behind fetches blocks."""

_TERM = b"term"
_ENTRY = b"log/"
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


class Log:
    """Entries without a gap. Every change is returned, to be made durable."""

    def __init__(self, remembered: Mapping[bytes, bytes], executed: int) -> None:
        """Raises `CorruptMemory`."""
        try:
            self.current = (
                _terms.decode(remembered[_TERM]) if _TERM in remembered else CurrentTerm(0, "")
            )
            self._entries = {
                int.from_bytes(key[len(_ENTRY) :], "big"): _entries.decode(raw)
                for key, raw in sorted(remembered.items())
                if key.startswith(_ENTRY)
            }
        except Malformed as error:
            raise CorruptMemory(f"Raft cannot read what it remembered: {error}") from None
        self.executed = executed

    @property
    def last(self) -> Position:
        """R5: where this member's log ends, for elections.

        What was executed counts as held; the term stays that of the last entry that was
        acknowledged, for blocks that came from peers do not say theirs.
        """
        if not self._entries:
            return Position(0, self.executed)
        index = next(reversed(self._entries))
        return Position(self._entries[index].term, max(index, self.executed))

    @property
    def base(self) -> int:
        """Below the first entry that is kept."""
        first = next(iter(self._entries), self.executed + 1)
        # Why: entries that end below what was executed cannot be continued.
        return first - 1 if self.last.index in self._entries else self.executed

    def get(self, index: int) -> Entry | None:
        return self._entries.get(index)

    def position(self, index: int) -> Position:
        """The entry at `index` as an append names it; a term that is not known is 0."""
        entry = self._entries.get(index) if index > self.base else None
        return Position(0 if entry is None else entry.term, index)

    def holds(self, position: Position) -> bool:
        """Whether exactly this entry is here, and so, by R7, all below it as its leader had it."""
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
        """R2: remembered before anything is said in this term."""
        assert (term, voted) != (self.current.term, self.current.voted)
        assert self.current.term <= term <= NUMBER_MAX
        self.current = CurrentTerm(term, voted)
        return {_TERM: encode(self.current)}

    def put(self, first: int, entries: tuple[Entry, ...], *, continues: bool) -> Changes:
        """R8: these entries from `first` on; what contradicts them, and all that follows it, goes.

        Unless it `continues` what is here, what is below goes too: it was executed by then, but
        possibly not as it stands here (R6).
        """
        changes: Changes = {}
        gone = [index for index in self._entries if index >= first]
        if not continues:
            gone += [index for index in self._entries if index < first]
        else:
            gone += [i for i in self._entries if i < min(first, self.executed + 1 - ENTRIES_KEPT)]
        for index in gone:
            del self._entries[index]
            changes[_key(index)] = None
        for index, entry in enumerate(entries, first):
            self._entries[index] = entry
            changes[_key(index)] = encode(entry)
        return changes


def _key(index: int) -> bytes:
    return _ENTRY + index.to_bytes(_INDEX_BYTES, "big")
