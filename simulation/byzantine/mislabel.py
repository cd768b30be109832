"""Lies about numbers and names: another view, another round of a lock, a proof of another thing."""

from typing import Any

from simulation.byzantine._rewriting import Values, relabelled, signed_by
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "says other numbers and digests than its proofs show"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    values = Values()

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            values.note(signed.message)
            lie = None
            if signed.author == node.name and cluster.random.random() < 0.5:
                lie = signed_by(cluster, node, mislabelled(cluster, signed.message, values))
            sent.append((lie or signed, to, late_ms))
        return sent

    return behave


def mislabelled(cluster: Cluster, message: Any, values: Values) -> Any:  # noqa: ANN401 - of any protocol
    """One or two of the values that the message has are others; what others signed stays."""
    return relabelled(message, values.swap(cluster, message))
