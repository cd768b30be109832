"""What the explorations of all protocols do to a cluster: anything, drawn from its seed."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from crypto.interface import NodeId
from simulation.cluster import Cluster


def seeds(count: int) -> list[object]:
    """One in twenty always; the others in the longer runs."""
    return [
        pytest.param(seed, marks=() if seed < count // 20 else pytest.mark.slow)
        for seed in range(count)
    ]


def live(cluster: Cluster) -> None:
    """One random thing happens."""
    dice = cluster.random.random()
    names = list(cluster.nodes)
    down = [name for name in names if cluster[name].protocol is None]
    asleep = [name for name in names if cluster[name].paused is not None]
    if dice < 0.4:
        known = cluster.random.sample(names, cluster.random.randint(1, len(names)))
        cluster.submit(cluster.random.randint(1, 4), *known)
    elif dice < 0.55 and len(down) < len(names):
        victim = cluster.random.choice([name for name in names if name not in down])
        cluster[victim].die_after = cluster[victim].done + cluster.random.randint(0, 30)
    elif dice < 0.7 and down:
        cluster.start(cluster.random.choice(down))
    elif dice < 0.75:
        cluster.restart(*cluster.random.sample(names, cluster.random.randint(1, len(names))))
    elif dice < 0.82:
        shuffled = cluster.random.sample(names, len(names))
        middle = cluster.random.randint(1, len(names) - 1)
        cluster.partition(shuffled[:middle], shuffled[middle:])
    elif dice < 0.9:
        cluster.heal()
    elif dice < 0.95 and not asleep and len(down) < len(names):
        cluster.pause(cluster.random.choice([name for name in names if name not in down]))
    else:
        for name in asleep:
            cluster.resume(name)
    cluster.run(cluster.random.choice([3, 30, 300, 1_500]))


def explore(cluster: Cluster, liars: Sequence[str], liar: Callable[[Cluster], Any]) -> None:
    """Twenty-five of them; then all is well, and everything has to be decided."""
    cluster.loss = cluster.random.choice([0.0, 0.02, 0.2])
    cluster.repeats = cluster.random.choice([0.0, 0.1])
    cluster.delay_ms = cluster.random.choice([(1, 2), (1, 20), (1, 200)])
    for name in liars:
        cluster.hooks[NodeId(name)] = liar(cluster)
    honest = [name for name in cluster.nodes if name not in liars]
    for _ in range(25):
        live(cluster)
    # The network heals, and everybody is back; liars go on lying.
    cluster.loss = 0.0
    cluster.delay_ms = (1, 5)
    for name, node in cluster.nodes.items():
        node.die_after = None
        if node.paused is not None:
            cluster.resume(name)
        if node.protocol is None:
            cluster.start(name)
    cluster.heal()
    cluster.run(5_000)
    cluster.submit(3)
    top = max(node.height for node in cluster.nodes.values())
    cluster.reach(top + 1, *honest, within_ms=120_000)
    done = cluster.run(120_000, lambda: not any(cluster[name].mempool for name in honest))
    assert done, f"transactions left: {cluster}"
    cluster.check(liars)
