"""The leader stays until the view changes: member `view mod n`.

Source: Castro and Liskov, OSDI 1999, section 4.1 (the primary of a view).
"""

from dataclasses import dataclass

from consensus.interface import Committee, Height, Leader, LeaderClaims, View
from crypto.interface import NodeId

CLAIMS = LeaderClaims(source="Castro and Liskov, OSDI 1999", rotates_each_height=False)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


@dataclass(frozen=True, slots=True)
class _Sticky:
    def leader(self, committee: Committee, height: Height, view: View) -> NodeId:  # noqa: ARG002 - the contract
        return committee.members[view % len(committee.members)]


def create(options: Options) -> Leader:  # noqa: ARG001 - every mechanism has options
    return _Sticky()
