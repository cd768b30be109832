"""Says that others signed what they did not, alone and within certificates."""

from consensus.interface import Signed
from simulation.byzantine._altering import altered
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "sends messages with forged signatures of others"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        forged = []
        for signed, to, late_ms in deliveries:
            other = cluster.random.choice(cluster.committee.members)
            lie = altered(cluster, signed.message)
            if (other, lie) not in cluster.signatures and other != node.name:
                forged.append((Signed(other, lie, signed.signature), to, late_ms))
        return deliveries + forged

    return behave
