"""View-changes without signatures: who vouches for which, and which a new view rests on.

A view-change convinces whoever had it from its author. Others believe it when f + 1 members say
that they had it so, one of them correct. The labels are those of docs/specs/pbft_mac.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.interface import Committee
from consensus.protocols._pbft_mac_messages import Ack, Copy, Named, NewView, ViewChange, digest
from crypto.interface import Digest, Hash, NodeId


@dataclass(slots=True)
class Changes:
    """Of each author the view-change of the highest view, from the author itself."""

    committee: Committee
    hashing: Hash
    _direct: dict[NodeId, tuple[ViewChange, Digest]] = field(default_factory=dict)
    _acks: dict[tuple[NodeId, NodeId], Ack] = field(default_factory=dict)
    """By author and who acknowledges: the one of the highest view."""

    def add(self, author: NodeId, change: ViewChange) -> bool:
        """Whether it is news. The first of a view stays."""
        known = self.view_of(author)
        if known is not None and known >= change.view:
            return False
        self._direct[author] = change, digest(self.hashing, change)
        return True

    def acknowledge(self, sender: NodeId, ack: Ack) -> None:
        known = self._acks.get((ack.author, sender))
        if known is None or known.view < ack.view:
            self._acks[ack.author, sender] = ack

    def view_of(self, author: NodeId) -> int | None:
        known = self._direct.get(author)
        return None if known is None else known[0].view

    def views(self) -> list[int]:
        """Of all authors, ascending."""
        return sorted(change.view for change, _ in self._direct.values())

    def of(self, view: int) -> dict[NodeId, tuple[ViewChange, Digest]]:
        """Those to this view, in the order of the authors."""
        items = sorted(self._direct.items())
        return {author: known for author, known in items if known[0].view == view}

    def certified(self, me: NodeId, view: int) -> dict[NodeId, tuple[ViewChange, Digest]]:
        """M13: S. A quorum vouches for each: its author, this replica, and those who acknowledge.

        So f + 1 members can show it to whoever did not get it from its author, though f are
        faulty. Its own needs nobody: it shows that itself.
        """
        found = {}
        for author, (change, name) in self.of(view).items():
            vouching = {author, me} | {
                sender
                for (about, sender), ack in self._acks.items()
                if about == author and (ack.view, ack.change) == (view, name)
            }
            if author == me or len(vouching) >= self.committee.quorum:
                found[author] = change, name
        return found

    def forget(self, view: int) -> None:
        """All up to this view."""
        self._direct = {a: known for a, known in self._direct.items() if known[0].view > view}
        self._acks = {pair: ack for pair, ack in self._acks.items() if ack.view > view}


@dataclass(slots=True)
class Offer:
    """A new-view, until all view-changes that it names are here and believed."""

    committee: Committee
    hashing: Hash
    primary: NodeId
    new_view: NewView
    refused: bool = False
    """It was complete, and wrong: it is not looked at again."""
    _bodies: dict[NodeId, ViewChange] = field(default_factory=dict)
    """With the digest that the new-view names, from whomever."""
    _voices: dict[NodeId, set[NodeId]] = field(default_factory=dict)
    """Who had it from its author itself; the primary says so of all that it names."""
    _own: set[NodeId] = field(default_factory=set)
    """Authors from whom this replica had it itself."""

    def named(self, author: NodeId) -> Digest | None:
        return next((item.change for item in self.new_view.changes if item.author == author), None)

    def take(self, author: NodeId, change: ViewChange, name: Digest) -> None:
        """From its author."""
        if self.named(author) == name:
            self._bodies[author] = change
            self._own.add(author)

    def copy(self, sender: NodeId, copy: Copy) -> None:
        """M21: from another who had it from its author."""
        name = self.named(copy.author)
        if name is not None and name == digest(self.hashing, copy.change):
            self._bodies[copy.author] = copy.change
            self._voices.setdefault(copy.author, {self.primary}).add(sender)

    def lacks(self) -> tuple[NodeId, ...]:
        return tuple(item.author for item in self.new_view.changes if not self._believed(item))

    def changes(self) -> Sequence[ViewChange]:
        """All that are named; only once nothing is lacking."""
        return [self._bodies[item.author] for item in self.new_view.changes]

    def copies(self) -> tuple[Copy, ...]:
        """Those for which this replica may vouch."""
        return tuple(Copy(author, self._bodies[author]) for author in sorted(self._own))

    def _believed(self, item: Named) -> bool:
        """M20, M21: from its author, or f + 1 say so."""
        voices = self._voices.get(item.author, set())
        return item.author in self._own or len(voices) >= self.committee.one_correct
