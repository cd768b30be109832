"""The contract between a consensus protocol and whatever hosts it.

A protocol is a deterministic machine: it is given one `Input` and returns the `Output`s that
follow. It reads no clock, socket, disk or random source, holds no key and verifies no signature.

Duties of the host:

1. Outputs are carried out in order. A `Persist` is durable before anything after it starts.
2. `Send` is signed by the host where the message says so (`Message.slot`): the signer journals
   slot -> digest durably first and refuses a second body for a slot. A message that was refused
   is not sent and not delivered to anybody.
3. A `Send` to all (`to is None`) or to oneself is delivered to its own author too, as
   `Received(me, signed)`, after it was signed. A protocol counts its own vote there only.
4. Before `Received`, the host has authenticated the sender (channel), decoded strictly, checked
   that every author is a member of the committee and verified the signature of the message and of
   everything it encloses (`Message.enclosed`), recursively. Unsigned messages come from `sender`.
5. A timer set again replaces the former one of that name; a cancelled timer never fires. Timers
   never leave the node, so they take effect at once, ahead of outputs that still wait.
6. `CheckPayload` is answered once with `PayloadChecked` (the host fetches the bytes if it has to,
   and keeps them durably before it answers `valid=True`); `RequestPayload` is answered at most
   once, when there is something to order (immediately, with an empty payload, for height 1).
   An answer whose ticket no longer matters is ignored.
7. Decisions are executed in order of height, whatever the order they come in; `Executed` follows
   each. A second decision of a height, or one that was executed before, is ignored.
8. After state was fetched from peers (verified by certificates), `CaughtUp`; heights up to it
   need no decision any more. It may come without a `NeedSync`.

Duties of the protocol (docs/adr/0002-consensus-contract.md plays six protocols through both lists):

a. What a peer sends never raises out of `step`; refusals are outputs. All memory has a limit.
b. The host verifies signatures. Who may say a thing, in which view, and that a certificate holds a
   quorum of distinct authors who said the same, is the protocol's check.
c. `Persist`, before the `Send` that depends on it, what binds a *later* slot: locks, the highest
   view, certificates. The same slot is the signer's care.
d. The body for a slot is frozen by its first `Send`. To repeat it, `Relay` what came back from the
   host, or rebuild it to the byte from what was remembered; any other body is silently refused.
e. A crash leaves any prefix of the outputs. On `Started` and `PeerConnected`, send again what may
   be missing.
f. `Decide` names only payloads that the host answered for in this run (`PayloadReady`, or
   `PayloadChecked` with `valid`). A decision that it cannot follow so is a `NeedSync`.
g. No timer runs while nothing is pending and nothing that was proposed is undecided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NewType, Protocol, TypeAlias, TypeVar

from crypto.encoding import Record
from crypto.interface import Digest, Hash, NodeId, Signature
from crypto.quorum import FaultModel, faults_max, quorum

Height = NewType("Height", int)
"""The index of a decision, from 1; each decision becomes one block of that height."""

View = NewType("View", int)
"""The protocol's attempt number (PBFT view, Raft term, round), from 0."""

NUMBER_MAX = 2**63 - 1
"""No height, view or count on the wire exceeds this (faults: integer overflow)."""


# --- The committee: the only place a quorum is computed. --------------------------------


@dataclass(frozen=True, slots=True)
class Committee:
    """The voting members of one epoch, in the agreed order."""

    epoch: int
    members: tuple[NodeId, ...]
    fault_model: FaultModel = FaultModel.BYZANTINE

    @property
    def faults_max(self) -> int:
        """f: how many members may be faulty."""
        return faults_max(len(self.members), self.fault_model)

    @property
    def quorum(self) -> int:
        """How many must agree."""
        return quorum(len(self.members), self.fault_model)

    @property
    def one_correct(self) -> int:
        """F + 1: so many members include a correct one."""
        return self.faults_max + 1


# --- Messages. ----------------------------------------------------------------------------


