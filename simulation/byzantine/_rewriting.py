"""Rewrites messages of any protocol, and the proofs within them. Shared by several behaviours.

Knows no message type: it looks at names of fields, at numbers, at digests and at what is signed.
What comes out has the types of what went in. A signature of another member stays only where that
member said just this; everything else, the liar signs itself.
"""

from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, get_args

import msgspec

from consensus.interface import Signed
from crypto.encoding import Malformed
from simulation.cluster import Cluster, Node

VALUES_MAX = 32
"""So many values of each field are kept."""

Change = Callable[[str, Any], Any]
"""From the name of a field and its value to another value of it, or to the same."""


class Values:
    """What a liar has said in each field: what it can lie with."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Any, None]] = {}

    def note(self, message: Any) -> None:  # noqa: ANN401 - of any protocol
        for name, value in leaves(message):
            known = self._of.setdefault(name, {})
            known[value] = None
            if len(known) > VALUES_MAX:
                del known[next(iter(known))]

    def another(self, cluster: Cluster, name: str, value: Any) -> Any:  # noqa: ANN401
        """Another value of the field; a number next to it where none was said."""
        others = [other for other in self._of.get(name, ()) if other != value]
        if isinstance(value, int):
            others += [value - 1, value + 1]
        elif value in cluster.payloads:
            others += [payload for payload in cluster.payloads if payload != value]
        return cluster.random.choice(others) if others else value

    def swap(self, cluster: Cluster, message: Any) -> Change:  # noqa: ANN401
        """Other values for one or two that the message has.

        Each in one field, or wherever it stands: what belongs together stays together.
        """
        found = list(dict.fromkeys(leaves(message)))
        chosen = cluster.random.choices(found, k=cluster.random.choice([1, 1, 2])) if found else []
        others = {item: self.another(cluster, *item) for item in dict.fromkeys(chosen)}
        if cluster.random.random() < 0.5:
            return lambda name, value: others.get((name, value), value)
        anywhere = {value: other for (_, value), other in others.items()}
        return lambda _name, value: anywhere.get(value, value)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """The numbers and digests of a message and of its proofs, with the names of their fields."""
    if isinstance(value, Signed):
        yield from leaves(value.message)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from leaves(getattr(value, field), field)
    elif isinstance(value, tuple):
        for item in value:
            yield from leaves(item, name)
    elif isinstance(value, bytes) or (isinstance(value, int) and not isinstance(value, bool)):
        yield name, value


def relabelled(value: Any, change: Change, name: str = "") -> Any:  # noqa: ANN401
    """With other values in what its author says; what is signed within stays as it is."""
    return _rewritten(value, change, name, lambda signed: signed)


def rewritten(cluster: Cluster, liar: Node, message: Any, change: Change) -> Any:  # noqa: ANN401
    """With other values everywhere, also in proofs; see above for who signs those."""

    def sign(signed: Signed[Any]) -> Signed[Any]:
        said = _rewritten(signed.message, change, "", sign)
        if said == signed.message or (signed.author, said) in cluster.signatures:
            return Signed(signed.author, said, signed.signature)
        return signed_by(cluster, liar, said) or signed

    return _rewritten(message, change, "", sign)


def repeated(cluster: Cluster, value: Any) -> Any:  # noqa: ANN401
    """With each list of signed messages made of one of them."""
    if isinstance(value, tuple) and value and all(isinstance(item, Signed) for item in value):
        return (cluster.random.choice(value),) * len(value)
    if isinstance(value, tuple):
        return tuple(repeated(cluster, item) for item in value)
    if isinstance(value, msgspec.Struct) and not isinstance(value, Signed):
        fields = {name: repeated(cluster, getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value


def emptied(cluster: Cluster, message: Any, older: Any) -> Any:  # noqa: ANN401
    """With some fields as they were in an older message of its type, or as if nothing were there.

    What it is signed for stays.
    """
    for field in msgspec.structs.fields(message):
        name, value = field.name, getattr(message, field.name)
        others = [value] if older is None else [value, getattr(older, name)]
        if isinstance(value, tuple):
            others.append(())
        elif NoneType in get_args(field.type):
            others.append(None)
        changed = msgspec.structs.replace(message, **{name: cluster.random.choice(others)})
        if changed.slot() == message.slot():
            message = changed
    return message


def redated(message: Any, older: Any) -> Any:  # noqa: ANN401
    """What an older message of its type said, for the slot of this one."""
    for name in message.__struct_fields__:
        changed = msgspec.structs.replace(message, **{name: getattr(older, name)})
        if changed.slot() == message.slot():
            message = changed
    return message


def of_another_phase(cluster: Cluster, message: Any) -> Any:  # noqa: ANN401
    """As a message of another type that has the same fields; the same where there is none."""
    fields = message.__struct_fields__
    types = [
        kind
        for kind in get_args(cluster.protocol.module.Message)
        if kind.__struct_fields__ == fields and kind is not type(message)
    ]
    if not types:
        return message
    kind = cluster.random.choice(types)
    return kind(**{name: getattr(message, name) for name in fields})


def signed_by(cluster: Cluster, liar: Node, message: Any) -> Signed[Any] | None:  # noqa: ANN401
    """None where the values do not fit the types: nobody would read it."""
    try:
        return cluster.sign(liar.name, message)
    except (Malformed, AttributeError):
        return None


def _rewritten(
    value: Any,  # noqa: ANN401
    change: Change,
    name: str,
    sign: Callable[[Signed[Any]], Signed[Any]],
) -> Any:  # noqa: ANN401
    if isinstance(value, Signed):
        return sign(value)
    if isinstance(value, msgspec.Struct):
        fields = {
            field: _rewritten(getattr(value, field), change, field, sign)
            for field in value.__struct_fields__
        }
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, tuple):
        return tuple(_rewritten(item, change, name, sign) for item in value)
    if isinstance(value, bytes) or (isinstance(value, int) and not isinstance(value, bool)):
        return change(name, value)
    return value
