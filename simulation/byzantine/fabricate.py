"""Makes proofs up: of something else, signed by itself over and over, or one signer repeated."""

from typing import Any

from simulation.byzantine._rewriting import Values, repeated, rewritten, signed_by
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "makes up proofs: of something else, or one signer again and again"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    values = Values()

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            values.note(signed.message)
            lie = None
            if signed.author == node.name and cluster.random.random() < 0.5:
                lie = signed_by(cluster, node, fabricated(cluster, node, signed.message, values))
            sent.append((lie or signed, to, late_ms))
        return sent

    return behave


def fabricated(cluster: Cluster, liar: Node, message: Any, values: Values) -> Any:  # noqa: ANN401 - of any protocol
    """A value that the message has is another one wherever it stands, also in proofs."""
    if cluster.random.random() < 0.75:
        message = rewritten(cluster, liar, message, values.swap(cluster, message))
    return repeated(cluster, message) if cluster.random.random() < 0.75 else message