class Slot(Record, frozen=True):
    """What a member may sign only one body for. `view` or `height` is 0 where it has no say.

    `height` is one of the ledger: slots far below the executed height, and slots without a height
    far below the highest view, are forgotten, and refused from then on. Rounds that run ahead of
    the heights go into `view`. All five fields are always encoded.
    """

    phase: str
    height: int
    view: int
    epoch: int = 0
    """`Committee.epoch`. Part of the message too, so that no epoch's vote counts in another."""
    subject: str = ""
    """Whom it is about, where a member signs one body for each member (DAG votes)."""


class Message(Protocol):
    """A `Record` with a `tag`; the protocol's message types form a tagged union."""

    def slot(self) -> Slot | None:
        """The slot it is signed for; `None`: unsigned, vouched for by the channel alone."""
        ...

    def enclosed(self) -> Sequence["Signed[Message]"]:
        """The signed messages that it carries, all of which have to be verified too."""
        ...


M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class Signed(Record, Generic[M_co], frozen=True):
    """A message with its author's signature (empty exactly where `slot()` is None).

    The signature is over `statement(consensus(protocol, slot.phase), genesis, encode(message))`.
    """

    author: NodeId
    message: M_co
    signature: Signature


# --- Inputs: everything that can happen to a protocol. ------------------------------------


@dataclass(frozen=True, slots=True)
class Ticket:
    """Names one question to the host, so that a stale answer cannot pass.

    `parents` are the digests of the payloads that are proposed and not yet decided below
    `height`, oldest first: their transactions are in flight and are not proposed again.
    """

    height: Height
    view: View
    parents: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The first input of every run; `remembered` is what all `Persist`s left, empty at first.

    `executed` is the height up to which the host has already executed and stored blocks, and
    `header` the digest of that block's header.
    """

    remembered: Mapping[bytes, bytes]
    executed: Height
    header: Digest


@dataclass(frozen=True, slots=True)
class PayloadReady:
    """The answer to `RequestPayload`: the bytes are with the host, which spreads them.

    `payload` is None where the question was to be answered `at_once` and nothing waits.
    """

    ticket: Ticket
    payload: Digest | None


@dataclass(frozen=True, slots=True)
class PayloadChecked:
    """The answer to `CheckPayload`. `valid` implies that the bytes are durable here."""

    ticket: Ticket
    payload: Digest
    valid: bool


@dataclass(frozen=True, slots=True)
class Received(Generic[M_co]):
    """A verified message. `sender` is the peer that delivered it; it may relay others' work."""

    sender: NodeId
    signed: Signed[M_co]


@dataclass(frozen=True, slots=True)
class TimerFired:
    name: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Whether transactions wait that are not decided yet. Sent on each change of the answer."""

    exists: bool


@dataclass(frozen=True, slots=True)
class Overdue:
    """So many requests are still undecided while later arrivals were decided: censorship.

    Each was known to every validator for a time T.
    """

    requests: int


@dataclass(frozen=True, slots=True)
class Executed:
    """The host executed and durably stored the decision of `height`."""

    height: Height
    header: Digest


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The host stored certified blocks up to `height`, fetched from peers."""

    height: Height
    header: Digest


