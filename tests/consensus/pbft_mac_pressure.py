"""One height is decided at one member only; then the next primary does all it can to undo it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from consensus.protocols._pbft_mac_messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from crypto.interface import Digest, NodeId
from simulation.cluster import Cluster
from tests.consensus.pbft_mac_liar import SETTINGS, Ear, forge, nothing, replaced

if TYPE_CHECKING:
    from tests.consensus.conftest import Node, Parcel

OTHER = Digest(b"\x01" * 32)
LIAR = NodeId("v2")


def _undo(cluster: Cluster, forges: bool) -> object:
    """In its own view: another payload for height 2, and a new-view that allows it."""

    def words(message: Message) -> Iterator[Message]:
        match message:
            case ViewChange() if forges:
                yield nothing(message.view)
            case NewView() if forges:
                yield from forge(message)
            case NewView() if message.payloads:
                yield replaced(message, payloads=(*message.payloads[:-1], OTHER))
            case PrePrepare(view=1, height=2) | Prepare(height=2) | Commit(height=2):
                yield replaced(message, payload=OTHER)
            case _:
                yield message

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        for name in cluster.nodes if to is None else [to]:
            for word in words(message):
                yield cluster.sign(node.name, word), name

    return parcels


def press(seed: int) -> None:
    """Raises where it succeeds."""
    cluster = Cluster(4, seed, protocol="pbft_mac", **SETTINGS)
    cluster.faulty.add(LIAR)
    cluster.reach(1)
    ear = Ear(cluster)
    cluster.payloads[OTHER] = (10_000,)
    for node in cluster.nodes.values():
        node.kept[OTHER] = None
    names = ["v1", "v3", "v4"]
    alone = cluster.random.choice(names)
    behind = cluster.random.choice([name for name in names if name != alone])
    ear.lost = lambda _, to, message: (
        (isinstance(message, Commit) and to != alone)
        or (isinstance(message, Prepare) and to == behind)
    )
    cluster.syncs = False
    cluster.submit()
    cluster.reach(2, alone, within_ms=300)
    cluster.hooks[LIAR] = _undo(cluster, forges=seed % 2 == 0)  # type: ignore[assignment]  # a hook
    cluster.partition([name for name in cluster.nodes if name != alone])
    ear.lost = lambda *_: False
    cluster.run(2_000)
    cluster.heal()
    cluster.reach(2, *names, within_ms=60_000)
    ear.check(LIAR)
