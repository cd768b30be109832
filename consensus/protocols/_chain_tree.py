"""The tree of nodes: those proposed lately, by name, and what follows from a certificate.

Every ancestor of a certified node is certified too: its child names it together with the view of
its certificate, and correct members vote for no child without having seen that certificate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from consensus.protocols._chain_messages import GENESIS, NODES_IN_ANSWER_MAX, Node
from crypto.encoding import encode
from crypto.interface import Digest, Hash

NODES_MAX = 4_096
"""Nodes held; each view adds one or two, each decision removes what is long below it."""

VIEWS_KEPT = 64
"""Nodes so many views below the executed one are kept for those who lag."""

_ROOT = Node(0, 0, GENESIS, 0, None)


@dataclass(frozen=True, slots=True)
class Survey:
    """What follows from the certificate of a node."""

    missing: Digest | None
    """The highest node that is needed to tell, or for a decision, and is not here."""
    rooted: bool
    """Everything above the executed height is here."""
    committed: Digest | None
    """C12: the highest node that is the first of a row: each the parent of the next, in
    consecutive views, all certified."""
    is_open: bool
    """C13: there is a payload above that node, or there may be one."""


class Tree:
    """Nodes by name. `executed` bounds how deep anybody needs to look."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._nodes: dict[Digest, Node] = {GENESIS: _ROOT}
        self.executed = 0

    def start(self, executed: int, nodes: Iterable[Node]) -> None:
        self.executed = executed
        for node in nodes:
            self.add(node)

    def name(self, node: Node) -> Digest:
        return self._hash.digest(encode(node))

    def get(self, name: Digest) -> Node | None:
        return self._nodes.get(name)

    def add(self, node: Node) -> Digest:
        name = self.name(node)
        self._nodes[name] = node
        return name

    def branch(self, name: Digest) -> Iterator[Node]:
        """The node, its parent, and so on, as far as they are here."""
        node = self._nodes.get(name)
        while node is not None:
            yield node
            if node is _ROOT:
                return
            node = self._nodes.get(node.parent)

    def above(self, name: Digest) -> list[Node]:
        """The nodes of a branch that have a payload which is not executed, oldest first."""
        found = []
        for node in self.branch(name):
            if node.height <= self.executed:
                break
            if node.payload is not None:
                found.append(node)
        return found[::-1]

    def payloads(self, name: Digest) -> tuple[Digest, ...]:
        """In flight on the branch that ends here, oldest first."""
        return tuple(node.payload for node in self.above(name) if node.payload is not None)

    def survey(self, name: Digest, length: int) -> Survey:
        """What a certificate for this node tells, if `length` nodes in a row decide the first."""
        seen: list[Node] = []
        committed = None
        is_open = rooted = False
        for node in self.branch(name):
            seen.append(node)
            row = seen[1 - length :]
            if committed is None and len(row) == length - 1 and all(map(_follows_at_once, row)):
                committed = node.parent
                is_open = any(item.payload is not None for item in seen)
            rooted = rooted or node.height <= self.executed + (node.payload is not None)
            if node is _ROOT or (rooted and committed is not None):
                break
        else:
            missing = seen[-1].parent if seen else name
            return Survey(missing, rooted, committed, is_open or committed is None)
        if committed is None:
            is_open = any(item.payload is not None for item in seen)
        return Survey(None, rooted, committed, is_open)

    def answer(self, name: Digest) -> tuple[Node, ...]:
        """C17: what to send to one who lacks this node."""
        found = islice(self.branch(name), NODES_IN_ANSWER_MAX)
        return tuple(node for node in found if node is not _ROOT)

    @property
    def is_full(self) -> bool:
        """So only if views go on for hours and nothing is decided."""
        return len(self._nodes) > NODES_MAX

    def prune(self, committed: Digest, high: Digest) -> list[tuple[Node, Digest]]:
        """Forget what lies long before the executed node of the committed branch.

        Where that is not enough, first what the highest certificate does not rest on. Returns
        what went.
        """
        executed = (node for node in self.branch(committed) if node.height <= self.executed)
        base = next(executed, _ROOT)
        old = [key for key, node in self._nodes.items() if node.view < base.view - VIEWS_KEPT]
        surplus = len(self._nodes) - len(old) - NODES_MAX
        if surplus > 0:
            needed = {high, *(node.parent for node in self.branch(high))}
            rest = sorted(self._nodes, key=lambda key: (key in needed, self._nodes[key].view))
            old = rest[: len(old) + surplus]
        return [(self._nodes.pop(key), key) for key in old if key != GENESIS]

    def waiting(self) -> set[Digest]:
        """Payloads of nodes whose height is not executed, on whatever branch."""
        return {
            node.payload
            for node in self._nodes.values()
            if node.payload is not None and node.height > self.executed
        }


def _follows_at_once(node: Node) -> bool:
    return node.view == node.parent_view + 1
