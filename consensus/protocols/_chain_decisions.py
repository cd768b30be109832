"""What is decided, and of which payloads the host has the bytes (C12)."""

from collections.abc import Callable

from consensus.interface import CheckPayload, Decide, Height, NeedSync, Output, Ticket, View
from consensus.protocols._chain_messages import GENESIS, ChainMessage, Node, Rules
from consensus.protocols._chain_tree import Tree
from crypto.interface import Digest, NodeId


class Decisions:
    """Follows the highest committed node; decides each height once in a run, in order."""

    def __init__(
        self, rules: Rules, tree: Tree, emit: Callable[[Output[ChainMessage]], None]
    ) -> None:
        self._rules = rules
        self._tree = tree
        self._emit = emit
        self._decided = 0
        self._view = 0
        self._checking: set[tuple[int, Digest]] = set()
        self.committed = GENESIS
        """The highest node that is committed and here."""
        self.valid: set[Digest] = set()
        """Payloads that the host answered for in this run."""

    def check(self, node: Node, proposer: NodeId) -> None:
        """Ask the host for the payload, once in a view."""
        if node.payload is not None and (node.view, node.payload) not in self._checking:
            self._checking.add((node.view, node.payload))
            below = self._tree.payloads(node.parent)
            ticket = Ticket(Height(node.height), View(node.view), below)
            self._emit(CheckPayload(ticket, node.payload, proposer))

    def check_again(self) -> None:
        self._checking.clear()

    def commit(self, name: Digest | None) -> None:
        """C12: this node and all below it, if that is news."""
        node = self._tree.get(name) if name is not None else None
        if name is not None and node is not None and node.view > self._view:
            self.committed, self._view = name, node.view

    def decide(self) -> None:
        for node in self._tree.above(self.committed):
            if node.payload is None or node.height <= self._decided:
                continue
            if node.height > self._decided + 1 or node.payload not in self.valid:
                self.check(node, self._rules.leader(node.view))
                return
            self._decided = node.height
            self._emit(Decide(Height(node.height), View(node.view), (node.payload,)))

    def executed(self, height: int) -> None:
        self._decided = max(self._decided, height)
        self.valid &= self._tree.waiting()

    def lag(self) -> bool:
        """Something is committed that cannot be decided here yet."""
        return self._height() > self._decided

    def ask_for_help(self) -> None:
        """It has to be fetched as blocks."""
        if self.lag():
            self._emit(NeedSync(Height(self._height())))

    def _height(self) -> int:
        node = self._tree.get(self.committed)
        return node.height if node is not None else 0
