"""Crashes: after every prefix of outputs, of one, of some, of all; and what is remembered."""

from typing import TYPE_CHECKING, Any

import pytest

from consensus.interface import Height, Overdue, Setup, Started
from consensus.leaders import sticky
from consensus.protocols import pbft
from consensus.protocols._pbft_log import CorruptMemory
from consensus.protocols._pbft_messages import Checkpoint, PrePrepare
from crypto.hashes import sha256
from crypto.header import ZERO
from crypto.interface import NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster

SETTINGS: dict[str, Any] = {"window": 8, "checkpoint_interval": 4, "view_timeout_ms": 400}


def busy_life(cluster: "Cluster") -> None:
    """Everything a replica does: votes, checkpoints, two view changes, new views."""
    for height in range(2, 6):
        cluster.submit(2)
        cluster.run(60)
        if height in {3, 5}:
            for node in cluster.nodes.values():
                if node.protocol is not None:
                    cluster.step(node, Overdue(1))
            cluster.run(900)


def comes_back(cluster: "Cluster", name: str) -> None:
    cluster[name].die_after = None
    if cluster[name].protocol is None:
        cluster.start(name)
    cluster.run(1_000)
    top = max(cluster.chain)
    cluster.submit()
    cluster.reach(top + 1, within_ms=30_000)
    assert cluster.run(30_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_crash_after_any_prefix_of_outputs_contradicts_nothing(
    make_cluster: "type[Cluster]", name: str
) -> None:
    """v1 leads first, v2 after the first view change. What others received is compared."""
    whole = make_cluster(seed=1, **SETTINGS)
    busy_life(whole)
    assert whole[name].view >= 1
    outputs = whole[name].done
    assert outputs > 60
    for prefix in range(outputs):
        cluster = make_cluster(seed=1, **SETTINGS)
        cluster[name].die_after = prefix
        busy_life(cluster)
        comes_back(cluster, name)


@pytest.mark.parametrize("prefix", range(0, 90, 3))
def test_a_crash_and_at_once_a_restart_contradicts_nothing(
    make_cluster: "type[Cluster]", prefix: int
) -> None:
    cluster = make_cluster(seed=prefix, **SETTINGS)
    cluster["v2"].die_after = prefix

    def life() -> None:
        if cluster["v2"].protocol is None:
            cluster["v2"].die_after = None
            cluster.start("v2")

    for _ in range(10):
        cluster.submit(2)
        cluster.run(30)
        life()
    comes_back(cluster, "v2")


@pytest.mark.parametrize(
    "names", [["v1"], ["v2", "v3"], ["v2", "v3", "v4"], ["v1", "v2", "v3", "v4"]]
)
@pytest.mark.parametrize("after_ms", [0, 2, 4, 6, 9, 15])
def test_restarts_at_once_continue_the_chain(
    make_cluster: "type[Cluster]", names: list[str], after_ms: int
) -> None:
    """Fault 80: one, f + 1, 2f + 1, all; at any stage of a decision."""
    cluster = make_cluster(seed=after_ms)
    cluster.reach(1)
    cluster.submit(12)
    cluster.run(after_ms)
    cluster.restart(*names)
    cluster.reach(2, within_ms=10_000)
    assert cluster.run(10_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


@pytest.mark.parametrize("after_ms", range(0, 20, 4))
def test_restarts_of_all_in_a_view_change_continue_the_chain(
    make_cluster: "type[Cluster]", after_ms: int
) -> None:
    """Fault 80: the view, and what was prepared, are remembered."""
    cluster = make_cluster(seed=after_ms)
    cluster.reach(1)
    cluster.submit(8)
    cluster.run(3)
    for node in cluster.nodes.values():
        cluster.step(node, Overdue(1))
    cluster.run(after_ms)
    views = [node.view for node in cluster.nodes.values()]
    cluster.run(1)
    cluster.restart(*cluster.nodes)
    assert (
        all(node.view >= view for node, view in zip(cluster.nodes.values(), views, strict=True))
        or not after_ms
    )
    cluster.reach(2, within_ms=20_000)
    cluster.check()


def test_a_wiped_replica_that_may_not_sign_does_no_harm_and_follows(
    make_cluster: "type[Cluster]",
) -> None:
    """Its host refuses to sign; for the protocol that looks like lost messages."""
    cluster = make_cluster()
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height)
    v4 = cluster["v4"]
    cluster.crash("v4")
    v4.remembered.clear()
    v4.ledger.clear()
    v4.done_with.clear()
    cluster.hooks[NodeId("v4")] = lambda node, message, to: None if message.slot() is None else []
    cluster.start("v4")
    cluster.submit()
    cluster.reach(6, within_ms=20_000)


def test_what_is_remembered_and_cannot_be_read_stops_the_start(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(view_timeout_ms=400)
    cluster.reach(1)
    for node in cluster.nodes.values():
        cluster.step(node, Overdue(1))
    cluster.submit()
    cluster.run(3_000)
    v2 = cluster["v2"]
    assert len(v2.remembered) >= 3
    setup = Setup(
        v2.name, cluster.committee, sticky.create(sticky.Options()), sha256.create(sha256.Options())
    )
    for key, value in v2.remembered.items():
        for broken in (value[:-1], value + b"\x00", b"\xff" + value[1:], b""):
            protocol = pbft.create(setup, cluster.options)
            remembered = {**v2.remembered, key: broken}
            with pytest.raises(CorruptMemory):
                protocol.step(Started(remembered, Height(v2.height), v2.header))
    protocol = pbft.create(setup, cluster.options)
    protocol.step(Started(dict(v2.remembered), Height(v2.height), v2.header))
    assert protocol.progress().view == v2.view


def test_a_first_start_needs_no_memory() -> None:
    from consensus.interface import Committee  # noqa: PLC0415

    alone = Setup(
        NodeId("v1"),
        Committee(0, (NodeId("v1"),)),
        sticky.create(sticky.Options()),
        sha256.create(sha256.Options()),
    )
    protocol = pbft.create(alone, pbft.Options())
    protocol.step(Started({}, Height(0), ZERO))
    assert protocol.progress().view == 0


def test_a_replica_that_was_shown_into_a_view_stays_in_it_over_a_restart(
    make_cluster: "type[Cluster]",
) -> None:
    """v4 took no part in the view change. Had it forgotten, it would vote in the old view again."""
    cluster = make_cluster()
    cluster.reach(1)
    cluster.run(1_000)
    cluster.partition(["v1", "v2", "v3"], ["v4"])
    for name in ("v2", "v3"):
        cluster.step(cluster[name], Overdue(1))
    cluster.run(100)
    assert (cluster["v2"].view, cluster["v4"].view) == (1, 0)
    cluster.heal()
    cluster.run(100)
    cluster.partition()
    cluster.restart("v4")
    protocol = cluster["v4"].protocol
    assert protocol is not None
    assert (protocol.progress().view, protocol.progress().phase) == (1, "normal")
    cluster.check()


def test_a_primary_proposes_the_same_again_after_a_restart(make_cluster: "type[Cluster]") -> None:
    """Nobody got its proposal, and its journal holds one body for the height: it must repeat it."""
    cluster = make_cluster()
    cluster.reach(1)
    cluster.partition()
    cluster.submit()
    cluster.run(20)
    proposed = [m for m in cluster["v1"].journal.values() if isinstance(m, PrePrepare)]
    assert [message.height for message in proposed] == [1, 2]
    cluster.restart("v1")
    cluster.heal()
    cluster.reach(2, within_ms=900)
    assert cluster.chain[2] == (proposed[1].payload,)
    assert cluster["v2"].view == 0


def test_checkpoints_lost_in_restarts_do_not_stop_the_chain(
    make_cluster: "type[Cluster]",
) -> None:
    """Watermarks that differ after restarts, and no stable checkpoint below any of them."""
    cluster = make_cluster(window=8, checkpoint_interval=4)
    cluster.drop = lambda sender, to, message: isinstance(message, Checkpoint)
    cluster.submit()
    cluster.reach(2)
    cluster.restart("v2", "v4")
    for height in range(3, 9):
        cluster.submit()
        cluster.reach(height)
    cluster.restart("v1", "v3")
    cluster.drop = lambda *_: False
    for height in range(9, 16):
        cluster.submit()
        cluster.reach(height, within_ms=10_000)
    assert max(node.view for node in cluster.nodes.values()) <= 1
    cluster.check()
