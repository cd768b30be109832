"""Proposes payloads whose bytes it gives to nobody."""

from simulation.cluster import Behaviour, Cluster, Node

SUMMARY = "gives the bytes of its payloads to nobody"


def create(_cluster: Cluster, node: Node) -> Behaviour:
    node.withholds = True
    return lambda _cluster, _node, deliveries: deliveries
