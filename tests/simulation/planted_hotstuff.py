"""Bugs of HotStuff, and those of its family. The rules are those of docs/specs/hotstuff.md."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from consensus.interface import Signed
from consensus.protocols import _chain_tree as tree
from consensus.protocols import hotstuff
from consensus.protocols._chain import Replica
from consensus.protocols._chain_log import Memory
from consensus.protocols._chain_messages import (
    Invalid,
    Proposal,
    QuorumCertificate,
    Rules,
)
from consensus.protocols._chain_pacemaker import Pacemaker
from crypto.interface import NodeId
from tests.simulation.planted import Bug, Plant, generic, replaced


def _forgets_certificates() -> AbstractContextManager[None]:
    """C15: neither the lock nor the highest certificate outlives a crash."""
    right = Memory.flush

    def wrong(self: Memory) -> Any:
        self._changes.pop(b"high", None)
        self._changes.pop(b"lock", None)
        self._changes.pop(b"gave-up", None)
        return right(self)

    return replaced(Memory, flush=wrong)


def _unproven() -> AbstractContextManager[None]:
    """C4, C5: nobody counts who is in a certificate."""
    return replaced(
        Rules,
        check_quorum_certificate=lambda *_: None,
        check_timeout_certificate=lambda *_: None,
    )


def _any_author(self: Rules, authors: Sequence[NodeId]) -> None:
    if len(authors) < self.committee.quorum:
        raise Invalid("no quorum")


def _votes_for_anything(self: Rules, certificate: QuorumCertificate) -> None:
    """C4: a quorum voted, but for what, and in which view?"""
    if certificate.view:
        self._check_authors([signed.author for signed in certificate.votes])


def _timer_stays() -> AbstractContextManager[None]:
    """C13: who believes that a timer runs does not set it."""
    right = Pacemaker.fired

    def wrong(self: Pacemaker, name: str) -> None:
        right(self, name)
        self._timers.add(name)

    return replaced(Pacemaker, fired=wrong)


def _extends_anything() -> AbstractContextManager[None]:
    """C2: a proposal's parent need not be what its certificate is for."""
    right = Rules.check_proposal

    def wrong(self: Rules, signed: Signed[Proposal]) -> None:
        try:
            right(self, signed)
        except Invalid as error:
            if error.reason != "parent is not what is certified":
                raise

    return replaced(Rules, check_proposal=wrong)


def _any_height() -> AbstractContextManager[None]:
    """C3, C10: whatever a node says of its height and its payload is voted for."""
    right = Replica._objection

    def wrong(self: Replica, proposal: Proposal, parent: Any) -> str | None:
        reason = right(self, proposal, parent)
        return reason if reason == "not safe" else None

    return replaced(Replica, _objection=wrong)


FAMILY: dict[str, Plant] = {
    "what a vote rests on is not persisted": _forgets_certificates,
    "a proof of a view change is not checked": _unproven,
    "signers of a certificate need not be distinct": lambda: replaced(
        Rules, _check_authors=_any_author
    ),
    "a vote counts for what it is not": lambda: replaced(
        Rules, check_quorum_certificate=_votes_for_anything
    ),
    "a timer that fired is never set again": _timer_stays,
    "certificates of views with a gap commit": lambda: replaced(
        tree, _follows_at_once=lambda _: True
    ),
    "a node extends what is not certified": _extends_anything,
    "a node says any height": _any_height,
}
"""What HotStuff and Jolteon share."""

FOUND = {
    "what a vote rests on is not persisted": ("random", 1),
    "a proof of a view change is not checked": ("liars", 4),
    "signers of a certificate need not be distinct": ("liars", 38),
    "a vote counts for what it is not": ("liars", 4),
    "a timer that fired is never set again": ("twins", 1),
    "certificates of views with a gap commit": ("random", 0),
    "a node extends what is not certified": ("liars", 17),
    "a node says any height": ("random", 0),
}
"""The bugs of the family: what finds them here."""

PLANTED = {
    **generic(
        "hotstuff",
        {
            "a quorum is f + 1": ("twins", 40),
            "nothing is persisted": ("random", 1),
            "timers are never set": ("random", 1),
            "timers are never set, nor cancelled": ("random", 1),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    "a lock is not checked": Bug(lambda: replaced(hotstuff, safe=lambda *_: True), "random", 0),
    **{name: Bug(FAMILY[name], *found) for name, found in FOUND.items()},
}
