"""Forgets with each crash what it promised: locks, votes, and what its signer refused to sign."""

from simulation.cluster import Behaviour, Cluster, Node

SUMMARY = "a crash takes its locks and its journal"


def create(_cluster: Cluster, node: Node) -> Behaviour:
    node.forgets = True
    return lambda _cluster, _node, deliveries: deliveries
