"""Random runs: crashes, partitions, loss, repeats, pauses and liars, a few hundred of each.

Every run checks agreement at each block, one body per slot among what others received, decisions
in order, and progress after the network has healed. A failure names its seed; the same seed gives
the same run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.protocols._pbft_messages import (
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from crypto.interface import NodeId
from tests.consensus.chaos import explore, seeds

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {"window": 8, "checkpoint_interval": 4, "view_timeout_ms": 400}
"""Small, so that watermarks and checkpoints matter in a short run."""


def another_payload(cluster: "Cluster", node: "Node") -> bytes:
    """A payload that the others can fetch: only agreement can keep it out."""
    return cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:]])


def lie(cluster: "Cluster", node: "Node", message: Message) -> Message:
    match message:
        case PrePrepare() | Prepare() | Commit():
            return msgspec.structs.replace(message, payload=another_payload(cluster, node))
        case Checkpoint():
            return msgspec.structs.replace(message, header=bytes(32))
        case ViewChange():
            # Valid in every way, but silent on what prepared.
            return msgspec.structs.replace(message, prepared=())
        case NewView():
            return msgspec.structs.replace(message, view_changes=message.view_changes[1:])
        case _:
            return message


def liar(cluster: "Cluster") -> object:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> Iterator["Parcel"]:
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, name
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), name

    return parcels


@pytest.mark.parametrize("seed", seeds(300))
def test_four_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    cluster = make_cluster(4, seed, **SETTINGS)
    explore(cluster, [f"v{seed % 4 + 1}"] if seed % 3 else [], liar)


@pytest.mark.parametrize("seed", seeds(100))
def test_seven_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    cluster = make_cluster(7, seed, **SETTINGS)
    explore(cluster, [f"v{seed % 7 + 1}", f"v{(seed + 1) % 7 + 1}"] if seed % 3 else [], liar)
