"""Waiting transactions: bounded, once each, fair between senders."""

import hashlib

import pytest

from crypto.interface import Digest, NodeId, PublicKey
from crypto.transaction import Transaction
from node.mempool import Mempool, MempoolLimits
from node.service import Refusal
from node.validity import Entry

ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)
LEADER = NodeId("v1")


def entry(sender: PublicKey, nonce: int, *, expiry: int = 1000, size: int = 100) -> Entry:
    name = sender + nonce.to_bytes(8, "big")
    transaction = Transaction("c", sender, nonce, expiry, "kv.set", ("k", "v"))
    identity = Digest(hashlib.sha256(b"id" + name).digest())
    leaf = Digest(hashlib.sha256(name).digest())
    return Entry(name.ljust(size, b"."), leaf, identity, transaction)


def filled(*entries: Entry, limits: MempoolLimits | None = None, now_ms: float = 0.0) -> Mempool:
    mempool = Mempool(limits or MempoolLimits())
    for item in entries:
        assert mempool.add(item, now_ms) is None
    return mempool


def test_the_same_transaction_is_held_once_and_refused_as_a_duplicate() -> None:
    mempool = filled(entry(ALICE, 1))
    assert mempool.add(entry(ALICE, 1), 0.0) is Refusal.DUPLICATE
    assert mempool.count == 1


def test_a_decided_transaction_is_still_recognised_and_leaves_no_ghost() -> None:
    first = entry(ALICE, 1)
    mempool = filled(first)
    mempool.remove([first.id], 1.0)
    assert (mempool.count, mempool.bytes) == (0, 0)
    assert not mempool.waits(first.id)
    assert mempool.add(first, 2.0) is Refusal.DUPLICATE


def test_count_bytes_and_quota_of_a_sender_are_limits_with_an_answer_each() -> None:
    limits = MempoolLimits(count_max=3, bytes_max=350, sender_count_max=2)
    mempool = filled(entry(ALICE, 1), entry(ALICE, 2), limits=limits)
    assert mempool.add(entry(ALICE, 3), 0.0) is Refusal.SENDER_QUOTA
    assert mempool.add(entry(BOB, 1, size=200), 0.0) is Refusal.FULL
    assert mempool.add(entry(BOB, 2), 0.0) is None
    assert mempool.add(entry(PublicKey(b"c" * 32), 1, size=10), 0.0) is Refusal.FULL
    assert mempool.room() == 0


def test_what_was_refused_fits_after_others_were_decided() -> None:
    limits = MempoolLimits(count_max=1)
    first = entry(ALICE, 1)
    mempool = filled(first, limits=limits)
    assert mempool.add(entry(BOB, 1), 0.0) is Refusal.FULL
    mempool.remove([first.id], 0.0)
    assert mempool.add(entry(BOB, 1), 0.0) is None


def test_a_hyperactive_sender_does_not_crowd_out_the_others() -> None:
    mempool = filled(*(entry(ALICE, n) for n in range(50)), entry(BOB, 1), entry(BOB, 2))
    taken = mempool.take(6, 10_000, ())
    assert [item.transaction.sender for item in taken].count(BOB) == 2
    assert [item.transaction.nonce for item in taken if item.transaction.sender == ALICE] == [
        0,
        1,
        2,
        3,
    ]


def test_with_more_senders_than_fit_all_get_their_turn() -> None:
    senders = [PublicKey(bytes([n]) * 32) for n in range(10)]
    mempool = filled(*(entry(sender, n) for sender in senders for n in range(20)))
    served = set()
    for _ in range(10):
        taken = mempool.take(3, 10_000, ())
        served |= {item.transaction.sender for item in taken}
        mempool.remove([item.id for item in taken], 1.0)
    assert served == set(senders)


def test_what_is_in_flight_is_not_taken_again_and_sizes_are_kept() -> None:
    mempool = filled(*(entry(ALICE, n) for n in range(10)))
    first = mempool.take(4, 10_000, ())
    second = mempool.take(100, 350, {item.id for item in first})
    assert not {item.id for item in first} & {item.id for item in second}
    assert len(second) == 3


def test_expired_transactions_go_and_are_counted() -> None:
    mempool = filled(entry(ALICE, 1, expiry=5), entry(ALICE, 2, expiry=6))
    assert mempool.drop_expired(5, 0.0) == 0
    assert mempool.drop_expired(6, 0.0) == 1
    assert mempool.count == 1


def test_a_sender_that_is_passed_over_is_overdue_and_one_that_is_served_is_not() -> None:
    mempool = Mempool(MempoolLimits())
    mempool.add(entry(ALICE, 1), 0.0)
    for n in range(20):
        mempool.add(entry(BOB, n), 10.0 + n)
    mempool.remove([entry(BOB, n).id for n in range(10)], 5_000.0)
    overdue = mempool.overdue(4_000, 5_001.0)
    assert [item.entry.transaction.sender for item in overdue] == [ALICE]
    mempool.remove([entry(ALICE, 1).id], 5_002.0)
    assert mempool.overdue(4_000, 5_003.0) == []


def test_nothing_is_overdue_while_nothing_that_came_later_was_decided() -> None:
    mempool = filled(entry(ALICE, 1), entry(BOB, 1))
    assert mempool.overdue(10, 100_000.0) == []


def test_a_late_transaction_is_given_out_for_forwarding_once() -> None:
    mempool = filled(entry(ALICE, 1), entry(ALICE, 2))
    assert mempool.unforwarded(LEADER, 500, 10, 400.0) == []
    assert len(mempool.unforwarded(LEADER, 500, 10, 600.0)) == 2
    assert mempool.unforwarded(LEADER, 500, 10, 700.0) == []
    assert len(mempool.unforwarded(NodeId("v2"), 500, 10, 700.0)) == 2, "it may not have them"
    assert len(mempool.unforwarded(None, 500, 10, 700.0)) == 2, "nobody leads: to all"
    assert mempool.unforwarded(None, 500, 10, 800.0) == []


def test_what_waits_its_turn_behind_earlier_arrivals_is_not_forwarded() -> None:
    """Under load everything waits; the leader has it. Passed over, it may have been lost."""
    mempool = filled(entry(ALICE, 1), entry(BOB, 1))
    for number, arrived in ((2, 600.0), (3, 900.0)):
        mempool.add(entry(BOB, number), arrived)
    mempool.remove([entry(BOB, 1).id], 1_000.0)
    assert mempool.unforwarded(LEADER, 500, 10, 1_200.0) == [], "what came no later was decided"
    mempool.remove([entry(BOB, 3).id], 1_400.0)
    assert mempool.unforwarded(LEADER, 500, 10, 1_500.0) == [entry(ALICE, 1)], "what came later was"
    assert mempool.unforwarded(LEADER, 500, 10, 2_500.0) == [entry(BOB, 2)], (
        "nothing was decided since"
    )


@pytest.mark.parametrize("count", [1, 60, 100, 1000, 50_001])
def test_the_memory_of_decided_transactions_is_bounded(count: int) -> None:
    mempool = Mempool(MempoolLimits(recent_max=100))
    ids = [Digest(number.to_bytes(32, "big")) for number in range(count)]
    mempool.remove(ids, 0.0)
    assert all(mempool.decided_lately(identity) for identity in ids[-50:])
    assert sum(map(mempool.decided_lately, ids)) <= 100
