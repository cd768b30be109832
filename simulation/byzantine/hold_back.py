"""Holds some of its messages back from some, until others have long gone on without them."""

from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "sends some messages to some members only after a view timeout or two"

LATE = (5, 11, 15, 21, 31)
"""So many tenths of the view timeout."""


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        assert node.protocol is not None
        timeout_ms = node.protocol.progress().next_timeout_ms
        return [
            (signed, to, late_ms + timeout_ms * cluster.random.choice(LATE) // 10)
            if cluster.random.random() < 0.4
            else (signed, to, late_ms)
            for signed, to, late_ms in deliveries
        ]

    return behave
