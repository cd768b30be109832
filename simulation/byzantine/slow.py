"""Sends everything, but so late that the others nearly lose patience."""

from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "sends everything at nine tenths of the view timeout"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(_cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        assert node.protocol is not None
        late_ms = node.protocol.progress().next_timeout_ms * 9 // 10
        return [(signed, to, late + late_ms) for signed, to, late in deliveries]

    return behave
