"""What a replica that votes on a chain of nodes knows of the view that it is in."""

from dataclasses import dataclass

from consensus.interface import Signed, Ticket
from consensus.protocols._chain_messages import Proposal, QuorumCertificate


@dataclass(slots=True)
class Round:
    """What belongs to one view."""

    view: int
    proposal: Signed[Proposal] | None = None
    """The first valid one."""
    refused: bool = False
    """That it will not be voted for was said."""
    requested: tuple[Ticket, QuorumCertificate] | None = None
