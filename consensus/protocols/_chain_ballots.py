"""What members said once for a view: votes, timeouts and proposals of the views about this one."""

from collections.abc import Callable

from consensus.interface import Accuse, Committee, Ignore, Output, Signed, Slot
from consensus.protocols._chain_messages import (
    ChainMessage,
    Proposal,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from consensus.votes import Votes
from crypto.header import ZERO
from crypto.interface import Digest, NodeId

VIEWS_AHEAD_MAX = 2
"""Votes and timeouts of views further ahead are not kept (faults: future-round flood)."""

VIEWS_BEHIND_MAX = 2
"""Those of so many views below are kept: a late vote can still complete a certificate."""

ACCUSED_MAX = 1_024


class Ballots:
    """One body of each author for each slot; a second one is evidence, reported once."""

    def __init__(self, committee: Committee, emit: Callable[[Output[ChainMessage]], None]) -> None:
        self._committee = committee
        self._emit = emit
        self._votes: Votes[ChainMessage] = Votes()
        self._accused: set[tuple[NodeId, Slot]] = set()
        self._view = 1

    def enter(self, view: int) -> None:
        self._view = view
        self._votes.forget(lambda slot: slot.view < view - VIEWS_BEHIND_MAX)

    def file(self, sender: NodeId, signed: Signed[ChainMessage], choice: Digest) -> bool:
        """C18: whether it is kept, or was known."""
        slot = signed.message.slot()
        assert slot is not None
        if not self._view - VIEWS_BEHIND_MAX <= slot.view <= self._view + VIEWS_AHEAD_MAX:
            old = slot.view < self._view
            self._emit(Ignore(sender, "old view" if old else "view too far ahead"))
            return False
        conflict = self._votes.add(slot, choice, signed)
        if conflict is None:
            return True
        self._emit(Ignore(sender, "second body for a slot"))
        if (signed.author, slot) not in self._accused and len(self._accused) < ACCUSED_MAX:
            self._accused.add((signed.author, slot))
            self._emit(Accuse(signed.author, conflict.first, conflict.second))
        return False

    def voters(self, view: int, node: Digest) -> set[NodeId]:
        return set(self._votes.of(Slot("vote", 0, view), node))

    def certificate(self, view: int, node: Digest) -> QuorumCertificate | None:
        """C4: if a quorum voted for this node."""
        votes = tuple(
            Signed(author, signed.message, signed.signature)
            for author, signed in sorted(self._votes.of(Slot("vote", 0, view), node).items())
            if isinstance(signed.message, Vote)
        )
        if len(votes) < self._committee.quorum:
            return None
        return QuorumCertificate(view, node, votes[: self._committee.quorum])

    def timed_out(self) -> set[NodeId]:
        """Who gave up this view, or one ahead."""
        views = range(self._view, self._view + VIEWS_AHEAD_MAX + 1)
        return {
            author for view in views for author in self._votes.of(Slot("timeout", 0, view), ZERO)
        }

    def timeout_certificate(self, certified: int) -> TimeoutCertificate | None:
        """C5: if a quorum gave up this view; of those who claim no more than is known here."""
        timeouts = tuple(
            Signed(author, signed.message, signed.signature)
            for author, signed in sorted(
                self._votes.of(Slot("timeout", 0, self._view), ZERO).items()
            )
            if isinstance(signed.message, Timeout) and signed.message.certified <= certified
        )
        if len(timeouts) < self._committee.quorum:
            return None
        return TimeoutCertificate(self._view, timeouts[: self._committee.quorum])


def wide(signed: Signed[Proposal]) -> Signed[ChainMessage]:
    """The same message under the type of the union."""
    return Signed(signed.author, signed.message, signed.signature)
