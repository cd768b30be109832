"""What a network looks like from outside: one row per node, and one sentence for all.

The sentence answers the question that people have: does the chain move, what would stop it, and
if it does not move, why.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from testnet.process import Life


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. Fields from `height` on are None while it does not answer."""

    name: str
    role: str
    state: Life
    running: bool
    """Whether its process runs (a paused one does not)."""
    pid: int | None
    api: str
    height: int | None = None
    view: int | None = None
    leader: str | None = None
    state_root: str | None = None
    header: str | None = None
    peers: tuple[str, ...] | None = None
    mempool: int | None = None
    next_timeout_ms: int | None = None
    waiting_for: tuple[str, ...] | None = None
    moving: bool | None = None
    reason: str = ""
    """What the node itself says of the chain."""
    note: str = ""
    """What is known of a node that is not up: how it ended, or its last word."""

    @property
    def answers(self) -> bool:
        return self.height is not None


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """All nodes, as of one moment."""

    nodes: tuple[NodeStatus, ...]
    quorum: int
    moves: bool
    summary: str

    def node(self, name: str) -> NodeStatus:
        return next(node for node in self.nodes if node.name == name)

    def json(self) -> dict[str, Any]:
        """What `assay testnet status --json` prints."""
        return asdict(self)


def from_answer(base: NodeStatus, answer: dict[str, Any]) -> NodeStatus:
    """Complete a row with what the node's `/v1/status` said."""
    return NodeStatus(
        name=base.name,
        role=base.role,
        state=base.state,
        running=base.running,
        pid=base.pid,
        api=base.api,
        height=int(answer["height"]),
        view=int(answer["view"]),
        leader=answer["leader"],
        state_root=answer["state_root"],
        header=answer.get("header"),
        peers=tuple(sorted(peer["name"] for peer in answer["peers"])),
        mempool=int(answer["mempool"]["count"]),
        next_timeout_ms=answer.get("next_timeout_ms"),
        waiting_for=tuple(answer.get("waiting_for", ())),
        moving=answer.get("moving"),
        reason=answer.get("reason", ""),
    )


def summarise(nodes: Sequence[NodeStatus], quorum: int) -> NetworkStatus:
    """One sentence over all rows."""
    validators = [node for node in nodes if node.role == "validator"]
    up = [node for node in validators if node.running and node.answers]
    moves = len(up) >= quorum and any(node.moving for node in up)
    summary = f"{_verdict(up, quorum, moves)}: {len(up)} of {len(validators)} validators, "
    summary += f"quorum {quorum}."
    if moves:
        summary += f" {_margin(len(up) - quorum)}"
    else:
        summary += f" {_why(up, validators, quorum)}"
    return NetworkStatus(tuple(nodes), quorum, moves, summary.strip())


def _verdict(up: Sequence[NodeStatus], quorum: int, moves: bool) -> str:
    if moves:
        return "The chain moves"
    return "The chain does not move" if len(up) >= quorum else "The chain stands still"


def _margin(spare: int) -> str:
    match spare:
        case 0:
            return "One more failure stops it."
        case 1:
            return "It survives one more failure."
        case _:
            return f"It survives {spare} more failures."


def _why(up: Sequence[NodeStatus], validators: Sequence[NodeStatus], quorum: int) -> str:
    if len(up) >= quorum:
        words = [f"{node.name} says: {node.reason}" for node in up if node.reason]
        return words[0] if words else "The nodes do not say why."
    if not any(node.running for node in validators):
        return "No validator runs."
    names = [node.name for node in validators if node not in up]
    missing = quorum - len(up)
    notes = [f"{node.name}: {node.note}" for node in validators if node.note and node not in up]
    text = f"{missing} more needed; missing: {', '.join(names)}."
    return f"{text} {'; '.join(notes)}" if notes else text
