"""Clocks that are wrong: nothing that is agreed depends on them, and time never goes back."""

from collections.abc import Callable

import pytest

from simulation.whole_cluster import WALL_MS, WholeCluster, heights

Make = Callable[..., WholeCluster]
TEN_MINUTES_MS = 600_000


def commit(cluster: WholeCluster, count: int) -> None:
    wanted = len(cluster.acknowledged) + count
    for name in cluster.members:
        cluster.submit(-(-count // len(cluster.members)), name)
    done = cluster.run(
        60_000,
        lambda: len(cluster.acknowledged) >= wanted and len(set(heights(cluster.running()))) == 1,
    )
    assert done, (len(cluster.acknowledged), wanted)
    cluster.check()


def times_ms(cluster: WholeCluster) -> list[int]:
    assembled = cluster.running()[0].assembled
    assert assembled is not None
    ledger = assembled.node.ledger
    return [ledger.header(height).time_ms for height in range(1, ledger.height + 1)]


@pytest.mark.parametrize("off_ms", [-TEN_MINUTES_MS, TEN_MINUTES_MS])
@pytest.mark.parametrize("name", ["v1", "v3"])
def test_a_clock_that_is_ten_minutes_off_changes_nobody_s_view(
    make_cluster: Make, name: str, off_ms: float
) -> None:
    cluster = make_cluster()
    cluster[name].clock_ms = off_ms
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    for _ in range(3):
        commit(cluster, 4)
    for member in cluster.running():
        assert member.assembled is not None
        assert member.assembled.answers.status().view == 0
    assert times_ms(cluster) == sorted(times_ms(cluster))


def test_a_clock_that_goes_back_does_not_take_the_blocks_with_it(make_cluster: Make) -> None:
    cluster = make_cluster()
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    commit(cluster, 4)
    before = times_ms(cluster)[-1]
    assert before >= WALL_MS
    for name in cluster.members:
        cluster[name].clock_ms = -TEN_MINUTES_MS
    commit(cluster, 4)
    assert set(times_ms(cluster)[-2:]) == {before}, "it stands still"
    cluster.run(TEN_MINUTES_MS)
    commit(cluster, 4)
    assert times_ms(cluster)[-1] > before
    assert times_ms(cluster) == sorted(times_ms(cluster))
