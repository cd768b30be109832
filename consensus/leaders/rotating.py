"""The leader changes with each height and each view: member `(height + view) mod n`.

Source: Buchman, Kwon and Milosevic, arXiv 1807.04938, section 3.2 (the function `proposer(h, r)`,
here with equal weights, so that it is a plain round robin).
"""

from dataclasses import dataclass

from consensus.interface import Committee, Height, Leader, LeaderClaims, View
from crypto.interface import NodeId

CLAIMS = LeaderClaims(
    source="Buchman, Kwon and Milosevic, arXiv 1807.04938", rotates_each_height=True
)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


@dataclass(frozen=True, slots=True)
class _Rotating:
    def leader(self, committee: Committee, height: Height, view: View) -> NodeId:
        return committee.members[(height + view) % len(committee.members)]


def create(options: Options) -> Leader:  # noqa: ARG001 - every mechanism has options
    return _Rotating()
