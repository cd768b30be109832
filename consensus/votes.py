"""Counts votes: one of each author for each slot, bounded, and evidence where there are two.

Shared by all protocols that count signed messages. It knows nothing of what is voted on: a vote
is filed under a slot and a choice (a digest), and a second choice of an author for a slot is not
counted but returned as evidence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from consensus.interface import Message, Signed, Slot
from crypto.encoding import encode
from crypto.interface import Digest, NodeId

SLOTS_MAX = 4_096
"""Slots held at a time; the caller's windows keep it far below."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Conflict(Generic[M]):
    """Two messages of one author for one slot."""

    first: Signed[M]
    second: Signed[M]


class Votes(Generic[M]):
    """Votes by slot and author."""

    def __init__(self) -> None:
        self._slots: dict[Slot, dict[NodeId, tuple[Digest, Signed[M]]]] = {}

    def add(self, slot: Slot, choice: Digest, signed: Signed[M]) -> Conflict[M] | None:
        """File a vote. The first of an author stays; another one is evidence."""
        authors = self._slots.get(slot)
        if authors is None:
            if len(self._slots) >= SLOTS_MAX:
                return None
            authors = self._slots[slot] = {}
        before = authors.get(signed.author)
        if before is None:
            authors[signed.author] = (choice, signed)
            return None
        if encode(before[1].message) == encode(signed.message):
            return None
        return Conflict(before[1], signed)

    def of(self, slot: Slot, choice: Digest) -> dict[NodeId, Signed[M]]:
        """The votes for `choice`, by author."""
        return {
            author: signed
            for author, (chosen, signed) in self._slots.get(slot, {}).items()
            if chosen == choice
        }

    def by(self, slot: Slot, author: NodeId) -> Signed[M] | None:
        """What this author voted in this slot."""
        vote = self._slots.get(slot, {}).get(author)
        return None if vote is None else vote[1]

    def choices(self, slot: Slot) -> Mapping[Digest, int]:
        """How many votes each choice has."""
        counts: dict[Digest, int] = {}
        for chosen, _ in self._slots.get(slot, {}).values():
            counts[chosen] = counts.get(chosen, 0) + 1
        return counts

    def slots(self) -> list[Slot]:
        return list(self._slots)

    def forget(self, settled: Callable[[Slot], bool]) -> None:
        """Drop the slots of which `settled` says so."""
        for slot in [slot for slot in self._slots if settled(slot)]:
            del self._slots[slot]
