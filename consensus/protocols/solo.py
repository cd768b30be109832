"""Solo: one member orders, the others follow. The floor that everything else is measured against.

Source: this project; the "solo" orderers of permissioned ledgers are of this kind. It bears no
fault of the orderer: when it stops, so does the chain; when it lies, honest members fork. The rules
S1 to S7 are those of docs/specs/solo.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from msgspec import Meta

from consensus.interface import (
    NUMBER_MAX,
    Accountability,
    Accuse,
    CancelTimer,
    CaughtUp,
    CheckPayload,
    CommitteeChanged,
    ConsensusClaims,
    ConsensusProtocol,
    Decide,
    Executed,
    Height,
    Ignore,
    Input,
    NeedSync,
    Output,
    Overdue,
    PayloadChecked,
    PayloadReady,
    PeerConnected,
    Pending,
    Persist,
    Progress,
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
    View,
)
from crypto.encoding import Codec, Record, encode
from crypto.interface import Digest, NodeId
from crypto.quorum import FaultModel

CLAIMS = ConsensusClaims(
    source="one orderer; no paper",
    fault_model=FaultModel.NONE,
    timing_model="safe and live only while the orderer is correct and up",
    messages="O(n)",
    delays=1,
    responsive=True,
    accountable=Accountability.NONE,
)

ORDERS_KEPT = 16
"""Of so many heights the order is kept, for members that missed it."""

AHEAD_MAX = 8
"""Orders of heights further ahead are not looked at: what is missing below comes first."""

_RESEND = "resend"
_KEY = b"order/"
_PROPOSED = b"proposed"

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]


@dataclass(frozen=True, slots=True)
class Options:
    """Local, though in the genesis file."""

    resend_ms: int = 500
    """How often a member that waits says where it is."""

    def __post_init__(self) -> None:
        if self.resend_ms < 1:
            raise ValueError("resend_ms must be at least 1")


class Order(Record, frozen=True, tag="order"):
    """The orderer's word: this payload is the block of that height."""

    height: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    payload: Annotated[Digest, Meta(min_length=32, max_length=32)]

    def slot(self) -> Slot:
        return Slot("order", self.height, 0)

    def enclosed(self) -> Sequence[Signed["Message"]]:
        return ()


class Status(Record, frozen=True, tag="status"):
    """How far the sender is. Unsigned: it binds nobody."""

    executed: Number

    def slot(self) -> None:
        return None

    def enclosed(self) -> Sequence[Signed["Message"]]:
        return ()


Message: TypeAlias = Order | Status

_orders: Codec[Signed[Order]] = Codec(Signed[Order], bytes_max=64 * 1024)
_proposals: Codec[Order] = Codec(Order, bytes_max=1024)


def create(setup: Setup, options: Options) -> ConsensusProtocol[Message]:
    """The replica of `setup.me`. The first member of the committee orders (S1)."""
    return _Solo(setup, options)


