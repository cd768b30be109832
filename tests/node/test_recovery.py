"""What several faults at once leave: nodes find back to one chain, and say how they are."""

from collections.abc import Callable
from typing import Any

import pytest

from node.node import ABSTAIN_HEIGHTS
from node.sync import DISTRUST_S
from node.wire import StatusReport
from simulation.whole_cluster import WholeCluster, heights

Make = Callable[..., WholeCluster]
NUMBER_MAX = 2**63 - 1


def started(make_cluster: Make, seed: int = 0) -> WholeCluster:
    cluster = make_cluster(seed=seed)
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    return cluster


def commit(cluster: WholeCluster, count: int, to: str = "v1", within_ms: float = 60_000) -> None:
    """These transactions are acknowledged, and all who run are equally high."""
    wanted = len(cluster.acknowledged) + count
    cluster.submit(count, to)
    done = cluster.run(
        within_ms,
        lambda: len(cluster.acknowledged) >= wanted and len(set(heights(cluster.running()))) == 1,
    )
    assert done, (len(cluster.acknowledged), wanted, heights(cluster.running()))
    cluster.check()


def view(cluster: WholeCluster, name: str) -> int:
    assembled = cluster[name].assembled
    assert assembled is not None
    return assembled.answers.status().view


@pytest.mark.parametrize("seed", range(3))
def test_catching_up_and_a_view_change_at_once_both_end(make_cluster: Make, seed: int) -> None:
    cluster = started(make_cluster, seed)
    cluster.crash("v4")
    for _ in range(30):
        commit(cluster, 1)
    cluster["v4"].disk.wipe()
    cluster.start("v4")
    # Without the primary there is no quorum but with the one that is behind.
    cluster.crash("v1")
    commit(cluster, 3, "v2")
    assert view(cluster, "v2") >= 1
    cluster.start("v1")
    commit(cluster, 3, "v4")


@pytest.mark.parametrize("wiped", ["", "v2"])
@pytest.mark.parametrize("names", [["v1", "v2"], ["v1", "v2", "v3"], ["v1", "v2", "v3", "v4"]])
def test_restarts_of_many_keep_view_chain_and_promises(
    make_cluster: Make, names: list[str], wiped: str
) -> None:
    cluster = started(make_cluster)
    cluster.crash("v1")
    commit(cluster, 3, "v2")
    cluster.start("v1")
    commit(cluster, 3, "v1")
    assert view(cluster, "v2") == 1
    cluster.crash(*names)
    if wiped:
        cluster[wiped].disk.wipe()
    cluster.start(*names)
    commit(cluster, 3, "v3")
    assert view(cluster, "v3") >= 1, "nobody went back to the view of the first primary"


def test_a_validator_without_its_journal_follows_and_does_not_vote(make_cluster: Make) -> None:
    cluster = started(make_cluster)
    commit(cluster, 3)
    cluster.crash("v4")
    cluster["v4"].home.journal.unlink()
    cluster["v4"].disk.wipe()
    cluster.start("v4")
    commit(cluster, 3)
    assembled = cluster["v4"].assembled
    assert assembled is not None
    assert assembled.signer is not None
    assert assembled.signer.abstaining
    cluster.run(1_000)
    assert "lost its journal" in assembled.answers.status().reason
    # What would need its vote is not decided.
    cluster.crash("v3")
    height = cluster["v2"].height
    cluster.submit(1, "v2")
    assert not cluster.run(20_000, lambda: cluster["v2"].height > height)
    cluster.start("v3")
    for _ in range(ABSTAIN_HEIGHTS + 5):
        commit(cluster, 1)
    assert not assembled.signer.abstaining
    cluster.crash("v3")
    commit(cluster, 1, "v2")


def test_one_liar_cannot_make_a_validator_without_its_journal_abstain_for_ever(
    make_cluster: Make,
) -> None:
    cluster = started(make_cluster)
    commit(cluster, 3)
    cluster.crash("v4")
    cluster["v4"].home.journal.unlink()
    cluster["v4"].disk.wipe()
    assembled = cluster["v3"].assembled
    assert assembled is not None
    liar: Any = assembled.node
    liar._status = lambda: StatusReport(NUMBER_MAX, NUMBER_MAX, 0)
    # Only the liar and one more are heard at first: a quorum, with v4 itself.
    cluster.cut("v4", "v2")
    cluster.start("v4")
    came_back = cluster["v4"].assembled
    assert came_back is not None
    signer = came_back.signer
    assert signer is not None
    assert not cluster.run(10_000, lambda: signer._abstain > 0), "one honest claim is no quorum"
    assert came_back.node.host is not None
    assert not came_back.node.host.started
    cluster.mend("v4", "v2")
    assert cluster.run(2 * DISTRUST_S * 1000, lambda: signer.abstaining)
    assert signer._abstain <= cluster["v4"].height + 2 * ABSTAIN_HEIGHTS
    assert signer._abstain >= cluster["v1"].height + ABSTAIN_HEIGHTS


def test_a_new_journal_of_a_new_network_abstains_from_nothing(make_cluster: Make) -> None:
    cluster = make_cluster()
    for member in cluster.members.values():
        member.home.journal.unlink()
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    commit(cluster, 3)
    for member in cluster.running():
        assert member.assembled is not None
        assert member.assembled.signer is not None
        assert not member.assembled.signer.abstaining
        assert member.home.journal.exists()


def test_what_the_leader_never_heard_of_is_sent_to_it_again(make_cluster: Make) -> None:
    cluster = started(make_cluster)
    for name in ("v2", "v3", "v4"):
        cluster.cut("v1", name)
    cluster.submit(3, "v2")
    cluster.run(100)
    assert not cluster.acknowledged
    for name in ("v2", "v3", "v4"):
        cluster.mend("v1", name)
    assert cluster.run(2_000, lambda: len(cluster.acknowledged) == 3)
    assert view(cluster, "v2") == 0, "the leader was told, not replaced"


def test_a_node_whose_disk_hangs_still_says_how_it_is(make_cluster: Make) -> None:
    cluster = started(make_cluster)
    cluster["v2"].slowness = 1e9
    cluster.submit(5, "v2")
    cluster.submit(5, "v1")
    cluster.run(10_000)
    assembled = cluster["v2"].assembled
    assert assembled is not None
    # Neither waits for the lane that hangs.
    status = assembled.answers.status()
    assert status.height < cluster["v1"].height
    assert len(status.peers) == 3
    assert b"assay_height" in assembled.metrics.render()
    assert len(cluster.acknowledged) == 5, "the others go on"


@pytest.mark.parametrize("up_ms", [2, 4, 6, 8])
def test_what_was_proposed_in_vain_is_proposed_again_in_a_later_view(
    make_cluster: Make, up_ms: int
) -> None:
    """The old primaries had asked for a payload of the height behind it, and waited for that.

    Found by a test on real processes. `up_ms`: so long the third validator is there, enough for a
    new view, too short for a decision.
    """
    cluster = started(make_cluster, seed=up_ms)
    cluster.crash("v3")
    cluster.crash("v4")
    cluster.submit(1, "v1")
    cluster.run(3_000)
    cluster.start("v3")
    cluster.run(up_ms)
    cluster.crash("v3")
    cluster.run(3_000)
    assert not cluster.acknowledged
    cluster.start("v3")
    assert cluster.run(15_000, lambda: len(cluster.acknowledged) == 1)
    cluster.check()
