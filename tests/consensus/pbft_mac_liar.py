"""A liar who knows PBFT with MACs, and an ear for members that say two things for one."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from consensus.interface import Decide
from consensus.protocols._pbft_mac_messages import (
    NULL,
    Ack,
    Checkpoint,
    Claim,
    Commit,
    Copy,
    Message,
    Named,
    NewView,
    Prepare,
    PrePrepare,
    Result,
    ViewChange,
    digest,
)
from crypto.hashes import sha256
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

SETTINGS: dict[str, Any] = {"window": 8, "checkpoint_interval": 4, "view_timeout_ms": 400}
"""Small, so that watermarks and checkpoints matter in a short run."""

HASH = sha256.create(sha256.Options())
BOGUS = Digest(b"\x07" * 32)


def replaced(message: Message, **fields: object) -> Message:
    return msgspec.structs.replace(message, **fields)


class Ear:
    """No signer refuses a second body here; so what is delivered is compared."""

    def __init__(self, cluster: "Cluster") -> None:
        self._said: defaultdict[tuple[Any, ...], set[Message]] = defaultdict(set)
        self._cluster = cluster
        self.lost = cluster.drop
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
        return self.lost(sender, to, message)

    def check(self, *liars: str) -> None:
        """Nobody else said two things for one, or voted against a decision of a lower view."""
        twice = {
            about: bodies
            for about, bodies in self._said.items()
            if len(bodies) > 1 and about[0] not in liars
        }
        assert not twice, f"two things said: {twice}"
        decisions = {
            (decision.height, decision.view, *(decision.payloads or (NULL,)))
            for node in self._cluster.nodes.values()
            if node.name not in liars
            for decision in node.said(Decide)
        }
        against = [
            (about, height, view)
            for height, view, payload in decisions
            for about, bodies in self._said.items()
            if about[0] not in liars
            and about[1] in {Prepare, Commit}
            and about[2] > view
            and about[3] == height
            and any(vote.payload != payload for vote in bodies)  # type: ignore[union-attr]  # votes
        ]
        assert not against, f"votes against a decision: {against}"


def another_payload(cluster: "Cluster", node: "Node") -> Digest:
    """A payload that the others can fetch: only agreement can keep it out."""
    return Digest(cluster.random.choice([BOGUS, *node.kept, *list(cluster.payloads)[-3:]]))


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


def nothing(view: int) -> ViewChange:
    """What a member says that has prepared nothing."""
    return ViewChange(view, 0, (Result(0, NULL),), (), ())


def forge(message: NewView) -> "Iterator[Message]":
    """A new view in which all others say that they hold nothing, and their words to go with it."""
    change = nothing(message.view)
    name = digest(HASH, change)
    named = tuple(Named(item.author, name) for item in message.changes)
    yield NewView(message.view, named, Result(0, NULL), ())
    for item in named:
        yield Copy(item.author, change)


def liar(cluster: "Cluster") -> Callable[..., object]:
    """Says one thing to some, another to others, and nothing to the rest."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        true = cluster.sign(node.name, message)
        for name in cluster.nodes if to is None else [to]:
            dice = cluster.random.random()
            if dice < 0.5:
                yield true, name
            elif isinstance(message, NewView):
                yield from ((cluster.sign(node.name, x), name) for x in forge(message))
                continue
            if 0.4 < dice < 0.8:
                yield cluster.sign(node.name, lie(cluster, node, message)), name

    return parcels
