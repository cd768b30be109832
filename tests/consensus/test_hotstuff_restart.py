"""Crashes of HotStuff and Jolteon: after every prefix of outputs, of one, of some, of all."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster

SETTINGS: dict[str, Any] = {"view_timeout_ms": 400}

pytestmark = pytest.mark.parametrize("protocol", ["hotstuff", "jolteon"])


def busy_life(cluster: "Cluster") -> None:
    """Everything a replica does: leading, voting, collecting, views that are given up."""
    for height in range(2, 8):
        cluster.submit(2)
        cluster.run(40)
        if height in {3, 6}:
            cluster.drop = lambda *_: True
            cluster.run(450)
            cluster.drop = lambda *_: False
            cluster.run(600)


def comes_back(cluster: "Cluster", name: str) -> None:
    cluster[name].die_after = None
    if cluster[name].protocol is None:
        cluster.start(name)
    cluster.run(1_000)
    top = max(cluster.chain, default=0)
    cluster.submit()
    cluster.reach(top + 1, within_ms=30_000)
    assert cluster.run(30_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_crash_after_any_prefix_of_outputs_contradicts_nothing(
    make_cluster: "type[Cluster]", protocol: str, name: str
) -> None:
    """What others received is compared: one body for each slot."""
    whole = make_cluster(seed=1, protocol=protocol, **SETTINGS)
    busy_life(whole)
    outputs = whole[name].done
    assert outputs > 60
    for prefix in range(outputs):
        cluster = make_cluster(seed=1, protocol=protocol, **SETTINGS)
        cluster[name].die_after = prefix
        busy_life(cluster)
        comes_back(cluster, name)


@pytest.mark.parametrize("prefix", range(0, 60, 3))
def test_a_crash_and_at_once_a_restart_contradicts_nothing(
    make_cluster: "type[Cluster]", protocol: str, prefix: int
) -> None:
    cluster = make_cluster(seed=prefix, protocol=protocol, **SETTINGS)
    cluster["v2"].die_after = prefix
    for _ in range(10):
        cluster.submit(2)
        cluster.run(30)
        if cluster["v2"].protocol is None:
            cluster["v2"].die_after = None
            cluster.start("v2")
    comes_back(cluster, "v2")


@pytest.mark.parametrize(
    "names", [["v1"], ["v2", "v3"], ["v2", "v3", "v4"], ["v1", "v2", "v3", "v4"]]
)
@pytest.mark.parametrize("after_ms", [0, 2, 4, 6, 9, 15])
def test_restarts_at_once_continue_the_chain(
    make_cluster: "type[Cluster]", protocol: str, names: list[str], after_ms: int
) -> None:
    """One, f + 1, 2f + 1, all; at any stage of a decision."""
    cluster = make_cluster(seed=after_ms, protocol=protocol)
    cluster.reach(1)
    cluster.submit(12)
    cluster.run(after_ms)
    cluster.restart(*names)
    cluster.reach(2, within_ms=15_000)
    assert cluster.run(15_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


@pytest.mark.parametrize("after_ms", range(0, 20, 4))
def test_restarts_of_all_while_a_view_is_given_up_continue_the_chain(
    make_cluster: "type[Cluster]", protocol: str, after_ms: int
) -> None:
    """Views are never entered twice."""
    cluster = make_cluster(seed=after_ms, protocol=protocol)
    cluster.reach(1)
    cluster.crash("v1")
    cluster.submit(8)
    cluster.run(1_000 + after_ms)
    views = {name: cluster[name].view for name in ("v2", "v3", "v4")}
    cluster.restart(*views)
    # A certificate that was not relied on in any vote may be forgotten.
    assert all(cluster[name].view >= view - 1 for name, view in views.items())
    cluster.start("v1")
    cluster.reach(2, within_ms=20_000)
    cluster.check()


def test_a_restart_of_all_with_nothing_pending_stays_silent_and_then_goes_on(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = make_cluster(protocol=protocol)
    cluster.submit(3)
    cluster.reach(2)
    cluster.run(1_000)
    cluster.restart(*cluster.nodes)
    cluster.run(5_000)
    assert not any(node.timers for node in cluster.nodes.values())
    cluster.submit()
    cluster.reach(3, within_ms=5_000)
    cluster.check()
