"""Random runs of HotStuff and Jolteon: crashes, partitions, loss, repeats, pauses and liars.

Every run checks agreement at each block, one body per slot among what others received, decisions
in order, and progress after the network has healed. A failure names its seed; the same seed gives
the same run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.protocols._chain_messages import (
    ROOT,
    ChainMessage,
    Fetch,
    Nodes,
    Proposal,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from crypto.encoding import encode
from crypto.hashes import sha256
from crypto.interface import Digest, NodeId
from tests.consensus.chaos import explore, seeds

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {"window": 3, "view_timeout_ms": 400}
"""Small, so that limits matter in a short run."""

HASH = sha256.create(sha256.Options())

PROTOCOLS = ("hotstuff", "jolteon")


def another_node(cluster: "Cluster", node: "Node", proposal: Proposal) -> Proposal:
    """Another payload that the others can fetch, another height, or filler."""
    payload = cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:], None])
    height = proposal.node.height + cluster.random.choice([0, 0, 0, -1, 1])
    other = msgspec.structs.replace(proposal.node, payload=payload, height=max(height, 0))
    return msgspec.structs.replace(proposal, node=other)


def old_branch(cluster: "Cluster", proposal: Proposal) -> Proposal:
    """Extends an older certificate, if a quorum gave up the view before, as far as anybody knows.

    Only locks (HotStuff), or what the timeouts show (Jolteon), can keep it out.
    """
    said = sorted(cluster.signatures, key=lambda item: encode(list(item)))
    view = proposal.node.view
    timeouts = {
        author: message
        for author, message in said
        if isinstance(message, Timeout) and message.view == view - 1
    }
    if len(timeouts) < cluster.committee.quorum:
        return proposal
    shown = cluster.random.sample(sorted(timeouts), cluster.committee.quorum)
    gave_up = TimeoutCertificate(
        view - 1, tuple(cluster.sign(author, timeouts[author]) for author in shown)
    )
    proposed = {
        HASH.digest(encode(message.node)): message.node
        for _, message in said
        if isinstance(message, Proposal)
    }
    certified = {
        message.justify.view: message.justify
        for _, message in said
        if isinstance(message, Proposal) and message.justify.view < view - 1
    }
    justify = certified[cluster.random.choice(sorted(certified)[-4:])] if certified else ROOT
    below = proposed.get(justify.node)
    node = msgspec.structs.replace(
        proposal.node,
        parent=justify.node,
        parent_view=justify.view,
        payload=None,
        height=below.height if below is not None else 0,
    )
    return Proposal(node, justify, gave_up)


def names(cluster: "Cluster", vote: Vote) -> list[Digest]:
    """Of nodes that were proposed in this view, by anybody and to anybody."""
    signed = [message for _, message in cluster.signatures if isinstance(message, Proposal)]
    nodes = [proposal.node for proposal in signed if proposal.node.view == vote.view]
    return sorted({HASH.digest(encode(node)) for node in nodes}) or [vote.node]


def lie(cluster: "Cluster", node: "Node", message: ChainMessage) -> ChainMessage:
    match message:
        case Proposal():
            if cluster.random.random() < 0.5:
                return old_branch(cluster, message)
            return another_node(cluster, node, message)
        case Vote():
            return Vote(message.view, cluster.random.choice(names(cluster, message)))
        case Timeout():
            return Timeout(message.view, cluster.random.choice([0, message.certified + 1, 1 << 40]))
        case Status():
            # Valid in every way, but silent on what it knows.
            return Status(ROOT, None, True)
        case Nodes():
            return Nodes(message.nodes[1:])
        case Fetch():
            return message


def liar(cluster: "Cluster") -> object:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: ChainMessage, to: NodeId | None) -> Iterator["Parcel"]:
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, NodeId(name)
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), NodeId(name)
        if isinstance(message, Vote) and cluster.random.random() < 0.3:
            # A second vote, to whoever collects it.
            yield cluster.sign(node.name, lie(cluster, node, message)), to

    return parcels


@pytest.mark.parametrize("seed", seeds(150))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_four_replicas_agree_and_go_on(
    make_cluster: "type[Cluster]", protocol: str, seed: int
) -> None:
    cluster = make_cluster(4, seed, protocol=protocol, **SETTINGS)
    explore(cluster, [f"v{seed % 4 + 1}"] if seed % 3 else [], liar)


@pytest.mark.parametrize("seed", seeds(60))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_seven_replicas_agree_and_go_on(
    make_cluster: "type[Cluster]", protocol: str, seed: int
) -> None:
    cluster = make_cluster(7, seed, protocol=protocol, **SETTINGS)
    explore(cluster, [f"v{seed % 7 + 1}", f"v{(seed + 1) % 7 + 1}"] if seed % 3 else [], liar)
