"""Talks to others in each view: to all, to some, or to nobody."""

from consensus.interface import Slot
from crypto.interface import NodeId
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "sends to other members in each view, and each sort of message to others again"


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    friends: dict[Slot, set[NodeId]] = {}

    def behave(cluster: Cluster, _node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        kept = []
        for delivery in deliveries:
            slot = delivery[0].message.slot()
            if slot is not None and slot not in friends:
                members = cluster.committee.members
                count = cluster.random.choice([0, 1, len(members) // 2, len(members)])
                friends[slot] = set(cluster.random.sample(members, count))
            if slot is None or delivery[1] in friends[slot]:
                kept.append(delivery)
        return kept

    return behave
