"""Proposes payloads that no honest member may vote for, and votes for them itself."""

from simulation.cluster import Behaviour, Cluster, Node

SUMMARY = "proposes invalid payloads"


def create(_cluster: Cluster, node: Node) -> Behaviour:
    node.proposes_invalid = True
    return lambda _cluster, _node, deliveries: deliveries
