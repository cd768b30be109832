"""Random runs: crashes, partitions, loss, repeats, pauses and liars, a few hundred of each.

Every run checks agreement at each block, one body per slot among what others received, decisions
in order, and progress after the network has healed. A failure names its seed; the same seed gives
the same run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.protocols._tendermint_messages import (
    NIL,
    NONE,
    Message,
    Precommit,
    Prevote,
    ProofOfLock,
    Proposal,
    RoundEnd,
    Status,
)
from crypto.interface import NodeId
from tests.consensus.chaos import explore, seeds

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {
    "protocol": "tendermint",
    "propose_timeout_ms": 300,
    "vote_timeout_ms": 100,
    "timeout_step_ms": 100,
    "timeout_ms_max": 5_000,
}
"""Short, so that many rounds fit into a short run."""


def another_payload(cluster: "Cluster", node: "Node") -> bytes:
    """A payload that the others can fetch: only agreement can keep it out."""
    return cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:], bytes(31) + b"x"])


def lie(cluster: "Cluster", node: "Node", message: Message) -> Message:
    dice = cluster.random.random()
    match message:
        case Proposal() if message.proof and dice < 0.5:
            # Valid in every way, but silent on what was agreed before.
            return msgspec.structs.replace(message, valid_view=NONE, proof=())
        case Proposal() | Prevote() | Precommit():
            payload = NIL if dice < 0.3 else another_payload(cluster, node)
            return msgspec.structs.replace(message, payload=payload)
        case ProofOfLock() | RoundEnd():
            return msgspec.structs.replace(message, votes=message.votes[1:])
        case Status():
            return msgspec.structs.replace(message, view=message.view + 9, valid_view=2**40)


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
