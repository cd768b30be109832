"""Random runs: crashes, partitions, loss, repeats, pauses and liars, a few hundred of each.

Every run checks agreement at each block, one body per slot among what others received, decisions
in order, and progress after the network has healed. A failure names its seed; the same seed gives
the same run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.protocols._tendermint_messages import (
    NIL,
    NONE,
    Message,
    Precommit,
    Prevote,
    ProofOfLock,
    Proposal,
    RoundEnd,
    Status,
)
from crypto.interface import NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {
    "protocol": "tendermint",
    "propose_timeout_ms": 300,
    "vote_timeout_ms": 100,
    "timeout_step_ms": 100,
    "timeout_ms_max": 5_000,
}
"""Short, so that many rounds fit into a short run."""


def seeds(count: int) -> list[object]:
    """One in twenty always; the others in the longer runs."""
    return [
        pytest.param(seed, marks=() if seed < count // 20 else pytest.mark.slow)
        for seed in range(count)
    ]


def another_payload(cluster: "Cluster", node: "Node") -> bytes:
    """A payload that the others can fetch: only agreement can keep it out."""
    return cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:], bytes(31) + b"x"])


def lie(cluster: "Cluster", node: "Node", message: Message) -> Message:
    dice = cluster.random.random()
    match message:
        case Proposal() if message.proof and dice < 0.5:
            # Valid in every way, but silent on what was agreed before.
            return msgspec.structs.replace(message, valid_view=NONE, proof=())
        case Proposal() | Prevote() | Precommit():
            payload = NIL if dice < 0.3 else another_payload(cluster, node)
            return msgspec.structs.replace(message, payload=payload)
        case ProofOfLock() | RoundEnd():
            return msgspec.structs.replace(message, votes=message.votes[1:])
        case Status():
            return msgspec.structs.replace(message, view=message.view + 9, valid_view=2**40)


def liar(cluster: "Cluster") -> object:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> Iterator["Parcel"]:
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, NodeId(name)
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), NodeId(name)

    return parcels


def live(cluster: "Cluster") -> None:
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


def explore(cluster: "Cluster", liars: list[str]) -> None:
    cluster.loss = cluster.random.choice([0.0, 0.02, 0.2])
    cluster.repeats = cluster.random.choice([0.0, 0.1])
    cluster.delay_ms = cluster.random.choice([(1, 2), (1, 20), (1, 200)])
    for name in liars:
        cluster.hooks[NodeId(name)] = liar(cluster)  # type: ignore[assignment]
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


@pytest.mark.parametrize("seed", seeds(300))
def test_four_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    leader = "rotating" if seed % 2 else "sticky"
    cluster = make_cluster(4, seed, leader=leader, **SETTINGS)
    explore(cluster, [f"v{seed % 4 + 1}"] if seed % 3 else [])


@pytest.mark.parametrize("seed", seeds(100))
def test_seven_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    leader = "rotating" if seed % 2 else "sticky"
    cluster = make_cluster(7, seed, leader=leader, **SETTINGS)
    explore(cluster, [f"v{seed % 7 + 1}", f"v{(seed + 1) % 7 + 1}"] if seed % 3 else [])
