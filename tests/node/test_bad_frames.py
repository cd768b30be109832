"""What a validator that lies can send to another: each is counted by its reason, and no more."""

import struct
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from consensus.interface import Message, Signed
from consensus.protocols._pbft_messages import (
    Commit,
    Prepare,
    Prepared,
    PrePrepare,
    Status,
    ViewChange,
)
from crypto import domains
from crypto.certificate import Attestation
from crypto.encoding import encode
from crypto.header import attestation_statement
from crypto.interface import Digest, NodeId, Signature, SigningKey
from node.attestations import HEIGHTS_AHEAD_MAX
from node.proposals import OFFERS_UNASKED_MAX
from node.wire import (
    Attestations,
    BlocksReply,
    BlocksRequest,
    ConsensusMessage,
    PayloadOffer,
    PayloadRequest,
    StatusReport,
    Transactions,
)
from p2p.interface import FRAME_BYTES_MAX, Role

if TYPE_CHECKING:
    from tests.node.conftest import Attacked

OTHER = Digest(b"\x01" * 32)
NUMBER_MAX = 2**63 - 1
MEMORY_BYTES_MAX = 1024 * 1024


def repeated(tag: int, item: bytes) -> bytes:
    """The longest frame with one field that holds `item` again and again."""
    count = (FRAME_BYTES_MAX - 8) // len(item)
    return b"\x01\x92" + bytes([tag]) + b"\xdd" + struct.pack(">I", count) + item * count


GOOD = encode(PayloadRequest(OTHER))
FRAMES = {
    "nothing": b"",
    "another format": b"\x02" + GOOD[1:],
    "no such message": b"\x01\x92\x63\xc0",
    "cut off": GOOD[:-1],
    "more than a message": GOOD + b"\0",
    "a number in more bytes than it needs": GOOD[:2] + b"\xcc" + GOOD[2:],
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "nested deeply": b"\x01" + b"\x91" * 100_000,
    "a digest of another length": encode(PayloadRequest(Digest(b"short"))),
    "a height beyond 63 bits": encode(BlocksRequest(2**63, 1)),
    "a request for nothing": encode(BlocksRequest(1, 0)),
    "a request for too much": encode(BlocksRequest(1, 2**32)),
    "an index that no committee has": encode(
        Attestations((Attestation(1, OTHER, 2**32, Signature(b"")),))
    ),
    "millions of transactions": repeated(2, b"\xc4\x00"),
    "millions of attestations": repeated(5, b"\x90"),
}


@pytest.mark.parametrize("what", FRAMES)
def test_a_frame_that_is_no_message_is_counted_and_dropped(attacked: "Attacked", what: str) -> None:
    tracemalloc.start()
    try:
        attacked.tell(FRAMES[what])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert attacked.ignored("malformed_frame") == 1
    assert peak < MEMORY_BYTES_MAX, "refused from its count, before anything is made of it"
    attacked.goes_on()


def test_a_frame_that_is_a_message_is_not_counted(attacked: "Attacked") -> None:
    attacked.tell(GOOD)
    assert attacked.ignored("malformed_frame") == 0


# --- In the name of consensus. -------------------------------------------------------------------


def signed(attacked: "Attacked", author: str, message: Message, by: str = "") -> Signed[Message]:
    """`message` in the name of `author`, with the signature of `by`."""
    slot = message.slot()
    assert slot is not None
    key: SigningKey = attacked.key(by or author)
    domain = domains.consensus("pbft", slot.phase)
    statement = domains.statement(domain, attacked.network, encode(message))
    return Signed(NodeId(author), message, key.sign(statement))


def consensus(message: Signed[Message]) -> bytes:
    return encode(ConsensusMessage(encode(message)))


@pytest.mark.parametrize("body", [b"", b"garbage", encode(["v4", [9], b""]), b"\x01" + b"\x91" * 9])
def test_garbage_in_the_name_of_consensus_is_counted(attacked: "Attacked", body: bytes) -> None:
    attacked.tell(encode(ConsensusMessage(body)))
    assert attacked.ignored("malformed_message") == 1
    attacked.goes_on()


