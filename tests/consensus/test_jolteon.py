"""What Jolteon does and HotStuff does not: five delays, and nothing but timeouts for a lock.

What they share is in `test_hotstuff.py`, the rules J1 and J2 in `test_hotstuff_rules.py`.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from consensus.protocols import hotstuff, jolteon
from consensus.protocols._chain_messages import ChainMessage, Timeout
from crypto.interface import NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster


def delay_of_a_decision(cluster: "Cluster") -> int:
    cluster.reach(1)
    cluster.run(100)
    cluster.delay_ms = (100, 100)
    before = cluster.now
    cluster.submit()
    cluster.reach(2)
    return (cluster.now - before) // 100


def test_jolteon_saves_two_delays_of_hotstuffs_seven(make_cluster: "type[Cluster]") -> None:
    delays = {
        name: delay_of_a_decision(make_cluster(protocol=name)) for name in ("hotstuff", "jolteon")
    }
    assert delays == {"hotstuff": 7, "jolteon": 5}
    assert delays == {"hotstuff": hotstuff.CLAIMS.delays, "jolteon": jolteon.CLAIMS.delays}


@pytest.mark.parametrize("n", [4, 7, 13])
def test_a_view_that_fails_costs_a_timeout_of_each_to_each(
    make_cluster: "type[Cluster]", n: int
) -> None:
    """J3: quadratic, and no more: one signed timeout of each."""
    cluster = make_cluster(n, protocol="jolteon", resend_ms=60_000)
    cluster.reach(1)
    cluster.run(100)
    view = min(node.view for node in cluster.nodes.values())
    silent = [name for name in cluster.nodes if name == f"v{(view + 1) % n + 1}"]
    cluster.crash(*silent)
    sent: Counter[tuple[NodeId, int]] = Counter()

    def count(sender: NodeId, _: NodeId, message: ChainMessage) -> bool:
        if isinstance(message, Timeout):
            sent[sender, message.view] += 1
        return False

    cluster.drop = count
    cluster.submit()
    others = [name for name in cluster.nodes if name not in silent]
    cluster.reach(2, *others)
    assert sent
    assert set(sent.values()) == {n - 1}
    views = {given_up for _, given_up in sent}
    assert len(sent) == len(views) * (n - 1)
