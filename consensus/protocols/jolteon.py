"""Jolteon: HotStuff that decides after two certified nodes in a row; changing a view is quadratic.

Source: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman and Xiang, "Jolteon and Ditto:
Network-Adaptive Efficient Consensus with Asynchronous Fallback", FC 2022 (arXiv 2106.10362),
section 3. The rules J1 to J3 are those of docs/specs/jolteon.md, C1 to C18 those of
docs/specs/hotstuff.md. Here is what is Jolteon's alone; the rest is in `_chain.py`.
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
    source="Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman and Xiang, FC 2022",
    fault_model=FaultModel.BYZANTINE,
    timing_model="partially synchronous (safe always, live after stabilisation)",
    messages="O(n), view change O(n^2)",
    delays=5,
    responsive=True,
    accountable=Accountability.ONE_VIEW,
)

CHAIN = 2
"""J1: certified nodes in consecutive views that decide the first of them."""

Message: TypeAlias = ChainMessage


@dataclass(frozen=True, slots=True)
class Options(ChainOptions):
    """Those of the family; Jolteon has none of its own."""


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`."""
    return Replica(setup, options, Variant(CHAIN, safe))


def safe(proposal: Proposal, lock: Lock) -> bool:  # noqa: ARG001 - the family's signature
    """J2: on the certificate of the view before, or on one no lower than the timeouts show.

    What may be decided was certified to f + 1 correct members before they gave up a later view; one
    of them is in each quorum of timeouts.
    """
    if proposal.gave_up is None:
        return proposal.justify.view == proposal.node.view - 1
    return proposal.justify.view >= proposal.gave_up.certified()
