"""Changes messages of any protocol: other payloads, fewer proofs. Shared by several behaviours.

Knows no message type: it looks for digests of payloads, and for tuples of signed messages.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from consensus.interface import Signed
from simulation.cluster import Cluster


def altered(cluster: Cluster, message: Any) -> Any:  # noqa: ANN401 - of any protocol
    """The message with each payload that it names replaced by another one that exists."""
    known = list(cluster.payloads)

    def another(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, bytes) and value in cluster.payloads:
            return cluster.random.choice(known)
        return value

    return _mapped(message, another)


def shortened(message: Any) -> Any:  # noqa: ANN401
    """The message without the last of each list of signed messages: too little to prove."""

    def fewer(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, tuple) and value and all(isinstance(item, Signed) for item in value):
            return value[:-1]
        return value

    return _mapped(message, fewer)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """Everything in it that its author says; what others signed stays as it is."""
    changed = change(value)
    if changed is not value or isinstance(value, Signed):
        return changed
    if isinstance(value, msgspec.Struct):
        fields = {name: _mapped(getattr(value, name), change) for name in value.__struct_fields__}
        if all(fields[name] is getattr(value, name) for name in fields):
            return value
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, tuple):
        items = tuple(_mapped(item, change) for item in value)
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value
