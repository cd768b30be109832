"""Chained HotStuff: votes go to the next leader, and three certified nodes in a row decide.

Source: Yin, Malkhi, Reiter, Golan Gueta and Abraham, "HotStuff: BFT Consensus with Linearity and
Responsiveness", PODC 2019 (arXiv 1803.05069), sections 5 and 6, algorithms 3 to 5. The rules H1,
H2 and C1 to C18 are those of docs/specs/hotstuff.md, with the section of the paper for each, and
what differs and why. Here is what is HotStuff's alone; the rest is in `_chain.py` and beside it.
"""

from dataclasses import dataclass
from typing import TypeAlias

from consensus.interface import Accountability, ConsensusClaims, ConsensusProtocol, Setup
from consensus.protocols._chain import Replica, Variant
from consensus.protocols._chain_log import Lock
from consensus.protocols._chain_messages import ChainMessage, Proposal
from consensus.protocols._chain_pacemaker import ChainOptions
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="Yin, Malkhi, Reiter, Golan Gueta and Abraham, PODC 2019",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n), view change O(n^2)",
    delays=7,
    responsive=True,
    accountable=Accountability.ONE_VIEW,
)

CHAIN = 3
"""H1: certified nodes in consecutive views that decide the first of them."""

Message: TypeAlias = ChainMessage


@dataclass(frozen=True, slots=True)
class Options(ChainOptions):
    """Those of the family; HotStuff has none of its own."""


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return Replica(setup, options, Variant(CHAIN, safe))


def safe(proposal: Proposal, lock: Lock) -> bool:
    """H2, the paper's `safeNode`: it extends the locked node, or a later certificate than that's.

    A proposal's parent is the node that its certificate is for, so one of an older certificate
    cannot extend the locked node.
    """
    justify = proposal.justify
    return justify.view > lock.view or justify.node == lock.node
