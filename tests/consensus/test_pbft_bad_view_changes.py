"""A view change that proves nothing is not counted, however well it is signed (fault 50)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from consensus.interface import Accuse, Received
from consensus.protocols._pbft_messages import (
    Checkpoint,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    ViewChange,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster

INTERVAL = 16
PAYLOAD, OTHER = Digest(b"\x01" * 32), Digest(b"\x02" * 32)


def tell(cluster: "Cluster", author: str, message: Message) -> None:
    """`v2` receives what `author` signed."""
    signed = cluster.sign(NodeId(author), message)
    cluster.step(cluster["v2"], Received(NodeId(author), signed))


def certificate(cluster: "Cluster", payload: Digest, backups: str, primary: str) -> Prepared:
    """Of height 2 in view 0, by these members."""
    prepares = [cluster.sign(NodeId(name), Prepare(0, 2, payload)) for name in backups.split()]
    proposal = cluster.sign(NodeId(primary), PrePrepare(0, 2, PAYLOAD))
    return Prepared(proposal, tuple(prepares))


def shown(cluster: "Cluster", payload: Digest, backups: str, primary: str = "v1") -> ViewChange:
    return ViewChange(1, 0, (), (certificate(cluster, payload, backups, primary),))


def checkpoint(cluster: "Cluster", *names: str) -> ViewChange:
    proof = [cluster.sign(NodeId(name), Checkpoint(INTERVAL, PAYLOAD)) for name in names]
    return ViewChange(1, INTERVAL, tuple(proof), ())


BAD: dict[str, Callable[["Cluster"], ViewChange]] = {
    "a checkpoint without proof": checkpoint,
    "a checkpoint that too few signed": lambda c: checkpoint(c, "v3", "v4"),
    "a checkpoint that one signed three times": lambda c: checkpoint(c, "v3", "v3", "v3"),
    "too few prepares": lambda c: shown(c, PAYLOAD, "v3"),
    "one backup twice": lambda c: shown(c, PAYLOAD, "v3 v3"),
    "prepares of another payload": lambda c: shown(c, OTHER, "v3 v4"),
    "a proposal by a backup": lambda c: shown(c, PAYLOAD, "v3 v4", primary="v2"),
}
GOOD: dict[str, Callable[["Cluster"], ViewChange]] = {
    "nothing": lambda _: ViewChange(1, 0, (), ()),
    "a certificate": lambda c: shown(c, PAYLOAD, "v3 v4"),
    "a checkpoint": lambda c: checkpoint(c, "v1", "v3", "v4"),
}


def after_f_plus_1(
    make_cluster: "type[Cluster]", make: Callable[["Cluster"], ViewChange]
) -> "Cluster":
    cluster = make_cluster(4, 0)
    cluster.reach(1)
    cluster.partition()
    for author in ("v3", "v4"):
        tell(cluster, author, make(cluster))
    return cluster


@pytest.mark.parametrize("what", BAD)
def test_a_view_change_that_proves_nothing_moves_nobody(
    make_cluster: "type[Cluster]", what: str
) -> None:
    cluster = after_f_plus_1(make_cluster, BAD[what])
    assert cluster["v2"].view == 0
    reasons = [text for text in cluster["v2"].reasons() if text.startswith("view-change: ")]
    assert len(reasons) == 2
    cluster.heal()
    cluster.submit()
    cluster.reach(2)
    cluster.check(["v3", "v4"])


@pytest.mark.parametrize("what", GOOD)
def test_one_that_proves_what_it_says_counts(make_cluster: "type[Cluster]", what: str) -> None:
    cluster = after_f_plus_1(make_cluster, GOOD[what])
    assert cluster["v2"].view == 1


@pytest.mark.parametrize(("author", "accused"), [("v1", []), ("v2", ["v2"])])
def test_a_second_new_view_is_evidence_only_against_its_own_author(
    make_cluster: "type[Cluster]", author: str, accused: list[str]
) -> None:
    """`v2` leads view 1: what `v1` signs for that view frames nobody."""
    cluster = make_cluster()
    cluster.reach(1)
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v3")
    changes = [ViewChange(1, 0, (), ())] * 3
    signed = [
        cluster.sign(NodeId(name), change)
        for name, change in zip(("v2", "v3", "v4"), changes, strict=True)
    ]
    second = cluster.sign(NodeId(author), NewView(1, tuple(signed)))
    before = len(cluster["v3"].said(Accuse))
    cluster.step(cluster["v3"], Received(NodeId("v1"), second))
    found = cluster["v3"].said(Accuse)[before:]
    assert [accusation.culprit for accusation in found] == accused
    assert "old new-view" in cluster["v3"].reasons()
