"""Bugs of Tendermint. The rules that they break are those of docs/specs/tendermint.md."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from consensus.interface import Send, Signed, Slot
from consensus.protocols import _tendermint_log as log
from consensus.protocols._heights import Timers
from consensus.protocols._tendermint_messages import (
    NIL,
    Invalid,
    Precommit,
    Proposal,
    Rules,
)
from consensus.protocols._tendermint_round import PREVOTE, RoundState
from consensus.protocols.tendermint import _Tendermint
from tests.simulation.planted import Bug, generic, replaced


def _proposal_without_proof() -> AbstractContextManager[None]:
    """T2: a claim of an earlier round is believed."""
    right = Rules.check_proposal

    def wrong(self: Rules, signed: Signed[Proposal]) -> None:
        message = signed.message
        if signed.author != self.proposer(message.height, message.view) or message.payload == NIL:
            right(self, signed)

    return replaced(Rules, check_proposal=wrong)


def _any_author(self: Rules, votes: Sequence[Signed[Any]]) -> None:
    if len(votes) < self.committee.quorum:
        raise Invalid("no quorum")
    if len({(signed.message.height, signed.message.view) for signed in votes}) != 1:
        raise Invalid("votes of several rounds")


def _prevotes_as_precommits() -> AbstractContextManager[None]:
    """T8: what a quorum prevoted is decided."""
    right = RoundState.learn_slot

    def wrong(self: RoundState, slot: Slot) -> None:
        right(self, slot)
        if slot.phase == PREVOTE:
            for payload, votes in self._ballots.chosen(slot).items():
                if payload != NIL:
                    vote = Precommit(slot.height, slot.view, payload)
                    said = tuple(Signed(each.author, vote, each.signature) for each in votes)
                    self.commits.setdefault(slot.height, said)

    return replaced(RoundState, learn_slot=wrong)


def _commits_in_a_left_view() -> AbstractContextManager[None]:
    """T9: prevotes that come late make a precommit in a former round, and no lock."""
    right = _Tendermint._on_spoken

    def wrong(self: _Tendermint, sender: Any, signed: Signed[Any], message: Any) -> None:
        right(self, sender, signed, message)
        now, slot = self._state.now, message.slot()
        if slot.phase == PREVOTE and slot.height == now.height and slot.view < now.view:
            for payload in self._ballots.chosen(slot):
                if payload != NIL:
                    self._out.append(Send(Precommit(slot.height, slot.view, payload)))

    return replaced(_Tendermint, _on_spoken=wrong)


PLANTED = {
    **generic(
        "tendermint",
        {
            "a quorum is f + 1": ("random", 4),
            "nothing is persisted": ("random", 4),
            "timers are never set": ("twins", 1),
            "timers are never set, nor cancelled": ("twins", 1),
            "nothing is relayed": ("twins", 1),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    "what a vote rests on is not persisted": Bug(
        lambda: replaced(log, keep_current=lambda _: {}), "random", 4
    ),
    "a lock is not checked": Bug(
        lambda: replaced(RoundState, free_for=lambda *_: True), "random", 0
    ),
    "a proof of a view change is not checked": Bug(_proposal_without_proof, "random", 0),
    "signers of a certificate need not be distinct": Bug(
        lambda: replaced(Rules, _check_votes=_any_author), "byzzfuzz", 19
    ),
    "a vote counts for what it is not": Bug(_prevotes_as_precommits, "random", 3),
    "a timer that fired is never set again": Bug(
        lambda: replaced(Timers, fired=lambda *_: None), "twins", 1
    ),
    "a replica commits in a view that it left": Bug(_commits_in_a_left_view, "random", 0),
}
