"""Tells some members one story and the rest another one, each the same story all along."""

from simulation.byzantine._rewriting import relabelled, signed_by
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "tells some members of another payload than the others, from proposal to last vote"


def create(cluster: Cluster, node: Node) -> Behaviour:
    others = [name for name in cluster.committee.members if name != node.name]
    misled = set(cluster.random.sample(others, cluster.random.randint(1, len(others))))
    instead: dict[bytes, bytes] = {}

    def story(_name: str, value: object) -> object:
        if not isinstance(value, bytes) or value not in cluster.payloads:
            return value
        if value not in instead:
            known = [payload for payload in cluster.payloads if payload != value]
            if not known:
                return value
            instead[value] = cluster.random.choice(known)
        return instead[value]

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            lie = None
            if to in misled and signed.author == node.name:
                lie = signed_by(cluster, node, relabelled(signed.message, story))
            sent.append((lie or signed, to, late_ms))
        return sent

    return behave
