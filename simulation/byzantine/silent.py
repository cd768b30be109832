"""Says nothing."""

from simulation.cluster import Behaviour, Cluster, Node

SUMMARY = "sends nothing"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    return lambda _cluster, _node, _deliveries: []