def test_a_vote_that_its_author_did_not_sign_is_counted(attacked: "Attacked") -> None:
    vote = Prepare(0, attacked.next, OTHER)
    attacked.tell(consensus(signed(attacked, "v3", vote, by="v4")))
    assert attacked.ignored("bad_signature") == 1
    attacked.tell(consensus(signed(attacked, "v4", vote)))
    assert attacked.ignored("bad_signature") == 1, "its own vote is taken"
    attacked.goes_on()


def test_a_vote_of_nobody_we_know_is_counted(attacked: "Attacked") -> None:
    vote = signed(attacked, "v4", Prepare(0, attacked.next, OTHER))
    attacked.tell(consensus(msgspec.structs.replace(vote, author=NodeId("v9"))))
    assert attacked.ignored("author is not a validator") == 1
    attacked.goes_on()


def test_what_is_not_signed_is_believed_of_its_sender_only(attacked: "Attacked") -> None:
    status = Status(0, False, 1, 0)
    attacked.tell(consensus(Signed(NodeId("v3"), status, Signature(b""))))
    assert attacked.ignored("unsigned message of another author") == 1
    attacked.tell(consensus(Signed(NodeId("v4"), status, Signature(b""))))
    assert attacked.ignored("unsigned message of another author") == 1
    attacked.goes_on()


def test_one_bad_signature_inside_spoils_the_whole_message(attacked: "Attacked") -> None:
    proposal = signed(attacked, "v1", PrePrepare(0, attacked.next, OTHER))
    votes = [signed(attacked, name, Prepare(0, attacked.next, OTHER)) for name in ("v3", "v4")]
    forged = [votes[0], signed(attacked, "v2", Prepare(0, attacked.next, OTHER), by="v4")]
    for prepares, count in ((votes, 0), (forged, 1)):
        prepared = Prepared(proposal, tuple(prepares))  # type: ignore[arg-type]
        attacked.tell(consensus(signed(attacked, "v4", ViewChange(1, 0, (), (prepared,)))))
        attacked.cluster.run(50)
        assert attacked.ignored("bad_signature") == count
    attacked.goes_on()


def test_more_signatures_than_a_message_can_need_are_not_checked(attacked: "Attacked") -> None:
    # Copies: refused by their number, whoever signed them.
    proposal = signed(attacked, "v1", PrePrepare(0, attacked.next, OTHER))
    vote = signed(attacked, "v3", Prepare(0, attacked.next, OTHER))
    prepared = Prepared(proposal, (vote,) * 1_000)  # type: ignore[arg-type]
    change = ViewChange(1, 0, (), (prepared,) * 25)
    attacked.tell(consensus(signed(attacked, "v4", change)))
    assert attacked.ignored("too many signatures in one message") == 1
    attacked.goes_on()


def test_a_flood_of_votes_far_ahead_holds_nothing_up(attacked: "Attacked") -> None:
    for far in (3, 1_000, NUMBER_MAX - 1, NUMBER_MAX):
        for vote in (
            Prepare(0, far, OTHER),
            Commit(far, far, OTHER),
            Commit(far, attacked.next, OTHER),
        ):
            attacked.tell(consensus(signed(attacked, "v4", vote)))
        attacked.tell(consensus(signed(attacked, "v4", ViewChange(far, 0, (), ()))))
    attacked.goes_on()
    assert attacked.victim.assembled is not None
    assert attacked.victim.assembled.answers.status().view == 0


# --- In the name of the host. --------------------------------------------------------------------


def attestation(
    attacked: "Attacked", height: int, header: Digest, index: int = 3, by: str = "v4"
) -> Attestation:
    statement = attestation_statement(header, attacked.network)
    return Attestation(height, header, index, attacked.key(by).sign(statement))


def test_an_attestation_that_its_author_did_not_sign_is_counted(attacked: "Attacked") -> None:
    own = attestation(attacked, attacked.next, OTHER)
    stolen = attestation(attacked, attacked.next, OTHER, index=2)
    attacked.tell(encode(Attestations((own, stolen))))
    assert attacked.ignored("bad_attestation") == 1
    attacked.goes_on()