@dataclass(frozen=True, slots=True)
class CommitteeChanged:
    """From `height` on, `committee` votes.

    Comes ahead of time, before anything of `height` can be due, and again after each `Started`
    until `height` is executed. `height` is not begun before `height - 1` is executed, and nothing
    of the old epoch carries over.
    """

    height: Height
    committee: Committee


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A link to a member is up (again): what was sent before may be lost."""

    peer: NodeId


Input: TypeAlias = (
    Started
    | PayloadReady
    | PayloadChecked
    | Received[M]
    | TimerFired
    | Pending
    | Overdue
    | Executed
    | CaughtUp
    | CommitteeChanged
    | PeerConnected
)


# --- Outputs: everything a protocol can ask for. -------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestPayload:
    """Ask for something to propose; at most one question per ticket.

    With `at_once` the host answers immediately, with what waits by then, or with nothing: for
    protocols whose views go on without payloads (chained HotStuff, DAG rounds).
    """

    ticket: Ticket
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class CheckPayload:
    """Have a payload checked before voting for it. `proposer`, who need not lead, has the bytes."""

    ticket: Ticket
    payload: Digest
    proposer: NodeId


@dataclass(frozen=True, slots=True)
class Persist:
    """Change the remembered keys and values; `None` forgets a key."""

    changes: Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Send(Generic[M_co]):
    """Sign (if `message.slot()` is not None) and deliver.

    To `to`, which may be oneself; to all members and oneself when `to` is None.
    """

    message: M_co
    to: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Relay(Generic[M_co]):
    """Deliver messages that are already signed, by whomever, to `to`; never to oneself."""

    signed: Signed[M_co]
    to: NodeId


@dataclass(frozen=True, slots=True)
class SetTimer:
    name: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    name: str


@dataclass(frozen=True, slots=True)
class Decide:
    """The decision of `height`: payloads to execute in order; none means an empty block."""

    height: Height
    view: View
    payloads: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Accuse(Generic[M_co]):
    """Two messages that one author signed for one slot. Anybody can verify them."""

    culprit: NodeId
    first: Signed[M_co]
    second: Signed[M_co]


@dataclass(frozen=True, slots=True)
class Ignore:
    """A message was refused. Refusals are outputs, so tests and metrics see them.

    `reason` is a short constant: it becomes a metric label.
    """

    sender: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class NeedSync:
    """Others have decided up to `height` or beyond; this replica cannot follow by voting."""

    height: Height


Output: TypeAlias = (
    RequestPayload
    | CheckPayload
    | Persist
    | Send[M]
    | Relay[M]
    | SetTimer
    | CancelTimer
    | Decide
    | Accuse[M]
    | Ignore
    | NeedSync
)


# --- The protocol itself. --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """What a protocol shows of itself, for people. Never used to decide anything."""

    view: View
    leader: NodeId | None
    """None while there is none (Raft in an election)."""
    phase: str
    """`normal`, `view-change`, ...: a word of the protocol's paper."""
    waiting_for: tuple[NodeId, ...]
    """Members whose vote would move it on; empty while nothing is pending."""
    next_timeout_ms: int
    """The view timeout in force."""


class Leader(Protocol):
    """Who proposes. A pure function of its arguments.

    A protocol whose leader serves a whole view, whatever the height, asks with height 0.
    """

    def leader(self, committee: Committee, height: Height, view: View) -> NodeId: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """Who this replica is, and the mechanisms of the network that a protocol may use."""

    me: NodeId
    committee: Committee
    leader: Leader
    hash: Hash
    """Names blocks of a protocol's own (HotStuff's nodes)."""


class ConsensusProtocol(Protocol[M]):
    """Beside it, the file of a protocol exports `Message`: the tagged union of its messages."""

    def step(self, event: Input[M]) -> Sequence[Output[M]]:
        """Advance by one input. Never raises because of what a peer sent."""
        ...

    def progress(self) -> Progress: ...


class Accountability(StrEnum):
    """What a fork by more members than are borne leaves, for a third party to see."""

    NONE = "none"
    """Nothing."""
    ONE_VIEW = "one view"
    """If both sides decided in one view: two bodies for one slot, of at least f + 1 members."""


@dataclass(frozen=True, slots=True)
class ConsensusClaims:
    """What a protocol promises. Printed in every table."""

    source: str
    fault_model: FaultModel
    timing_model: str
    messages: str
    """Per decision in the normal case: `O(n^2)`."""
    delays: int
    """Message delays from proposal to decision in the normal case."""
    responsive: bool
    accountable: Accountability


@dataclass(frozen=True, slots=True)
class LeaderClaims:
    """What a leader rule promises."""

    source: str
    rotates_each_height: bool
