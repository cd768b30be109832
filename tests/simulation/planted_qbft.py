"""Bugs of QBFT. The rules that they break are those of docs/specs/qbft.md."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from consensus.interface import Send, Signed, Slot
from consensus.protocols import _qbft_log as log
from consensus.protocols._heights import Timers
from consensus.protocols._qbft_messages import Commit, Invalid, Proposal, Rules
from consensus.protocols._qbft_round import PREPARE, RoundState
from consensus.protocols.qbft import _Qbft
from crypto.interface import NodeId
from tests.simulation.planted import Bug, generic, replaced


def _without_the_lock() -> AbstractContextManager[None]:
    """Q3: something else than what was prepared may be proposed."""
    right = Rules.check_proposal

    def wrong(self: Rules, signed: Signed[Proposal]) -> None:
        try:
            right(self, signed)
        except Invalid as error:
            if error.reason != "proposal is not what was prepared":
                raise

    return replaced(Rules, check_proposal=wrong)


def _proposal_without_proof() -> AbstractContextManager[None]:
    """Q3: the prepares beside the round changes are not looked at."""
    right = Rules.check_proposal

    def wrong(self: Rules, signed: Signed[Proposal]) -> None:
        message = signed.message
        if not message.view or signed.author != self.proposer(message.height, message.view):
            right(self, signed)

    return replaced(Rules, check_proposal=wrong)


def _any_author(self: Rules, authors: Sequence[NodeId]) -> None:
    if len(authors) < self.committee.quorum:
        raise Invalid("no quorum")


def _prepares_as_commits() -> AbstractContextManager[None]:
    """Q6: what a quorum prepared is decided."""
    right = RoundState.learn_slot

    def wrong(self: RoundState, slot: Slot) -> None:
        right(self, slot)
        if slot.phase == PREPARE:
            for payload, votes in self._ballots.chosen(slot).items():
                vote = Commit(slot.height, slot.view, payload)
                said = tuple(Signed(each.author, vote, each.signature) for each in votes)
                self.decisions.setdefault(slot.height, said)

    return replaced(RoundState, learn_slot=wrong)


def _commits_in_a_left_view() -> AbstractContextManager[None]:
    """Q8: prepares that come late make a commit, though the round change said nothing of them."""
    right = _Qbft._on_spoken

    def wrong(self: _Qbft, sender: NodeId, signed: Signed[Any], message: Any) -> None:
        right(self, sender, signed, message)
        now, slot = self._state.now, message.slot()
        if slot.phase == PREPARE and slot.height == now.height and slot.view < now.view:
            for payload in self._ballots.chosen(slot):
                self._out.append(Send(Commit(slot.height, slot.view, payload)))

    return replaced(_Qbft, _on_spoken=wrong)


PLANTED = {
    **generic(
        "qbft",
        {
            "a quorum is f + 1": ("twins", 2),
            "nothing is persisted": ("random", 57),
            "timers are never set": ("random", 1),
            "timers are never set, nor cancelled": ("random", 1),
            "one replica decides something else now and then": ("twins", 1),
        },
    ),
    "what a vote rests on is not persisted": Bug(
        lambda: replaced(log, keep_prepared=lambda _: {}), "random", 0
    ),
    "a lock is not checked": Bug(_without_the_lock, "random", 0),
    "a proof of a view change is not checked": Bug(_proposal_without_proof, "random", 0),
    "signers of a certificate need not be distinct": Bug(
        lambda: replaced(Rules, _check_authors=_any_author), "byzzfuzz", 71
    ),
    "a vote counts for what it is not": Bug(_prepares_as_commits, "random", 1),
    "a timer that fired is never set again": Bug(
        lambda: replaced(Timers, fired=lambda *_: None), "twins", 18
    ),
    "a replica commits in a view that it left": Bug(_commits_in_a_left_view, "random", 0),
}
