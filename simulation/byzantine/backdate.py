"""Says of itself what was so before: older locks and certificates, or none at all."""

from typing import Any

from simulation.byzantine._rewriting import emptied, redated, signed_by
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "keeps quiet about its locks and certificates, or shows older ones"

KEPT_MAX = 16


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    former: dict[type, list[Any]] = {}

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        sent = []
        for signed, to, late_ms in deliveries:
            lie = None
            if signed.author == node.name:
                message = signed.message
                own = former.setdefault(type(message), [])
                older = cluster.random.choice(own) if own else None
                if not own or own[-1] != message:
                    own.append(message)
                    del own[:-KEPT_MAX]
                dice = cluster.random.random()
                if dice < 0.3:
                    lie = signed_by(cluster, node, emptied(cluster, message, older))
                elif dice < 0.6 and older is not None:
                    lie = signed_by(cluster, node, redated(message, older))
            sent.append((lie or signed, to, late_ms))
        return sent

    return behave
