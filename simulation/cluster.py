"""A cluster of bare protocols on one thread with virtual time.

`Cluster` plays the host of `consensus.interface` for each replica, duty by duty, and keeps an eye
on what must always hold: one block per height, one body per slot among what others received,
decisions in order. Signatures are symbols that nobody can forge: only what went through `sign`
counts as signed. All randomness comes from the seed. Disk, mempool and sync are the least that the
contract allows; `simulation.whole_cluster` has the real ones.
"""

import hashlib
import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeAlias

from consensus.interface import (
    Accuse,
    CancelTimer,
    CaughtUp,
    CheckPayload,
    Committee,
    ConsensusProtocol,
    Decide,
    Executed,
    Height,
    Ignore,
    Input,
    Leader,
    NeedSync,
    Output,
    Overdue,
    PayloadChecked,
    PayloadReady,
    PeerConnected,
    Pending,
    Persist,
    Received,
    Relay,
    RequestPayload,
    Send,
    SetTimer,
    Setup,
    Signed,
    Slot,
    Started,
    Ticket,
    TimerFired,
)
from crypto.encoding import Codec, encode
from crypto.hashes import sha256
from crypto.header import ZERO
from crypto.interface import Digest, NodeId, Signature
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, Mechanism, load, options
from simulation.network import Network
from simulation.rules import Clock

OVERDUE_MS = 4_000
SYNC_STALL_MS = 1_000
FETCH_MS = 100
TICK_MS = 200
HASH = sha256.create(sha256.Options())


class Diverged(Exception):
    """Two honest replicas executed different blocks at one height."""


class Framed(Exception):
    """An honest replica was accused, or was heard to say two things for one slot."""


class Broken(Exception):
    """An honest replica broke a duty of the contract: order, or payloads that it never had."""


Message: TypeAlias = Any
"""The union of the protocol's messages."""

Parcel: TypeAlias = tuple[Signed[Message], NodeId | None]
Hook: TypeAlias = Callable[["Node", Message, NodeId | None], Iterable[Parcel] | None]
"""Turns what a faulty replica would send into what it does send; None: as it is."""

Delivery: TypeAlias = tuple[Signed[Message], NodeId, int]
"""What is sent to whom, and by how many milliseconds it is late."""

Behaviour: TypeAlias = Callable[["Cluster", "Node", list[Delivery]], list[Delivery]]
"""Turns what a faulty replica would send, receiver by receiver, into what it does send."""

Observer: TypeAlias = Callable[[int, str, str, str], None]
"""Hears of what happens: the time in ms, at whom, what, and the particulars in short."""


@cache
def _load(kind: Kind, name: str, allow: tuple[str, ...]) -> Mechanism:
    """Why kept: looking through installed packages takes as long as a short run."""
    return load(kind, name, lab=False, allow=allow)


def digest_of(*parts: object) -> Digest:
    return Digest(hashlib.sha256(repr(parts).encode()).digest())


@dataclass(eq=False)
class Node:
    """One validator: what is durable, and what dies with the process."""

    name: NodeId
    """As whom it speaks."""
    key: str = ""
    """What tells it from its twin; else its name."""
    remembered: dict[bytes, bytes] = field(default_factory=dict)
    journal: dict[Slot, Message] = field(default_factory=dict)
    ledger: list[tuple[tuple[Digest, ...], Digest]] = field(default_factory=list)
    kept: dict[Digest, None] = field(default_factory=dict)
    """Payloads whose bytes are durable here."""
    mempool: dict[int, int] = field(default_factory=dict)
    """Transaction to the time of its arrival."""
    done_with: set[int] = field(default_factory=set)

    protocol: ConsensusProtocol[Message] | None = None
    run: int = 0
    queue: deque[Output[Message]] = field(default_factory=deque)
    timers: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    """When timers fire, where the clock can jump."""
    decisions: dict[int, Decide] = field(default_factory=dict)
    decided: int = 0
    answered: set[Digest] = field(default_factory=set)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    pending: bool = False
    paused: list[Callable[[], None]] | None = None
    moved_ms: int = 0
    newest_ms: int = -1
    """Arrival of the latest transaction that was executed."""
    done: int = 0
    """Outputs carried out in this run."""
    die_after: int | None = None
    """Crash once so many outputs were carried out."""
    outputs: list[Output[Message]] = field(default_factory=list)
    """All outputs of all runs."""
    sent: list[Signed[Message]] = field(default_factory=list)
    """What it sent, where somebody wants to replay it."""
    forgets: bool = False
    """A crash takes what it remembered and what its signer knew."""
    withholds: bool = False
    """It gives its payloads to nobody."""
    censors: bool = False
    """It leaves every second transaction out of what it proposes."""
    proposes_invalid: bool = False
    """Its payloads are invalid, and it finds them good."""

    @property
    def height(self) -> int:
        return len(self.ledger)

    @property
    def header(self) -> Digest:
        return self.ledger[-1][1] if self.ledger else ZERO

    @property
    def view(self) -> int:
        assert self.protocol is not None
        return self.protocol.progress().view

    def said(self, kind: type[Output[Message]]) -> list[Any]:
        return [output for output in self.outputs if isinstance(output, kind)]

    def reasons(self) -> list[str]:
        return [output.reason for output in self.said(Ignore)]


