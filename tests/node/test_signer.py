"""The one place that signs: one body for each slot, whatever happens in between."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consensus.interface import Signed
from consensus.protocols._pbft_messages import Commit, Message, Prepare, Status, ViewChange
from crypto.certificate import Attestation
from crypto.hashes import sha256
from crypto.interface import Digest, NodeId
from crypto.signatures import ed25519
from node.signer import (
    SLOTS_KEPT_HEIGHTS,
    VIEWS_KEPT,
    Attest,
    Forget,
    Job,
    Keep,
    Remember,
    Result,
    Sign,
    Signer,
)
from storage.interface import StorageError
from storage.journal import Journal

NETWORK = Digest(b"g" * 32)
ONE, OTHER = Digest(b"\x01" * 32), Digest(b"\x02" * 32)
HASH = sha256.create(sha256.Options())
KEY = ed25519.create(ed25519.Options()).key_from_seed(bytes(32))

Make = Callable[[], Signer]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A signer on the same journal each time; the one before is closed as by a crash."""
    journals: list[Journal] = []

    def opened() -> Signer:
        while journals:
            journals.pop().close()
        journals.append(Journal.open(tmp_path / "journal", NETWORK, sync=False))
        return Signer(NodeId("v1"), 0, KEY, journals[-1], "pbft", NETWORK, HASH)

    yield opened
    while journals:
        journals.pop().close()


def signed(signer: Signer, message: Message) -> Signed[Message] | None:
    [result] = signer.carry_out([Sign(message)])
    assert not isinstance(result, Attestation)
    return result


def attested(signer: Signer, height: int, header: Digest) -> Attestation | None:
    result = carry_out(signer, Attest(height, header))
    assert not isinstance(result, Signed)
    return result


def carry_out(signer: Signer, *jobs: Job[Message]) -> Result[Message]:
    """What came of the last job."""
    return signer.carry_out(jobs)[-1]


@pytest.mark.parametrize("restart", [False, True])
def test_a_second_body_for_a_slot_is_refused_and_the_first_is_given_again(
    make: Make, restart: bool
) -> None:
    signer = make()
    first = signed(signer, Prepare(0, 2, ONE))
    assert first is not None
    if restart:
        signer = make()
    assert signed(signer, Prepare(0, 2, OTHER)) is None
    assert signer.refused == 1
    assert signed(signer, Prepare(0, 2, ONE)) == first
    # Another view, height or phase is another slot.
    others: list[Message] = [Prepare(1, 2, OTHER), Prepare(0, 3, OTHER), Commit(0, 2, OTHER)]
    assert all(signed(signer, other) is not None for other in others)
    assert signer.refused == 1


def test_in_one_group_the_first_body_wins_too(make: Make) -> None:
    signer = make()
    first, second = signer.carry_out([Sign(Prepare(0, 2, ONE)), Sign(Prepare(0, 2, OTHER))])
    assert first is not None
    assert second is None


def test_a_second_header_for_a_height_is_not_attested(make: Make) -> None:
    signer = make()
    first = attested(signer, 5, ONE)
    assert first is not None
    assert attested(signer, 5, OTHER) is None
    signed(signer, Prepare(0, 6, ONE))  # What was attested is written with the next vote.
    signer = make()
    assert signer.attested_height() == 5
    assert attested(signer, 5, OTHER) is None
    assert attested(signer, 5, ONE) == first


def test_what_was_forgotten_is_never_signed_for_again(make: Make) -> None:
    signer = make()
    assert signed(signer, Prepare(0, 1, ONE)) is not None
    assert signed(signer, ViewChange(VIEWS_KEPT + 5, 0, (), ())) is not None
    far = 2 * SLOTS_KEPT_HEIGHTS
    carry_out(signer, Forget(far), Remember({b"x": b"y"}))
    for again in (signer, make()):
        assert signed(again, Prepare(0, 1, OTHER)) is None
        assert signed(again, Prepare(0, far - SLOTS_KEPT_HEIGHTS, OTHER)) is None
        assert signed(again, ViewChange(4, 0, (), ())) is None
        assert again.refused == 3
        assert signed(again, Prepare(0, far, OTHER)) is not None


def test_slots_do_not_grow_without_bound(make: Make) -> None:
    signer = make()
    for height in range(1, 4 * SLOTS_KEPT_HEIGHTS):
        carry_out(signer, Sign(Prepare(0, height, ONE)), Forget(height))
    assert len(signer._slots) <= 2 * SLOTS_KEPT_HEIGHTS + 1


def test_a_validator_that_lost_its_journal_abstains_until_it_is_far_enough(make: Make) -> None:
    signer = make()
    assert signer.fresh
    signer.abstain_until(100)
    for again in (signer, make()):
        assert again.abstaining
        assert signed(again, Prepare(0, 2, ONE)) is None
        assert signed(again, Status(0, False, 2, 0)) is None, (
            "unsigned messages are votes in some protocols"
        )
        assert attested(again, 2, ONE) is not None, "a block that it has stored is no vote"
    carry_out(again, Forget(100))
    assert not again.abstaining
    assert signed(again, Prepare(0, 101, ONE)) is not None
    assert signed(again, Status(0, False, 101, 0)) is not None
    assert not again.fresh


def test_nothing_is_signed_without_a_journal(make: Make) -> None:
    signer = make()
    assert signed(signer, Prepare(0, 2, ONE)) is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, signer._journal._handle)
    os.close(full)
    for _ in range(2):
        with pytest.raises(StorageError):
            signed(signer, Prepare(0, 3, ONE))
    # What the disk did not take was not signed as far as anybody knows: either body may follow.
    assert signed(make(), Prepare(0, 3, OTHER)) is not None


def test_what_was_kept_and_remembered_is_there_after_a_restart(make: Make) -> None:
    signer = make()
    carry_out(signer, Remember({b"a": b"1", b"b": b"2"}), Keep(3, ONE, b"payload"))
    signer = make()
    assert signer.remembered() == {b"a": b"1", b"b": b"2"}
    assert signer.payloads() == [Keep(3, ONE, b"payload")]
    carry_out(signer, Remember({b"a": None}), Forget(3))
    signer = make()
    assert signer.remembered() == {b"b": b"2"}
    assert signer.payloads() == []
