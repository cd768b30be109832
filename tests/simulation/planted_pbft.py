"""Bugs of PBFT. The rules that they break are those of docs/specs/pbft.md."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from msgspec.structs import replace

from consensus.interface import Send, Signed, Slot
from consensus.protocols import _pbft_log as log
from consensus.protocols._pbft_messages import Commit, Invalid, Prepare, Rules
from consensus.protocols.pbft import _Pbft
from consensus.votes import Votes
from crypto.interface import NodeId
from tests.simulation.planted import Bug, generic, replaced


def _without_the_lock() -> AbstractContextManager[None]:
    """P17: a backup takes whatever the new primary assigns."""
    right = _Pbft._on_pre_prepare

    def wrong(self: _Pbft, sender: NodeId, signed: Signed[Any]) -> None:
        assigned = signed.message
        if assigned.height in self._assignments and not self._leads():
            self._assignments[assigned.height] = assigned.payload
        right(self, sender, signed)

    return replaced(_Pbft, _on_pre_prepare=wrong)


def _any_author(self: Rules, authors: Sequence[NodeId], wanted: int) -> None:
    if len(authors) < wanted:
        raise Invalid("no quorum")


def _prepares_as_commits() -> AbstractContextManager[None]:
    """P7: what was prepared counts as committed."""
    right = Votes.of

    def wrong(self: Votes[Any], slot: Slot, choice: Any) -> Any:
        found = right(self, slot, choice)
        if slot.phase == "commit":
            found = {**right(self, replace(slot, phase="prepare"), choice), **found}
        return found

    return replaced(Votes, of=wrong)


def _timer_stays() -> AbstractContextManager[None]:
    """P19: who believes that a timer runs does not set it."""
    right = _Pbft._on_timer

    def wrong(self: _Pbft, name: str) -> None:
        right(self, name)
        self._timers.add(name)

    return replaced(_Pbft, _on_timer=wrong)


def _commits_in_a_left_view() -> AbstractContextManager[None]:
    """P12: prepares that come late make a commit, though the view change said nothing of them."""
    right = _Pbft._on_vote

    def wrong(self: _Pbft, sender: NodeId, signed: Signed[Any], vote: Any) -> None:
        right(self, sender, signed, vote)
        if isinstance(vote, Prepare) and self._changing and vote.view == self._view - 1:
            slot = Slot("prepare", vote.height, vote.view)
            self._votes.add(slot, vote.payload, signed)
            if len(self._votes.of(slot, vote.payload)) >= self._committee.quorum - 1:
                self._out.append(Send(Commit(vote.view, vote.height, vote.payload)))

    def forget(self: _Pbft) -> None:
        stable, view = self._stable.height, self._view - 1
        self._votes.forget(
            lambda slot: slot.height <= stable or (slot.phase != "checkpoint" and slot.view < view)
        )

    return replaced(_Pbft, _on_vote=wrong, _forget_votes=forget)


PLANTED = {
    **generic(
        "pbft",
        {
            "a quorum is f + 1": ("twins", 1),
            "nothing is persisted": ("random", 3),
            "timers are never set": ("random", 1),
            "timers are never set, nor cancelled": ("random", 1),
            "nothing is relayed": ("random", 2),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    "what a vote rests on is not persisted": Bug(
        lambda: replaced(log, keep_prepared=lambda _: {}), "random", 9
    ),
    "a lock is not checked": Bug(_without_the_lock, "random", 39),
    "a proof of a view change is not checked": Bug(
        lambda: replaced(Rules, check_prepared=lambda *_: None), "byzzfuzz", 6
    ),
    "signers of a certificate need not be distinct": Bug(
        lambda: replaced(Rules, _check_authors=_any_author), "random", 0
    ),
    "a vote counts for what it is not": Bug(_prepares_as_commits, "random", 85),
    "a timer that fired is never set again": Bug(_timer_stays, "random", 1),
    "a replica commits in a view that it left": Bug(_commits_in_a_left_view, "random", 0),
}