class Cluster:
    """`n` validators v1, v2, …; v1 is the first leader. `given`: options of the protocol."""

    def __init__(
        self,
        n: int = 4,
        seed: int = 0,
        *,
        protocol: str = "pbft",
        leader: str = "sticky",
        choose: Leader | None = None,
        twins: Sequence[str] = (),
        allow: Sequence[str] = (),
        observe: Observer | None = None,
        clocks: Sequence[Clock] = (),
        **given: Any,  # noqa: ANN401 - each protocol has its own options
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation has to be repeatable
        self.protocol = _load(Kind.CONSENSUS, protocol, tuple(allow))
        self.options = options(self.protocol, given)
        self.leader = _load(Kind.LEADER, leader, ())
        self.codec: Codec[Signed[Message]] = Codec(
            Signed[self.protocol.module.Message],  # type: ignore[name-defined]  # known at run time
            bytes_max=1 << 26,
        )
        fault_model: FaultModel = self.protocol.claims.fault_model
        names = tuple(NodeId(f"v{i + 1}") for i in range(n))
        self.committee = Committee(0, names, fault_model)
        self.nodes = {name: Node(name, str(name)) for name in self.committee.members}
        self.faulty: set[NodeId] = set()
        self.choose = choose
        self.twins = tuple(twins)
        self.behaviours: dict[NodeId, list[Behaviour]] = {}
        self.observe = observe
        self.now = 0
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self._heights: dict[Digest, int] = {}
        self.chain: dict[int, tuple[Digest, ...]] = {}
        self.payloads: dict[Digest, tuple[int, ...]] = {}
        self.invalid: set[int] = set()
        """Transactions that make a payload invalid."""
        self.rotten: set[Digest] = set()
        """Payloads that are invalid."""
        self.signatures: set[tuple[NodeId, Message]] = set()
        self.heard: defaultdict[tuple[NodeId, Slot], set[Message]] = defaultdict(set)
        self.record: list[Signed[Message]] | None = None
        """What honest members received, for `simulation.forensics`; None: not kept."""
        self.cut: set[frozenset[str]] = set()
        self.passes: Callable[[Node, Node], bool] = lambda *_: True
        self.drop: Callable[[NodeId, NodeId, Message], bool] = lambda *_: False
        self.isolate: dict[int, int] = {}
        """Who executes this height first is cut off, for so many milliseconds."""
        self.network: Network | None = None
        self.clocks = {clock.node: clock for clock in clocks}
        self.loss = self.repeats = 0.0
        self.delay_ms = (1, 5)
        self.hooks: dict[NodeId, Hook] = {}
        self.syncs = True
        self.submitted = 0
        for twin in twins:
            self.nodes[NodeId(f"{twin}'")] = Node(NodeId(twin), f"{twin}'")
            self.faulty.add(NodeId(twin))
        for key in self.nodes:
            self.start(key)

    # --- Time. ---

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay_ms, self.count, action))

    def run(self, milliseconds: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; True as soon as `until` holds."""
        end = self.now + milliseconds
        while not until():
            if not self.events or self.events[0][0] > end:
                self.now = end
                return until()
            self.now, _, action = heapq.heappop(self.events)
            action()
        return True

    def reach(self, height: int, *names: str, within_ms: int = 60_000) -> None:
        """Let time pass until these nodes (all) have executed `height`; fail otherwise."""
        nodes = [self[name] for name in names or self.nodes]
        reached = self.run(within_ms, lambda: all(node.height >= height for node in nodes))
        assert reached, f"height {height} not reached: {self}"

    def later(self, node: Node, delay_ms: int, action: Callable[[], None]) -> None:
        """Like `at`, but lost when the node crashes, and late while it is paused."""
        run = node.run

        def act() -> None:
            if node.run == run and node.protocol is not None:
                if node.paused is not None:
                    node.paused.append(act)
                else:
                    action()

        self.at(delay_ms, act)

    def __getitem__(self, key: str) -> Node:
        return self.nodes[NodeId(key)]

    def speaking_as(self, name: NodeId) -> list[Node]:
        """The replica of this name, and its twin if it has one."""
        own, twin = self.nodes.get(name), self.nodes.get(NodeId(f"{name}'")) if self.twins else None
        return [node for node in (own, twin) if node is not None]

    def honest(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.name not in self.faulty]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{node.name}:h{node.height} {node.protocol.progress()}" if node.protocol
            else f"{node.name}:h{node.height} down"
            for node in self.nodes.values()
        )  # fmt: skip
        return f"<{self.now} ms {shown}>"

    # --- What happens to the cluster. ---

    def submit(self, count: int = 1, *to: str) -> None:
        """New transactions, known at once to these nodes (all)."""
        for _ in range(count):
            self.submitted += 1
            for name in to or self.nodes:
                node = self[name]
                node.mempool[self.submitted] = self.now
                self._mempool_changed(node)

    def start(self, name: str) -> None:
        node = self[name]
        assert node.protocol is None
        leader = self.choose or self.leader.create(options(self.leader, {}))
        setup = Setup(node.name, self.committee, leader, HASH)
        node.protocol = self.protocol.create(setup, self.options)
        node.decided, node.moved_ms, node.pending = node.height, self.now, False
        self._note(node.key, "start")
        self.step(node, Started(dict(node.remembered), Height(node.height), node.header))
        self._mempool_changed(node)
        self._tick(node)
        for other in self.nodes.values():
            self.connect(node, other)

    def crash(self, *names: str) -> None:
        for name in names:
            node = self[name]
            self._note(name, "crash")
            node.protocol = None
            node.run += 1
            node.done, node.die_after, node.paused = 0, None, None
            if node.forgets:
                node.remembered.clear()
                node.journal.clear()
            for volatile in (node.queue, node.timers, node.decisions, node.answered, node.tickets):
                volatile.clear()

    def restart(self, *names: str) -> None:
        for name in names:
            self.crash(name)
        for name in names:
            self.start(name)

    def pause(self, name: str) -> None:
        """As by SIGSTOP."""
        self[name].paused = []

    def resume(self, name: str) -> None:
        node = self[name]
        postponed, node.paused = node.paused or [], None
        for action in postponed:
            action()

    def partition(self, *groups: Sequence[str]) -> None:
        """Only nodes of one group hear each other. Nodes in no group are alone."""
        group_of = {name: index for index, group in enumerate(groups) for name in group}
        self.cut = {
            frozenset({one, other})
            for one in self.nodes
            for other in self.nodes
            if one != other and group_of.get(one, one) != group_of.get(other, other)
        }

    def heal(self) -> None:
        broken, self.cut = self.cut, set()
        for link in sorted(sorted(link) for link in broken):
            self.connect(*(self[name] for name in link))

    def linked(self, one: Node, other: Node) -> bool:
        """Whether they can ask each other and hear the answer."""
        return self._wired(one, other) and (
            self.network is None or self.network.joins(self.now, one.key, other.key)
        )

    def jump(self, name: str, by_ms: int) -> None:
        """Set a clock forward, or back: its timers are due earlier, or later."""
        node = self[name]
        for timer in list(node.timers):
            self._wind(node, timer, max(0, node.due[timer] - by_ms - self.now))

    def _wired(self, one: Node, other: Node) -> bool:
        both = one is not other and one.protocol is not None and other.protocol is not None
        return both and frozenset({one.key, other.key}) not in self.cut

    def connect(self, one: Node, other: Node) -> None:
        """Tell both that the other is there, if it is."""
        if self.linked(one, other) and one.name != other.name:
            self.later(one, 1, lambda: self.step(one, PeerConnected(other.name)))
            self.later(other, 1, lambda: self.step(other, PeerConnected(one.name)))

    # --- The host of one node. ---

    def step(self, node: Node, event: Input[Message]) -> None:
        assert node.protocol is not None
        before = -1 if self.observe is None else node.view
        outputs = node.protocol.step(event)
        if self.observe is not None and node.view != before:
            self._note(node.key, "view", str(node.view))
        for output in outputs:
            node.outputs.append(output)
            match output:  # Duty 5: timers take effect at once.
                case SetTimer(name=name, delay_ms=delay_ms):
                    clock = self.clocks.get(node.key) if self.clocks else None
                    self._wind(node, name, clock.after(delay_ms) if clock else delay_ms)
                case CancelTimer(name=name):
                    node.timers.pop(name, None)
                case _:
                    if not node.queue:
                        self.later(node, self.random.randint(0, 1), partial(self._carry, node))
                    node.queue.append(output)

    def _wind(self, node: Node, name: str, delay_ms: int) -> None:
        self.count += 1
        node.timers[name] = self.count
        if self.clocks:
            node.due[name] = self.now + delay_ms
        self.later(node, delay_ms, partial(self._fire, node, name, self.count))

    def _fire(self, node: Node, name: str, generation: int) -> None:
        if node.timers.get(name) == generation:
            del node.timers[name]
            self._note(node.key, "timer", name)
            self.step(node, TimerFired(name))

    def _carry(self, node: Node) -> None:
        """Duty 1: in order; a crash leaves a prefix."""
        while node.queue:
            if node.die_after is not None and node.done >= node.die_after:
                self.crash(node.key)
                return
            self._do(node, node.queue.popleft())
            node.done += 1

    def _do(self, node: Node, output: Output[Message]) -> None:
        match output:
            case Persist(changes=changes):
                for key, value in changes.items():
                    node.remembered.pop(key, None)
                    if value is not None:
                        node.remembered[key] = value
            case Send(message=message, to=to):
                self._send(node, message, to)
            case Relay(signed=signed, to=to):
                assert to != node.name
                hook = self.hooks.get(node.name) if signed.author == node.name else None
                parcels = hook(node, signed.message, to) if hook else None
                self._leave(
                    node, [(x, to, 0) for x, _ in ([(signed, to)] if parcels is None else parcels)]
                )
            case RequestPayload(ticket=ticket, at_once=at_once):
                node.tickets[ticket.height] = ticket
                self._propose(node, at_once=at_once)
            case CheckPayload(ticket=ticket, payload=payload):
                self._check(node, ticket, payload)
            case Decide():
                self._decided(node, output)
            case NeedSync():
                self.later(node, 50, lambda: self._sync(node))
            case _:
                pass

    def _send(self, node: Node, message: Message, to: NodeId | None) -> None:
        slot = message.slot()
        if slot is not None and node.journal.setdefault(slot, message) != message:
            return  # Duty 2: neither sent nor delivered.
        signed = self.sign(node.name, message)
        hook = self.hooks.get(node.name)
        parcels = hook(node, message, to) if hook else None
        self._leave(
            node,
            [
                (parcel, name, 0)
                for parcel, receiver in ([(signed, to)] if parcels is None else parcels)
                for name in (self.committee.members if receiver is None else [receiver])
                if name != node.name
            ],
        )
        if to in {None, node.name}:  # Duty 3.
            self.later(node, 0, lambda: self.step(node, Received(node.name, signed)))

    def _leave(self, node: Node, deliveries: list[Delivery]) -> None:
        for behaviour in self.behaviours.get(node.name, ()):
            deliveries = behaviour(self, node, deliveries)
        for signed, to, late_ms in deliveries:
            self.deliver(node, signed, to, late_ms)

    def sign(self, author: NodeId, message: Message) -> Signed[Message]:
        self.signatures.add((author, message))
        signed = Signed(author, message, Signature(b"signed" if message.slot() else b""))
        return self.codec.decode(encode(signed))  # What arrives went over the wire.

    def deliver(self, sender: Node, signed: Signed[Message], to: NodeId, late_ms: int = 0) -> None:
        """Put it on the wire, to the receiver of that name and to its twin."""
        for receiver in self.speaking_as(to):
            lost = self.random.random() < self.loss or self.drop(sender.name, to, signed.message)
            late = (
                (late_ms,)
                if self.network is None
                else self._through(self.network, sender, receiver, signed.message, late_ms)
            )
            if (
                lost
                or not late
                or not self._wired(sender, receiver)
                or not self.passes(sender, receiver)
            ):
                if self.observe is not None:
                    self._note(sender.key, "lost", f"{_short(signed.message)} to {receiver.key}")
                continue
            if self.observe is not None:
                self._note(sender.key, "send", f"{_short(signed.message)} to {receiver.key}")
            for _ in range(2 if self.random.random() < self.repeats else 1):
                for extra_ms in late:
                    delay_ms = extra_ms + self.random.randint(*self.delay_ms)
                    arrive = partial(self._arrive, receiver, sender.name, signed)
                    self.later(receiver, delay_ms, arrive)

    def _through(
        self, network: Network, sender: Node, receiver: Node, message: Message, late_ms: int
    ) -> tuple[int, ...]:
        kind = type(message).__name__
        drawn = network.lateness(self.now, sender.key, receiver.key, kind)
        return tuple(late_ms + extra_ms for extra_ms in drawn)

    def _note(self, at: str, what: str, particulars: str = "") -> None:
        if self.observe is not None:
            self.observe(self.now, at, what, particulars)

    def _arrive(self, node: Node, sender: NodeId, signed: Signed[Message]) -> None:
        slot = signed.message.slot()
        if not self._genuine(signed) or (slot is None and signed.author != sender):
            return  # Duty 4. Nothing vouches for what is not signed but the channel.
        if slot is not None and signed.author != node.name and node.name not in self.faulty:
            self.heard[signed.author, slot].add(signed.message)
        if self.record is not None and node.name not in self.faulty:
            self.record.append(signed)
        if self.observe is not None:
            self._note(node.key, "receive", f"{_short(signed.message)} from {sender}")
        self.step(node, Received(sender, signed))

    def _genuine(self, signed: Signed[Any]) -> bool:
        own = (signed.author, signed.message) in self.signatures
        return own and all(self._genuine(item) for item in signed.message.enclosed())

    def _mempool_changed(self, node: Node) -> None:
        if node.protocol is None or node.paused is not None:
            return
        if node.pending != bool(node.mempool):
            node.pending = bool(node.mempool)
            self.step(node, Pending(node.pending))
        self._propose(node)

    def _propose(self, node: Node, *, at_once: bool = False) -> None:
        """Duty 6: once, when there is something to order; at once for height 1."""
        for height, ticket in sorted(node.tickets.items()):
            taken = {tx for parent in ticket.parents for tx in self.payloads.get(parent, ())}
            waiting = (tx for tx in node.mempool if tx not in taken)
            transactions = tuple(tx for tx in waiting if not (node.censors and tx % 2))[:8]
            if not transactions and at_once and height > 1:
                del node.tickets[height]
                self.later(node, 0, partial(self.step, node, PayloadReady(ticket, None)))
            elif transactions or height == 1:
                del node.tickets[height]
                self.count += 1
                payload = digest_of(node.name, self.count, transactions)
                self.payloads[payload] = transactions if height > 1 else ()
                if node.proposes_invalid:
                    self.rotten.add(payload)
                node.kept[payload] = None
                node.answered.add(payload)
                ready = PayloadReady(ticket, payload)
                self.later(node, 0, partial(self.step, node, ready))

    def _check(self, node: Node, ticket: Ticket, payload: Digest) -> None:
        """Duty 6: answered once the bytes are here, from whoever has them."""
        others = (other for other in self.nodes.values() if self.linked(node, other))
        holders = [node, *(other for other in others if not other.withholds)]
        if not any(payload in holder.kept for holder in holders):
            self.later(node, FETCH_MS, lambda: self._check(node, ticket, payload))
            return
        valid = node.proposes_invalid or (
            payload not in self.rotten and not self.invalid.intersection(self.payloads[payload])
        )
        if valid:
            node.kept[payload] = None
            node.answered.add(payload)
        checked = PayloadChecked(ticket, payload, valid)
        self.later(node, self.random.randint(0, 2), lambda: self.step(node, checked))

    def _decided(self, node: Node, decision: Decide) -> None:
        """Duty 7; and the protocol's: in order, once, and only payloads that are here."""
        if decision.height > max(node.decided + 1, node.height):
            raise Broken(f"{node.key} decided out of order: {decision}")
        node.decided = max(node.decided, decision.height)
        if not node.answered.issuperset(decision.payloads):
            raise Broken(f"{node.key} decided without the bytes: {decision}")
        if decision.height > node.height:
            node.decisions[decision.height] = decision
            self.later(node, self.random.randint(0, 2), lambda: self._execute(node))

    def _execute(self, node: Node) -> None:
        decision = node.decisions.pop(node.height + 1, None)
        if decision is not None:
            self._store(node, decision.payloads)
            self.step(node, Executed(Height(node.height), node.header))
            self._mempool_changed(node)
            self._execute(node)

    def _store(self, node: Node, payloads: tuple[Digest, ...]) -> None:
        height = node.height + 1
        self._note(node.key, "execute", f"h{height} {_names(payloads)}")
        if node.name not in self.faulty:
            if height not in self.chain and height in self.isolate:
                self._isolate(node, self.isolate[height])
            agreed = self.chain.setdefault(height, payloads)
            if agreed != payloads:
                raise Diverged(
                    f"at height {height}: {node.key} executed {_names(payloads)}, "
                    f"another {_names(agreed)}"
                )
            if not self.rotten.isdisjoint(payloads):
                raise Diverged(f"at height {height}: {node.key} executed an invalid payload")
        node.ledger.append((payloads, digest_of(node.header, payloads)))
        self._heights[node.header] = height
        node.moved_ms = self.now
        for payload in payloads:
            for transaction in self.payloads[payload]:
                node.done_with.add(transaction)
                arrived = node.mempool.pop(transaction, -1)
                node.newest_ms = max(node.newest_ms, arrived)

    def _isolate(self, node: Node, for_ms: int) -> None:
        links = {frozenset({node.key, other}) for other in self.nodes if other != node.key}
        new = links - self.cut
        self.cut |= new
        self._note(node.key, "isolated", f"for {for_ms} ms")

        def back() -> None:
            self.cut -= new
            for link in sorted(sorted(link) for link in new):
                self.connect(*(self[name] for name in link))

        self.at(for_ms, back)

    def _sync(self, node: Node) -> None:
        """Duty 8: blocks that a quorum executed, from a peer that has them."""
        peers = [other for other in self.nodes.values() if self.linked(node, other)]
        for other in sorted(peers, key=lambda other: -other.height):
            while other.height > node.height and self._certified(other.ledger[node.height]):
                self._take(node, other.ledger[node.height][0])

    def _certified(self, block: tuple[tuple[Digest, ...], Digest]) -> bool:
        """Whether a quorum executed it."""
        attesting = {
            other.name
            for other in self.nodes.values()
            for height in [self._heights.get(block[1], 0)]
            if 0 < height <= other.height and other.ledger[height - 1] == block
        }
        return len(attesting) >= self.committee.quorum

    def _take(self, node: Node, payloads: tuple[Digest, ...]) -> None:
        self._store(node, payloads)
        node.decisions.pop(node.height, None)
        node.decided = max(node.decided, node.height)
        self.step(node, CaughtUp(Height(node.height), node.header))
        self._mempool_changed(node)

    def _tick(self, node: Node) -> None:
        """What a host does by itself: spread what waits, follow peers, complain of censors."""
        for other in self.nodes.values():
            if node.mempool and self.linked(node, other):
                self._spread(node, other)
        if self.syncs and self.now - node.moved_ms > SYNC_STALL_MS:
            self._sync(node)
        late = [t for t in node.mempool.values() if t < node.newest_ms]
        if late and self.now - min(late) > OVERDUE_MS:
            self.step(node, Overdue(len(late)))
        self.later(node, TICK_MS, lambda: self._tick(node))

    def _spread(self, node: Node, other: Node) -> None:
        for transaction in sorted(node.mempool.keys() - other.mempool.keys() - other.done_with):
            other.mempool[transaction] = self.now
            self._mempool_changed(other)

    # --- What must hold in the end. ---

    def check(self, faulty: Iterable[str] = ()) -> None:
        """Nobody but `faulty` was heard to say two things for one slot, or was accused."""
        liars = {*faulty, *self.faulty}
        for (author, slot), bodies in self.heard.items():
            if author not in liars and len(bodies) > 1:
                raise Framed(f"{author} said {len(bodies)} things for {slot}")
        for node in self.honest():
            for accusation in node.said(Accuse):
                if accusation.culprit not in liars:
                    raise Framed(f"{node.key} accuses {accusation.culprit}: {accusation}")


def _short(message: Message) -> str:
    """The message in a few words: its type, and the numbers in it."""
    cached = _SHORT.get(id(message))
    if cached is not None and cached[0] is message:
        return cached[1]
    words = [type(message).__name__]
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, int | str):
            words.append(f"{name}={value}")
        elif isinstance(value, bytes) and value:
            words.append(f"{name}={value[:3].hex()}")
    text = " ".join(words)
    if len(_SHORT) > 10_000:
        _SHORT.clear()
    _SHORT[id(message)] = (message, text)
    return text


_SHORT: dict[int, tuple[Message, str]] = {}


def _names(payloads: Iterable[Digest]) -> str:
    return " ".join(payload[:3].hex() for payload in payloads) or "(empty)"
