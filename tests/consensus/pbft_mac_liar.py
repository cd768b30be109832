"""A liar who knows PBFT with MACs, and an ear for members that say two things for one."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from consensus.protocols._pbft_mac_messages import (
    Ack,
    Checkpoint,
    Claim,
    Commit,
    Copy,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Result,
    ViewChange,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {"window": 8, "checkpoint_interval": 4, "view_timeout_ms": 400}
"""Small, so that watermarks and checkpoints matter in a short run."""

BOGUS = Digest(b"\x07" * 32)


def replaced(message: Message, **fields: object) -> Message:
    return msgspec.structs.replace(message, **fields)


class Ear:
    """No signer refuses a second body here; so what is delivered is compared."""

    def __init__(self, cluster: "Cluster") -> None:
        self._said: defaultdict[tuple[Any, ...], set[Message]] = defaultdict(set)
        self._lost = cluster.drop
        cluster.drop = self._hear

    def _hear(self, sender: NodeId, to: NodeId, message: Message) -> bool:
        match message:
            case PrePrepare() | Prepare() | Commit():
                self._said[sender, type(message), message.view, message.height].add(message)
            case Checkpoint():
                self._said[sender, Checkpoint, message.height].add(message)
            case ViewChange() | NewView():
                self._said[sender, type(message), message.view].add(message)
            case _:
                pass  # An ack promises nothing: of two view-changes both may have been received.
        return self._lost(sender, to, message)

    def check(self, *liars: str) -> None:
        """Nobody else said two things for one."""
        twice = {
            about: bodies
            for about, bodies in self._said.items()
            if len(bodies) > 1 and about[0] not in liars
        }
        assert not twice, f"two things said: {twice}"


def another_payload(cluster: "Cluster", node: "Node") -> Digest:
    """A payload that the others can fetch: only agreement can keep it out."""
    return Digest(cluster.random.choice([*node.kept, *list(cluster.payloads)[-3:]]))


def _claims(cluster: "Cluster", node: "Node", change: ViewChange) -> tuple[Claim, ...]:
    """Prepared at some heights, in any lower view, whatever suits."""
    heights = cluster.random.sample(range(change.stable + 1, change.stable + 9), 3)
    return tuple(
        Claim(height, cluster.random.randrange(change.view), another_payload(cluster, node))
        for height in sorted(heights)
    )


def lie(cluster: "Cluster", node: "Node", message: Message) -> Message:  # noqa: PLR0911 - a table
    dice = cluster.random.random()
    match message:
        case PrePrepare() | Prepare() | Commit():
            return replaced(message, payload=another_payload(cluster, node))
        case Checkpoint():
            return replaced(message, header=BOGUS)
        case ViewChange() if dice < 0.3:
            return replaced(message, prepared=())
        case ViewChange() if dice < 0.5:
            high = message.stable + 4
            return replaced(message, stable=high, checkpoints=(Result(high, BOGUS),), prepared=(),
                            pre_prepared=())  # fmt: skip
        case ViewChange():
            claims = _claims(cluster, node, message)
            return replaced(message, prepared=claims, pre_prepared=claims)
        case Ack():
            return replaced(message, change=BOGUS)
        case Copy():
            changed = lie(cluster, node, message.change)
            return replaced(message, change=changed)
        case NewView() if dice < 0.5 and message.payloads:
            payloads = (another_payload(cluster, node), *message.payloads[1:])
            return replaced(message, payloads=payloads)
        case NewView():
            return replaced(message, changes=message.changes[1:])
        case _:
            return message


def liar(cluster: "Cluster") -> Callable[..., object]:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, name
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), name

    return parcels
