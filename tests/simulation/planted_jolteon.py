"""Bugs of Jolteon. The rules that they break are those of docs/specs/jolteon.md."""

from contextlib import AbstractContextManager

from consensus.protocols import jolteon
from consensus.protocols._chain import Replica
from consensus.protocols._chain_pacemaker import Pacemaker
from tests.simulation.planted import Bug, generic, replaced
from tests.simulation.planted_hotstuff import FAMILY


def _votes_after_giving_up() -> AbstractContextManager[None]:
    """C9: a view that was given up is voted in, so its timeouts show too little."""
    right, gave_up = Replica._vote, Pacemaker.gave_up

    def wrong(self: Replica) -> None:
        with replaced(Pacemaker, gave_up=False):
            right(self)

    assert isinstance(gave_up, property)
    return replaced(Replica, _vote=wrong)


FOUND: dict[str, tuple[str, int] | tuple[str, int, bool]] = {
    "what a vote rests on is not persisted": ("random", 3),
    "a proof of a view change is not checked": ("liars", 1),
    "signers of a certificate need not be distinct": ("liars", 28),
    "a vote counts for what it is not": ("liars", 6),
    "a timer that fired is never set again": ("twins", 1),
    "certificates of views with a gap commit": ("random", 0),
    "a node extends what is not certified": ("liars", 13),
    "a node says any height": ("liars", 4, True),
}
"""The bugs of the family: what finds them here."""

PLANTED = {
    **generic(
        "jolteon",
        {
            "a quorum is f + 1": ("twins", 40),
            "nothing is persisted": ("random", 3),
            "timers are never set": ("random", 1),
            "timers are never set, nor cancelled": ("random", 1),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    "a lock is not checked": Bug(lambda: replaced(jolteon, safe=lambda *_: True), "random", 0),
    **{name: Bug(FAMILY[name], *found) for name, found in FOUND.items()},
    "a replica commits in a view that it left": Bug(_votes_after_giving_up, "random", 0),
}
