"""Tells all the same lie about what it proposes, and stands by it.

Either it goes on from where it was some time ago, on an older certificate, whole and genuine, or it
gives other numbers and names. It hears the lie itself before the truth, so its votes go with it.
"""

from functools import partial
from typing import Any

import msgspec

from consensus.interface import Received, Signed
from simulation.byzantine._altering import altered
from simulation.byzantine._rewriting import Values, relabelled, signed_by
from simulation.byzantine.invent import invention
from simulation.byzantine.mislabel import mislabelled
from simulation.cluster import Behaviour, Cluster, Delivery, Node

SUMMARY = "tells all the same lie about where it is, and votes for it"

KEPT_MAX = 8
HONEST = 0.3
"""So often it says what is so."""
KEEPS = 0.2
"""So often a part of the message stays as it is."""


def create(_cluster: Cluster, _node: Node) -> Behaviour:
    former: dict[type, list[Any]] = {}
    values = Values()

    def lie_about(cluster: Cluster, node: Node, message: Any) -> Signed[Any] | None:  # noqa: ANN401 - of any protocol
        own = former.setdefault(type(message), [])
        older = cluster.random.choice(own) if own else None
        own.append(message)
        del own[:-KEPT_MAX]
        values.note(message)
        if cluster.random.random() < HONEST:
            return None
        dice = cluster.random.random()
        if older is not None and dice < 0.5:
            lie = _as_before(cluster, message, older)
        elif dice < 0.75:
            lie = mislabelled(cluster, message, values)
        else:
            lie = relabelled(message, invention(cluster, message))
        if cluster.random.random() < 0.4:
            lie = altered(cluster, lie)
        return signed_by(cluster, node, lie) if lie.slot() == message.slot() else None

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        lies: dict[Any, Signed[Any] | None] = {}
        sent = []
        for signed, to, late_ms in deliveries:
            message = signed.message
            if signed.author == node.name and message not in lies and _has_room(message):
                lies[message] = lie = lie_about(cluster, node, message)
                if lie is not None and message.slot() is not None:
                    cluster.later(node, 0, partial(_hear, cluster, node, lie))
            sent.append((lies.get(message) or signed, to, late_ms))
        return sent

    return behave


def _hear(cluster: Cluster, node: Node, lie: Signed[Any]) -> None:
    cluster.step(node, Received(node.name, lie))


def _has_room(message: Any) -> bool:  # noqa: ANN401
    """For proofs. Why only then: the liar's own votes are needed for what it has proposed."""
    values = (getattr(message, name) for name in message.__struct_fields__)
    return any(not isinstance(value, int | bytes) for value in values)


def _as_before(cluster: Cluster, message: Any, older: Any) -> Any:  # noqa: ANN401
    """The older message, in the slot of this one."""
    for name in message.__struct_fields__:
        if cluster.random.random() < KEEPS:
            continue
        value, before = getattr(message, name), getattr(older, name)
        changed = msgspec.structs.replace(message, **{name: before})
        if changed.slot() == message.slot():
            message = changed
        elif isinstance(value, msgspec.Struct):
            message = msgspec.structs.replace(
                message, **{name: _within(message, name, value, before)}
            )
    return message


def _within(message: Any, name: str, value: Any, before: Any) -> Any:  # noqa: ANN401
    """All fields of a part but those that say for which slot the message is."""
    for field in value.__struct_fields__:
        changed = msgspec.structs.replace(value, **{field: getattr(before, field)})
        if msgspec.structs.replace(message, **{name: changed}).slot() == message.slot():
            value = changed
    return value
