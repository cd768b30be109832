"""Random runs: crashes, partitions, loss, repeats, pauses and liars, a few hundred of each.

Every run checks agreement at each block, one body per slot among what others received, decisions
in order, and progress after the network has healed. A failure names its seed; the same seed gives
the same run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.protocols._qbft_messages import (
    NONE,
    NOTHING,
    Commit,
    Decision,
    Message,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Status,
)
from crypto.interface import NodeId
from tests.consensus.chaos import explore, seeds

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {
    "protocol": "qbft",
    "round_timeout_ms": 400,
    "round_timeout_ms_max": 10_000,
}
"""Short, so that many rounds fit into a short run."""


def another_payload(cluster: "Cluster", node: "Node") -> bytes:
    """A payload that the others can fetch: only agreement can keep it out."""
    return cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:], bytes(31) + b"x"])


def lie(cluster: "Cluster", node: "Node", message: Message) -> Message:
    dice = cluster.random.random()
    dice = cluster.random.random()
    match message:
        case Proposal() if message.prepares and dice < 0.5:
            # Silent on what was prepared.
            changes = tuple(c for c in message.round_changes if c.message.prepared_view == NONE)
            return msgspec.structs.replace(message, round_changes=changes, prepares=())
        case Proposal() | Prepare() | Commit():
            return msgspec.structs.replace(message, payload=another_payload(cluster, node))
        case RoundChange() if dice < 0.5:
            # Valid in every way, but silent on what it prepared.
            return msgspec.structs.replace(message, prepared_view=NONE, prepared=NOTHING)
        case RoundChange():
            claim = another_payload(cluster, node)
            return msgspec.structs.replace(
                message, prepared_view=max(message.view - 1, 0), prepared=claim
            )
        case PreparedCertificate() | Decision():
            return msgspec.structs.replace(message, votes=message.votes[1:])
        case Status():
            return msgspec.structs.replace(message, view=message.view + 9)


def liar(cluster: "Cluster") -> object:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> Iterator["Parcel"]:
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, NodeId(name)
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), NodeId(name)

    return parcels


@pytest.mark.parametrize("seed", seeds(300))
def test_four_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    leader = "rotating" if seed % 2 else "sticky"
    cluster = make_cluster(4, seed, leader=leader, **SETTINGS)
    explore(cluster, [f"v{seed % 4 + 1}"] if seed % 3 else [], liar)


@pytest.mark.parametrize("seed", seeds(100))
def test_seven_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    leader = "rotating" if seed % 2 else "sticky"
    cluster = make_cluster(7, seed, leader=leader, **SETTINGS)
    explore(cluster, [f"v{seed % 7 + 1}", f"v{(seed + 1) % 7 + 1}"] if seed % 3 else [], liar)
