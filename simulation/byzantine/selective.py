"""Talks to some, and never to the others."""

from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "sends to half of the members only"


def create(cluster: Cluster, node: Node) -> Behaviour:
    others = [name for name in cluster.committee.members if name != node.name]
    friends = set(cluster.random.sample(others, len(others) // 2))

    def behave(_cluster: Cluster, _node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        return [delivery for delivery in deliveries if delivery[1] in friends]

    return behave