class _Solo:
    """`step` decides what an input means; each `_on_...` appends to `_out`."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._me = setup.me
        self._members = setup.committee.members
        self._orderer = setup.committee.members[0]
        self._options = options
        self._out: list[Output[Message]] = []
        self._executed = 0
        self._pending = False
        self._waits = False
        self._requested: Ticket | None = None
        self._orders: dict[int, Signed[Order]] = {}
        self._good: set[Digest] = set()
        self._decided = 0
        self._proposed = 0

    def step(self, event: Input[Message]) -> Sequence[Output[Message]]:
        match event:
            case Started():
                self._on_started(event)
            case PayloadReady(ticket=ticket, payload=payload):
                self._on_payload(ticket, payload)
            case Received(sender=sender, signed=signed):
                self._on_message(sender, signed)
            case PayloadChecked(ticket=ticket, payload=payload, valid=valid):
                self._on_checked(ticket, payload, valid=valid)
            case Executed(height=height) | CaughtUp(height=height):
                self._on_executed(height)
            case Pending(exists=exists):
                self._pending = exists
            case TimerFired():
                self._waits = False
                self._say_where()
            case PeerConnected(peer=peer):
                self._out.append(Send(Status(self._executed), peer))
            case CommitteeChanged():
                raise AssertionError("the committee is that of the genesis file")
            case Overdue():
                pass  # S7: nobody can replace the orderer.
        self._order_next()
        self._set_timer()
        out, self._out = self._out, []
        return out

    def progress(self) -> Progress:
        waits = self._me != self._orderer and (self._pending or bool(self._ahead()))
        waiting_for = (self._orderer,) if waits else ()
        return Progress(View(0), self._orderer, "normal", waiting_for, self._options.resend_ms)

    # --- Inputs. ---

    def _on_started(self, event: Started) -> None:
        self._executed = self._decided = event.executed
        for key, raw in event.remembered.items():
            if key.startswith(_KEY):
                signed = _orders.decode(raw)
                self._orders[signed.message.height] = signed
        if _PROPOSED in event.remembered:
            order = _proposals.decode(event.remembered[_PROPOSED])
            self._proposed = order.height
            if order.height == self._executed + 1:
                self._out.append(Send(order))
        self._check_next()

    def _order_next(self) -> None:
        """S2: one height at a time, and none while an order is undecided."""
        height = self._executed + 1
        if self._me != self._orderer or self._proposed >= height or self._requested is not None:
            return
        if self._pending or height == 1:
            self._requested = Ticket(Height(height), View(0))
            self._out.append(RequestPayload(self._requested))

    def _on_payload(self, ticket: Ticket, payload: Digest | None) -> None:
        if ticket != self._requested or payload is None:
            return
        self._requested = None
        if ticket.height == self._executed + 1:
            order = Order(ticket.height, payload)
            # S3: remembered first, since the signer will refuse any other one.
            self._out += [Persist({_PROPOSED: encode(order)}), Send(order)]
            self._proposed = ticket.height

    def _on_message(self, sender: NodeId, signed: Signed[Message]) -> None:
        message = signed.message
        match message:
            case Order():
                self._on_order(sender, Signed(signed.author, message, signed.signature))
            case Status(executed=executed):
                self._on_status(sender, executed)

    def _on_order(self, sender: NodeId, signed: Signed[Order]) -> None:
        order = signed.message
        if signed.author != self._orderer:
            self._out.append(Ignore(sender, "order not by the orderer"))
            return
        known = self._orders.get(order.height)
        if known is not None:
            if known.message != order:
                self._out.append(Accuse(self._orderer, known, signed))
            return
        if order.height <= self._executed:
            self._out.append(Ignore(sender, "old order"))
            return
        if order.height > self._executed + AHEAD_MAX:
            self._out.append(Ignore(sender, "order too far ahead"))
            self._out.append(NeedSync(Height(order.height - 1)))
            return
        # S4: remembered, so that a restart decides the same without being told again.
        self._orders[order.height] = signed
        self._out.append(Persist({_key(order.height): encode(signed)}))
        self._check_next()

    def _on_status(self, sender: NodeId, executed: int) -> None:
        """S6: whoever has the orders that the sender lacks passes them on."""
        for height in range(executed + 1, executed + 1 + AHEAD_MAX):
            signed = self._orders.get(height)
            if signed is not None and sender != self._me and sender in self._members:
                self._out.append(Relay(signed, sender))
        if executed > self._executed + AHEAD_MAX:
            self._out.append(NeedSync(Height(executed)))

    def _check_next(self) -> None:
        signed = self._orders.get(self._executed + 1)
        if signed is not None:
            order = signed.message
            ticket = Ticket(Height(order.height), View(0))
            self._out.append(CheckPayload(ticket, order.payload, self._orderer))

    def _on_checked(self, ticket: Ticket, payload: Digest, *, valid: bool) -> None:
        """S5: the order of the next height is decided as soon as its payload is found valid."""
        signed = self._orders.get(ticket.height)
        if not valid or signed is None or signed.message.payload != payload:
            return
        if ticket.height == self._executed + 1 > self._decided:
            self._decided = ticket.height
            self._out.append(Decide(ticket.height, View(0), (payload,)))

    def _on_executed(self, height: int) -> None:
        if height <= self._executed:
            return
        self._executed = height
        self._decided = max(self._decided, height)
        self._requested = None
        old = [kept for kept in self._orders if kept <= height - ORDERS_KEPT]
        for kept in old:
            del self._orders[kept]
        if old:
            self._out.append(Persist({_key(kept): None for kept in old}))
        self._check_next()

    # --- Waiting. ---

    def _ahead(self) -> list[int]:
        return [height for height in self._orders if height > self._executed]

    def _set_timer(self) -> None:
        wanted = self._pending or bool(self._ahead())
        if wanted and not self._waits:
            self._out.append(SetTimer(_RESEND, self._options.resend_ms))
        elif self._waits and not wanted:
            self._out.append(CancelTimer(_RESEND))
        self._waits = wanted

    def _say_where(self) -> None:
        """S6: and the orderer says again what is undecided."""
        self._out.append(Send(Status(self._executed)))
        if self._me == self._orderer:
            for height in self._ahead():
                self._out += [
                    Relay(self._orders[height], member)
                    for member in self._members
                    if member != self._me
                ]
        self._check_next()


def _key(height: int) -> bytes:
    return _KEY + height.to_bytes(8)