def test_one_liar_s_attestation_of_another_header_stops_nobody(attacked: "Attacked") -> None:
    attacked.tell(encode(Attestations((attestation(attacked, attacked.next, OTHER),))))
    attacked.goes_on()


@pytest.mark.parametrize(
    ("ahead", "index"),
    [(0, 4), (0, 1023), (-1, 3), (HEIGHTS_AHEAD_MAX, 3), (NUMBER_MAX, 3)],
)
def test_an_attestation_out_of_range_is_not_even_verified(
    attacked: "Attacked", ahead: int, index: int
) -> None:
    height = min(attacked.next + ahead, NUMBER_MAX)
    forged = Attestation(height, OTHER, index, Signature(b"no signature"))
    attacked.tell(encode(Attestations((forged,))))
    assert attacked.ignored("bad_attestation") == 0
    right = msgspec.structs.replace(forged, height=attacked.next, validator=3)
    attacked.tell(encode(Attestations((right,))))
    assert attacked.ignored("bad_attestation") == 1, "within range it is"
    attacked.goes_on()


@pytest.mark.parametrize(
    "make",
    [
        lambda _: BlocksRequest(NUMBER_MAX, 64),
        lambda _: BlocksRequest(0, 64),
        lambda _: StatusReport(NUMBER_MAX, NUMBER_MAX, NUMBER_MAX),
        lambda _: StatusReport(0, NUMBER_MAX, 0),
        lambda _: PayloadOffer(b"no payload"),
        lambda _: PayloadRequest(OTHER),
        lambda _: Transactions((b"", b"no transaction", bytes(100_000))),
    ],
)
def test_extreme_and_useless_messages_of_a_host_do_no_harm(
    attacked: "Attacked", make: Callable[[object], object]
) -> None:
    attacked.tell(encode(make(None)))
    attacked.goes_on()


def test_offers_that_nobody_asked_for_are_bounded(attacked: "Attacked") -> None:
    assert attacked.victim.assembled is not None
    offers = attacked.victim.assembled.node.proposals._offers
    for number in range(1_000):
        attacked.tell(encode(PayloadOffer(b"payload %d" % number)))
    assert 0 < len(offers) <= OFFERS_UNASKED_MAX
    attacked.tell(encode(PayloadOffer(bytes(5 * 1024 * 1024))))
    assert attacked.ignored("payload_too_large") == 1
    attacked.goes_on()


def test_blocks_that_nobody_asked_for_are_counted(attacked: "Attacked") -> None:
    attacked.tell(encode(BlocksReply(attacked.next, ())))
    assert attacked.ignored("unasked_blocks") == 1
    attacked.goes_on()


def test_a_peer_is_served_one_request_at_a_time(attacked: "Attacked") -> None:
    for _ in range(10):
        attacked.tell(encode(BlocksRequest(1, 64)))
    assert attacked.ignored("request_while_served") == 9
    attacked.cluster.run(1_000)
    attacked.tell(encode(BlocksRequest(1, 64)))
    assert attacked.ignored("request_while_served") == 9
    attacked.goes_on()


def test_an_observer_has_no_say(attacked: "Attacked") -> None:
    vote = signed(attacked, "v4", Prepare(0, attacked.next, OTHER))
    frames = (
        consensus(vote),
        encode(Transactions((b"x",))),
        encode(PayloadOffer(b"x")),
        encode(PayloadRequest(OTHER)),
        encode(Attestations(())),
        encode(BlocksReply(1, ())),
    )
    for count, frame in enumerate(frames, 1):
        attacked.tell(frame, "watcher", Role.OBSERVER)
        assert attacked.ignored("not_for_observers") == count
    attacked.tell(encode(BlocksRequest(1, 1)), "watcher", Role.OBSERVER)
    attacked.tell(encode(StatusReport(1, 1, 0)), "watcher", Role.OBSERVER)
    assert attacked.ignored("not_for_observers") == len(frames)
    attacked.goes_on()
