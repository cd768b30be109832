"""One vote of each member for each slot; a second body is evidence, never a vote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import votes as module
from consensus.interface import Signed
from consensus.protocols._pbft_messages import Message, Prepare
from consensus.votes import Votes
from crypto.interface import Digest, NodeId, Signature

A, B = Digest(b"a" * 32), Digest(b"b" * 32)


def vote(author: str, payload: Digest, height: int = 1, view: int = 0) -> Signed[Message]:
    return Signed(NodeId(author), Prepare(view, height, payload), Signature(b"s"))


def add(votes: Votes[Message], signed: Signed[Message]) -> object:
    slot = signed.message.slot()
    assert slot is not None
    assert isinstance(signed.message, Prepare)
    return votes.add(slot, signed.message.payload, signed)


def test_an_author_counts_once_however_often_it_votes() -> None:
    votes: Votes[Message] = Votes()
    slot = Prepare(0, 1, A).slot()
    assert slot is not None
    for _ in range(3):
        assert add(votes, vote("v1", A)) is None
    assert set(votes.of(slot, A)) == {"v1"}
    assert add(votes, vote("v2", A)) is None
    assert set(votes.of(slot, A)) == {"v1", "v2"}


def test_a_second_body_for_a_slot_is_evidence_and_not_counted() -> None:
    votes: Votes[Message] = Votes()
    first, second = vote("v1", A), vote("v1", B)
    slot = first.message.slot()
    assert slot is not None
    assert add(votes, first) is None
    conflict = add(votes, second)
    assert isinstance(conflict, module.Conflict)
    assert (conflict.first, conflict.second) == (first, second)
    assert not votes.of(slot, B)
    assert votes.by(slot, NodeId("v1")) == first
    assert add(votes, vote("v2", B)) is None
    assert votes.choices(slot) == {A: 1, B: 1}


def test_votes_of_other_slots_do_not_mix() -> None:
    votes: Votes[Message] = Votes()
    for signed in (vote("v1", A), vote("v2", A, view=1), vote("v3", A, height=2)):
        assert add(votes, signed) is None
        slot = signed.message.slot()
        assert slot is not None
        assert set(votes.of(slot, A)) == {signed.author}


def test_what_is_settled_is_forgotten() -> None:
    votes: Votes[Message] = Votes()
    for height in range(1, 9):
        add(votes, vote("v1", A, height))
    votes.forget(lambda slot: slot.height <= 5)
    assert sorted(slot.height for slot in votes.slots()) == [6, 7, 8]


def test_slots_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS_MAX", 3)
    votes: Votes[Message] = Votes()
    for height in range(1, 9):
        add(votes, vote("v1", A, height))
    assert len(votes.slots()) == 3


@given(st.lists(st.tuples(st.sampled_from("wxyz"), st.sampled_from([A, B]), st.integers(1, 3))))
def test_no_order_of_arrival_counts_an_author_for_two_choices(
    arrivals: list[tuple[str, Digest, int]],
) -> None:
    votes: Votes[Message] = Votes()
    for author, payload, height in arrivals:
        add(votes, vote(author, payload, height))
    for slot in votes.slots():
        assert not set(votes.of(slot, A)) & set(votes.of(slot, B))
        assert sum(votes.choices(slot).values()) == len({*votes.of(slot, A), *votes.of(slot, B)})
