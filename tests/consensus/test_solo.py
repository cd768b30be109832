"""Solo: one orders. What it bears, and what it does not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from consensus.interface import Send
from consensus.protocols.solo import CLAIMS, Order
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel, faults_max
from simulation.cluster import Diverged

if TYPE_CHECKING:
    from simulation.cluster import Cluster, Node, Parcel


def test_it_claims_to_bear_nothing() -> None:
    assert CLAIMS.fault_model is FaultModel.NONE
    assert faults_max(100, CLAIMS.fault_model) == 0


def test_only_the_first_member_orders_and_once_for_each_height(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(4, protocol="solo")
    cluster.reach(1)
    for _ in range(3):
        top = cluster["v1"].height
        cluster.submit(2)
        cluster.reach(top + 1)
    ordered = [
        (node.name, output.message.height)
        for node in cluster.nodes.values()
        for output in node.said(Send)
        if isinstance(output.message, Order)
    ]
    assert ordered == [("v1", height) for height in range(1, cluster["v1"].height + 1)]
    cluster.check()


def test_without_the_orderer_nothing_is_decided_and_with_it_back_it_is(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(4, protocol="solo")
    cluster.reach(1)
    cluster.crash("v1")
    cluster.submit(3, "v2", "v3", "v4")
    assert not cluster.run(30_000, lambda: any(n.height > 1 for n in cluster.nodes.values()))
    assert cluster["v2"].protocol is not None
    assert cluster["v2"].protocol.progress().waiting_for == ("v1",)
    cluster.start("v1")
    cluster.reach(2)
    cluster.check()


def test_all_others_may_stop_and_catch_up(make_cluster: "type[Cluster]") -> None:
    cluster = make_cluster(4, protocol="solo")
    cluster.reach(1)
    cluster.crash("v2", "v3", "v4")
    for _ in range(5):
        cluster.submit(1, "v1")
        cluster.run(100)
    assert cluster["v1"].height > 3
    for name in ("v2", "v3", "v4"):
        cluster.start(name)
    cluster.reach(cluster["v1"].height)
    cluster.check()


@pytest.mark.parametrize("seed", range(3))
def test_an_orderer_that_signs_two_orders_forks_the_honest(
    make_cluster: "type[Cluster]", seed: int
) -> None:
    cluster = make_cluster(4, seed, protocol="solo")
    cluster.reach(1)
    other = Digest(b"\x07" * 32)
    cluster.payloads[other] = ()
    cluster["v1"].kept[other] = None
    cluster.faulty.add(NodeId("v1"))

    def two(node: "Node", message: object, to: NodeId | None) -> "Iterator[Parcel]":
        for name in cluster.committee.members if to is None else [to]:
            lie = isinstance(message, Order) and name != "v2"
            said = Order(message.height, other) if lie else message  # type: ignore[attr-defined]  # an order
            yield cluster.sign(node.name, said), name

    cluster.hooks[NodeId("v1")] = two
    cluster.submit(1)
    with pytest.raises(Diverged, match="at height 2"):
        cluster.run(60_000)
