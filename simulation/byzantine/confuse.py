"""Sends each vote as a vote of another phase, too: who takes one for the other is misled."""

from simulation.byzantine._rewriting import of_another_phase, signed_by
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "votes in a phase with what it says in another"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        added = []
        for signed, to, late_ms in deliveries:
            if signed.author == node.name and cluster.random.random() < 0.5:
                other = signed_by(cluster, node, of_another_phase(cluster, signed.message))
                if other is not None:
                    added.append((other, to, late_ms))
        return deliveries + added

    return behave
