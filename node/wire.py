"""What hosts send one another, as one tagged union. Everything in it is bounded.

The bodies of consensus messages are encodings of their own: only the protocol knows their types.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta

from crypto.certificate import Attestation, Certificate
from crypto.encoding import Codec, Record
from crypto.header import DigestField, Header
from crypto.transaction import Count
from p2p.interface import FRAME_BYTES_MAX

GOSSIP_TRANSACTIONS_MAX = 1024
ATTESTATIONS_MAX = 64
BLOCKS_MAX = 64


class ConsensusMessage(Record, frozen=True, tag=1):
    """An encoded `Signed[Message]` of the network's protocol."""

    body: bytes


class Transactions(Record, frozen=True, tag=2):
    """Signed transactions, new to the sender's mempool (or overdue, for the leader)."""

    raws: Annotated[tuple[bytes, ...], Meta(max_length=GOSSIP_TRANSACTIONS_MAX)]


class PayloadOffer(Record, frozen=True, tag=3):
    """The bytes of a payload: before its proposal, or as the answer to a request."""

    payload: bytes


class PayloadRequest(Record, frozen=True, tag=4):
    payload: DigestField


class Attestations(Record, frozen=True, tag=5):
    attestations: Annotated[tuple[Attestation, ...], Meta(max_length=ATTESTATIONS_MAX)]


class StatusReport(Record, frozen=True, tag=6):
    """How far the sender is. A claim; nothing is believed without a certificate."""

    executed: Count
    certified: Count
    view: Count


class BlocksRequest(Record, frozen=True, tag=7):
    first: Count
    count: Annotated[int, Meta(ge=1, le=BLOCKS_MAX)]


class CertifiedBlock(Record, frozen=True):
    header: Header
    body: bytes
    certificate: Certificate


class BlocksReply(Record, frozen=True, tag=8):
    """Consecutive certified blocks from `first` on; as many as fit, perhaps none."""

    first: Count
    blocks: Annotated[tuple[CertifiedBlock, ...], Meta(max_length=BLOCKS_MAX)]


HostMessage: TypeAlias = (
    ConsensusMessage
    | Transactions
    | PayloadOffer
    | PayloadRequest
    | Attestations
    | StatusReport
    | BlocksRequest
    | BlocksReply
)

host_messages: Codec[HostMessage] = Codec(HostMessage, bytes_max=FRAME_BYTES_MAX)
