"""Sends old messages again, its own and others', among the new ones."""

from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "replays what was sent before"

KEPT_MAX = 256


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        again = [
            (cluster.random.choice(node.sent), to, late_ms)
            for _, to, late_ms in deliveries
            if node.sent and cluster.random.random() < 0.5
        ]
        node.sent += [signed for signed, _, _ in deliveries[:1]]
        del node.sent[:-KEPT_MAX]
        return deliveries + again

    return behave
