"""Speaks of what does not exist: digests that nobody knows, and numbers far from all others.

Who believes it waits for something that never comes.
"""

from typing import Any

from crypto.interface import Digest
from simulation.byzantine._rewriting import (
    Change,
    leaves,
    relabelled,
    repeated,
    rewritten,
    signed_by,
)
from simulation.cluster import Behaviour, Cluster, Delivery, Node, digest_of

SUMMARY = "speaks of digests that nobody knows and of numbers far off, with proofs made up to fit"

FAR = (1, 2, 8, 1_000)
"""So far off are the numbers."""


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            lie = None
            if signed.author == node.name and cluster.random.random() < 0.5:
                lie = signed_by(cluster, node, _invented(cluster, node, signed.message))
            sent.append((lie or signed, to, late_ms))
        return sent

    return behave


def _invented(cluster: Cluster, liar: Node, message: Any) -> Any:  # noqa: ANN401 - of any protocol
    change = invention(cluster, message)
    if cluster.random.random() < 0.5:
        return relabelled(message, change)
    message = rewritten(cluster, liar, message, change)
    return repeated(cluster, message) if cluster.random.random() < 0.5 else message


def invention(cluster: Cluster, message: Any) -> Change:  # noqa: ANN401
    """Others for one or two values; a digest wherever it stands, a number in its field."""
    found = list(dict.fromkeys(leaves(message)))
    chosen = cluster.random.choices(found, k=cluster.random.choice([1, 2])) if found else []
    digests: dict[object, Digest] = {}
    numbers: dict[tuple[str, object], int] = {}
    for name, value in chosen:
        if isinstance(value, int):
            numbers[name, value] = value + cluster.random.choice(FAR)
        else:
            digests[value] = digest_of("invented", cluster.random.random())
    return lambda name, value: digests.get(value, numbers.get((name, value), value))
