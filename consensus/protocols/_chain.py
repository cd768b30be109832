"""A replica that votes on a chain of nodes: what HotStuff and Jolteon have in common.

The rules C1 to C18 are those of docs/specs/hotstuff.md, with the section of the papers for each.
What the protocols differ in is a `Variant`: after how many consecutive certified nodes the first
is decided, and which proposals are safe to vote for.

Orders payload digests: each node with a payload becomes one decision. A replica counts its own
votes when the host delivers them back to it, and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.interface import (
    CaughtUp,
    CommitteeChanged,
    ConsensusProtocol,
    Executed,
    Height,
    Ignore,
    Input,
    Output,
    Overdue,
    PayloadChecked,
    PayloadReady,
    PeerConnected,
    Pending,
    Progress,
    Received,
    Relay,
    RequestPayload,
    Send,
    Setup,
    Signed,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.protocols._chain_ballots import wide
from consensus.protocols._chain_decisions import Decisions
from consensus.protocols._chain_log import Lock, Memory
from consensus.protocols._chain_messages import (
    ChainMessage,
    Fetch,
    Invalid,
    Node,
    Nodes,
    Proposal,
    QuorumCertificate,
    Rules,
    Status,
    Timeout,
    Vote,
)
from consensus.protocols._chain_pacemaker import HEIGHTS_AHEAD_MAX, RESEND, ChainOptions, Pacemaker
from consensus.protocols._chain_round import Round
from consensus.protocols._chain_tree import Survey, Tree
from crypto.header import ZERO
from crypto.interface import Digest, NodeId


@dataclass(frozen=True, slots=True)
class Variant:
    """In what the protocols of this family differ."""

    chain: int
    """C12: so many certified nodes in consecutive views decide the first of them."""
    safe: Callable[[Proposal, Lock], bool]
    """C10: whether a proposal may be voted for by one who holds this lock."""


class Replica(ConsensusProtocol[ChainMessage]):
    """`step` takes an input in; `_advance` then does whatever has become possible."""

    def __init__(self, setup: Setup, options: ChainOptions, variant: Variant) -> None:
        self._me = setup.me
        self._committee = setup.committee
        self._rules = Rules(setup.committee, setup.leader)
        self._options = options
        self._variant = variant
        self._out: list[Output[ChainMessage]] = []
        self._pace = Pacemaker(self._rules, options, self._emit)
        self._tree = Tree(setup.hash)
        self._now = Round(1)
        self._proposed = 0
        """The last view in which this replica proposed."""
        self._decisions = Decisions(self._rules, self._tree, self._emit)
        self._pending = False

    def step(self, event: Input[ChainMessage]) -> Sequence[Output[ChainMessage]]:
        match event:
            case Started():
                self._on_started(event)
            case PayloadReady(ticket=ticket, payload=payload):
                self._on_payload(ticket, payload)
            case PayloadChecked(payload=payload, valid=valid):
                self._on_checked(payload, valid=valid)
            case Received(sender=sender, signed=signed):
                self._on_message(sender, signed)
            case TimerFired(name=name):
                self._on_timer(name)
            case Pending(exists=exists):
                self._pending = exists
            case Overdue():
                pass  # C14: the leader changes with each view anyway.
            case Executed(height=height) | CaughtUp(height=height):
                self._on_executed(height)
            case CommitteeChanged():
                raise AssertionError("the committee is that of the genesis file")
            case PeerConnected(peer=peer):
                self._emit(Send(self._pace.status(asks=True), peer))
        self._advance()
        self._pace.set_timers(waits=self._waits())
        out, self._out = self._out, []
        return out

    def progress(self) -> Progress:
        signed = self._now.proposal
        proposed = self._tree.name(signed.message.node) if signed is not None else None
        return Progress(
            View(self._pace.view),
            self._rules.leader(self._pace.view),
            "view-change" if self._pace.gave_up else "normal",
            self._pace.waiting_for(self._me, proposed) if self._waits() else (),
            self._pace.timeout_ms,
        )

    def _on_started(self, event: Started) -> None:
        memory = Memory(event.remembered)
        self._tree.start(event.executed, memory.nodes.values())
        self._decisions.executed(event.executed)
        self._pace.start(memory)

    def _advance(self) -> None:
        self._pace.count_timeouts()
        self._enter()
        self._follow()
        self._decisions.decide()
        self._vote()
        self._propose()

    def _enter(self) -> None:
        """C7: what belonged to a former view is over."""
        if self._now.view != self._pace.view:
            self._now = Round(self._pace.view)
            self._decisions.check_again()
            if self._tree.is_full:
                self._prune()

    # --- Proposing (C1 to C3). ---

    def _propose(self) -> None:
        """C1: on the highest certificate, once a view, while something waits."""
        view, high = self._pace.view, self._pace.memory.high
        tip = self._tree.get(high.node)
        if self._rules.leader(view) != self._me or self._proposed >= view or self._pace.gave_up:
            return
        if tip is None or not self._survey().rooted or self._now.requested or not self._waits():
            return
        waiting = self._tree.payloads(high.node)
        first = tip.height == 0 and self._tree.executed == 0
        if first or (self._pending and len(waiting) < self._options.window):
            ticket = Ticket(Height(tip.height + 1), View(view), waiting)
            self._now.requested = ticket, high
            self._emit(RequestPayload(ticket, at_once=True))
        else:
            self._extend(high, tip, None)

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if self._now.requested is None or ticket != self._now.requested[0]:
            return
        justify = self._now.requested[1]
        self._now.requested = None
        if payload is not None:
            self._decisions.valid.add(payload)
        parent = self._tree.get(justify.node)
        if parent is not None and not self._pace.gave_up:
            self._extend(justify, parent, payload)

    def _extend(self, justify: QuorumCertificate, parent: Node, payload: Digest | None) -> None:
        """C2, C3: a child of what is certified, with the proof that the view before is over."""
        self._proposed = view = self._pace.view
        height = parent.height + (payload is not None)
        node = Node(view, height, justify.node, justify.view, payload)
        gave_up = None if justify.view == view - 1 else self._pace.memory.gave_up
        self._emit(Send(Proposal(node, justify, gave_up)))

    # --- Messages. ---

    def _on_message(self, sender: NodeId, signed: Signed[ChainMessage]) -> None:
        message = signed.message
        try:
            match message:
                case _ if signed.author not in self._committee.members:
                    raise Invalid("author is not a member")
                case Proposal():
                    proposal = Signed(signed.author, message, signed.signature)
                    self._rules.check_proposal(proposal)
                    self._on_proposal(sender, proposal)
                case Vote():
                    if self._file(sender, signed, message.node):
                        certificate = self._pace.ballots.certificate(message.view, message.node)
                        if certificate is not None:
                            self._pace.learn(certificate)
                case Timeout():
                    self._file(sender, signed, ZERO)
                case Status() if sender != self._me:
                    self._rules.check_status(message)
                    self._on_status(sender, message)
                case Fetch() if sender != self._me:
                    self._on_fetch(sender, message)
                case Nodes() if sender != self._me:
                    self._on_nodes(sender, message)
        except Invalid as error:
            self._emit(Ignore(sender, error.reason))

    def _file(self, sender: NodeId, signed: Signed[ChainMessage], choice: Digest) -> bool:
        """Who is far ahead is told where this replica is, so that it helps."""
        if self._pace.ballots.file(sender, signed, choice):
            return True
        slot = signed.message.slot()
        if (
            slot is not None
            and slot.view > self._pace.view
            and sender != self._me
            and self._pace.may_answer(sender)
        ):
            self._emit(Send(self._pace.status(asks=True), sender))
        return False

    def _on_proposal(self, sender: NodeId, signed: Signed[Proposal]) -> None:
        """C6, C7: it shows why its view may begin, so nobody is behind who has seen it."""
        node = signed.message.node
        self._pace.learn(signed.message.justify)
        self._pace.learn_timeouts(signed.message.gave_up)
        self._enter()
        name = self._tree.name(node)
        if not self._file(sender, wide(signed), name):
            pass
        elif node.view == self._now.view:
            self._now.proposal = self._now.proposal or signed
            self._tree.add(self._now.proposal.message.node)
            self._fetch_missing(sender)
        elif name in self._missing():
            self._tree.add(node)  # Overtaken by the votes for it.
        else:
            raise Invalid("old view")

    # --- Voting (C9, C10). ---

    def _vote(self) -> None:
        """C9: once in a view, in no lower view than before, not in one that was given up."""
        memory, signed = self._pace.memory, self._now.proposal
        if signed is None or self._now.refused or self._pace.gave_up:
            return
        if memory.voted is not None and memory.voted.view >= self._now.view:
            return
        node = signed.message.node
        parent = self._tree.get(node.parent)
        if parent is None:
            return  # It was asked for; C10 cannot be judged without it.
        reason = self._objection(signed.message, parent)
        if reason is not None:
            self._now.refused = True
            self._emit(Ignore(signed.author, reason))
        elif node.payload is None or node.payload in self._decisions.valid:
            name = self._tree.name(node)
            vote = memory.voted = Vote(node.view, name)
            memory.keep(node, name)
            self._emit(memory.flush())
            self._emit(Send(vote, self._rules.leader(node.view + 1)))
        else:
            self._decisions.check(node, signed.author)

    def _objection(self, proposal: Proposal, parent: Node) -> str | None:
        """C3, C10: why not to vote for it."""
        node = proposal.node
        if node.height != parent.height + (node.payload is not None):
            return "wrong height"
        if not self._variant.safe(proposal, self._pace.memory.lock):
            return "not safe"
        if node.payload is None:
            return None
        if node.height <= self._tree.executed:
            return "height is executed"
        if node.height > self._tree.executed + HEIGHTS_AHEAD_MAX:
            return "height too far ahead"
        if node.payload in self._tree.payloads(node.parent):
            return "payload is on this branch"
        return None

    def _on_checked(self, payload: Digest, *, valid: bool) -> None:
        if valid:
            self._decisions.valid.add(payload)
            return
        signed = self._now.proposal
        if signed is not None and signed.message.node.payload == payload:
            # C13: no correct member votes for it, so this view ends without a certificate.
            self._emit(Ignore(signed.author, "invalid payload"))
            self._pace.give_up()

    # --- Deciding (C11, C12). ---

    def _follow(self) -> None:
        """C11, C12: what the highest certificate locks and commits."""
        memory = self._pace.memory
        node = self._tree.get(memory.high.node)
        if node is None:
            return
        if node.parent_view > memory.lock.view:
            memory.lock = Lock(node.parent_view, node.parent)
        self._decisions.commit(self._survey().committed)

    def _on_executed(self, height: int) -> None:
        if height <= self._tree.executed:
            return
        self._tree.executed = height
        self._pace.progressed()
        if self._now.requested is not None and self._now.requested[0].height <= height:
            self._now.requested = None
        self._prune()
        self._decisions.executed(height)

    def _prune(self) -> None:
        memory = self._pace.memory
        memory.forget(self._tree.prune(self._decisions.committed, memory.high.node))

    # --- Time, and what was missed (C13, C16, C17). ---

    def _waits(self) -> bool:
        """C13: nothing runs while nothing is pending and all that was proposed is decided.

        Why the branch of the highest certificate has to show it: what others decided by another
        one might not be known to all, and who has decided all leads others who have not.
        """
        signed = self._now.proposal
        proposed = signed is not None and signed.message.node.payload is not None
        starting = not self._tree.executed
        return (
            self._pending or proposed or starting or self._decisions.lag() or self._survey().is_open
        )

    def _survey(self) -> Survey:
        return self._tree.survey(self._pace.memory.high.node, self._variant.chain)

    def _on_timer(self, name: str) -> None:
        self._pace.fired(name)
        if name == RESEND:
            self._fetch_missing(None)
            self._decisions.ask_for_help()

    def _on_status(self, peer: NodeId, status: Status) -> None:
        self._pace.learn(status.high)
        self._pace.learn_timeouts(status.gave_up)
        self._enter()
        self._fetch_missing(peer)
        behind = status.view < self._now.view or status.high.view < self._pace.memory.high.view
        if not behind and not (status.asks and status.view == self._now.view):
            return
        if not self._pace.may_answer(peer):
            raise Invalid("asked too often")
        if behind:
            self._emit(Send(self._pace.status(asks=False), peer))
            return
        self._pace.repeat(peer)
        signed = self._now.proposal
        if signed is not None and signed.author == self._me:
            self._emit(Relay(wide(signed), peer))

    def _fetch_missing(self, peer: NodeId | None) -> None:
        for name in self._missing():
            if peer != self._me and self._pace.may_fetch(name):
                self._emit(Send(Fetch(name), peer))

    def _missing(self) -> list[Digest]:
        """C17: what the highest certificate and the proposal of this view rest on."""
        missing = {self._survey().missing}
        signed = self._now.proposal
        if signed is not None and self._tree.get(signed.message.node.parent) is None:
            missing.add(signed.message.node.parent)
        return [name for name in missing if name is not None]

    def _on_fetch(self, peer: NodeId, message: Fetch) -> None:
        if not self._pace.may_answer(peer):
            raise Invalid("asked too often")
        nodes = self._tree.answer(message.node)
        if nodes:
            self._emit(Send(Nodes(nodes), peer))

    def _on_nodes(self, peer: NodeId, message: Nodes) -> None:
        """C17: a certificate names the node, and the node its parent: nothing else is taken."""
        for node in message.nodes:
            if self._tree.name(node) not in self._missing():
                raise Invalid("node not asked for")
            self._tree.add(node)
        self._fetch_missing(peer)

    def _emit(self, output: Output[ChainMessage]) -> None:
        self._out.append(output)
