"""Leaves proofs out of what it says when a view changes."""

from simulation.byzantine._altering import shortened
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "leaves one of the signed messages out of every proof"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        return [
            (cluster.sign(node.name, shortened(signed.message)), to, late_ms)
            if signed.author == node.name
            else (signed, to, late_ms)
            for signed, to, late_ms in deliveries
        ]

    return behave
