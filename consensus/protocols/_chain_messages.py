"""The messages of the protocols that vote on a chain of nodes, and when a certificate holds.

Shared by HotStuff and Jolteon; the labels C1 to C18 are those of docs/specs/hotstuff.md. Signatures
were verified by the host; here it is checked who said what, in which view, and that the authors are
distinct and enough.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import NUMBER_MAX, Committee, Height, Leader, Message, Signed, Slot, View
from crypto.encoding import Record
from crypto.header import ZERO, DigestField
from crypto.interface import NodeId

MEMBERS_MAX = 1_024

NODES_IN_ANSWER_MAX = 32
"""So many nodes one answer holds; who lacks more asks again."""

GENESIS = ZERO
"""The name of the node of view 0, which everybody has. It needs no votes."""

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]


class Node(Record, frozen=True):
    """A node of the tree. Its parent is the node that its proposal's certificate is for (C2)."""

    view: Number
    height: Number
    """Of the last payload on the branch that ends here; a node without payload adds none (C3)."""
    parent: DigestField
    parent_view: Number
    payload: DigestField | None


class Vote(Record, frozen=True, tag=1):
    """A member agrees to a node in its view."""

    view: Number
    node: DigestField

    def slot(self) -> Slot | None:
        return Slot("vote", 0, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Timeout(Record, frozen=True, tag=2):
    """A member gives up `view`; `certified` is the view of its highest quorum certificate."""

    view: Number
    certified: Number

    def slot(self) -> Slot | None:
        return Slot("timeout", 0, self.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class QuorumCertificate(Record, frozen=True):
    """A quorum voted for `node` in `view` (the paper's QC)."""

    view: Number
    node: DigestField
    votes: Annotated[tuple[Signed[Vote], ...], Meta(max_length=MEMBERS_MAX)]


class TimeoutCertificate(Record, frozen=True):
    """A quorum gave up `view` (Jolteon's TC)."""

    view: Number
    timeouts: Annotated[tuple[Signed[Timeout], ...], Meta(max_length=MEMBERS_MAX)]

    def certified(self) -> int:
        """The highest certified view that one of its authors knew."""
        return max(signed.message.certified for signed in self.timeouts)


class Proposal(Record, frozen=True, tag=3):
    """The leader of `node.view` extends the node that `justify` certifies.

    `gave_up` shows that the view before ended without a certificate, where it did.
    """

    node: Node
    justify: QuorumCertificate
    gave_up: TimeoutCertificate | None

    def slot(self) -> Slot | None:
        return Slot("proposal", 0, self.node.view)

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return [*self.justify.votes, *(self.gave_up.timeouts if self.gave_up else ())]


class Status(Record, frozen=True, tag=4):
    """Where a replica is, with the proof, so that others follow or send what it lacks. Unsigned."""

    high: QuorumCertificate
    gave_up: TimeoutCertificate | None
    asks: bool
    """To be told again what was said in this view."""

    @property
    def view(self) -> int:
        """C7: the view that a replica with these certificates is in."""
        return max(self.high.view, self.gave_up.view if self.gave_up else 0) + 1

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return [*self.high.votes, *(self.gave_up.timeouts if self.gave_up else ())]


class Fetch(Record, frozen=True, tag=5):
    """Asks for a node by its name. Unsigned."""

    node: DigestField

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


class Nodes(Record, frozen=True, tag=6):
    """A node that was asked for, its parent, and so on. Unsigned: names are digests."""

    nodes: Annotated[tuple[Node, ...], Meta(max_length=NODES_IN_ANSWER_MAX)]

    def slot(self) -> Slot | None:
        return None

    def enclosed(self) -> "Sequence[Signed[Message]]":
        return ()


ChainMessage: TypeAlias = Vote | Timeout | Proposal | Status | Fetch | Nodes

ROOT = QuorumCertificate(0, GENESIS, ())
"""The certificate of the genesis node."""


class Invalid(Exception):
    """A certificate or a proposal does not hold. `reason` is a short constant."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rules:
    """Checks that need the committee and the leader rule, and nothing else."""

    def __init__(self, committee: Committee, leader: Leader) -> None:
        self.committee = committee
        self._leader = leader

    def leader(self, view: int) -> NodeId:
        """C1: a leader serves one view, whatever the height."""
        return self._leader.leader(self.committee, Height(0), View(view))

    def check_quorum_certificate(self, certificate: QuorumCertificate) -> None:
        """C4: a quorum of distinct members voted for this node in this view."""
        if certificate.view == 0:
            if certificate != ROOT:
                raise Invalid("certificate of view 0")
            return
        wanted = Vote(certificate.view, certificate.node)
        if any(signed.message != wanted for signed in certificate.votes):
            raise Invalid("vote for something else")
        self._check_authors([signed.author for signed in certificate.votes])

    def check_timeout_certificate(self, certificate: TimeoutCertificate) -> None:
        """C5: a quorum of distinct members gave up this view."""
        if any(signed.message.view != certificate.view for signed in certificate.timeouts):
            raise Invalid("timeout of another view")
        self._check_authors([signed.author for signed in certificate.timeouts])

    def check_proposal(self, signed: Signed[Proposal]) -> None:
        """C2, C6: by the leader, on what its certificate is for, right after the view before."""
        proposal = signed.message
        node, justify = proposal.node, proposal.justify
        if signed.author != self.leader(node.view):
            raise Invalid("proposal not by the leader")
        if (node.parent_view, node.parent) != (justify.view, justify.node):
            raise Invalid("parent is not what is certified")
        if node.view <= justify.view:
            raise Invalid("certificate of no lower view")
        self.check_quorum_certificate(justify)
        if justify.view == node.view - 1:
            if proposal.gave_up is not None:
                raise Invalid("needless timeouts")
            return
        if proposal.gave_up is None or proposal.gave_up.view != node.view - 1:
            raise Invalid("nothing shows that the view before is over")
        self.check_timeout_certificate(proposal.gave_up)

    def check_status(self, status: Status) -> None:
        self.check_quorum_certificate(status.high)
        if status.gave_up is not None:
            self.check_timeout_certificate(status.gave_up)

    def _check_authors(self, authors: Sequence[NodeId]) -> None:
        if len(set(authors)) != len(authors):
            raise Invalid("author counted twice")
        if not set(authors) <= set(self.committee.members):
            raise Invalid("author is not a member")
        if len(authors) < self.committee.quorum:
            raise Invalid("no quorum")
