"""Leaves some transactions out of whatever it proposes."""

from simulation.cluster import Behaviour, Cluster, Node

SUMMARY = "never proposes every second transaction"


def create(_cluster: Cluster, node: Node) -> Behaviour:
    node.censors = True
    return lambda _cluster, _node, deliveries: deliveries
