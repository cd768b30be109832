"""Says one thing to some and another to others, in proposals and votes alike."""

from simulation.byzantine._altering import altered
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "signs different proposals and votes for different members"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            dice = cluster.random.random()
            if dice < 0.6 or signed.author != node.name:
                sent.append((signed, to, late_ms))
            if dice >= 0.4 and signed.author == node.name:
                lie = cluster.sign(node.name, altered(cluster, signed.message))
                sent.append((lie, to, late_ms))
        return sent

    return behave
