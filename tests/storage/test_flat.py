"""LtHash against the slow sum that its paper writes down."""

import random

import pytest
from blake3 import blake3

from crypto.hashes import sha256
from storage.commitments import flat
from storage.interface import Commitment, Corrupted

HASH = sha256.create(sha256.Options())


def made() -> Commitment:
    return flat.create(flat.Options(), HASH)


def vector(key: bytes, value: bytes) -> list[int]:
    raw = blake3(len(key).to_bytes(4, "little") + key + value).digest(flat.LATTICE_BYTES)
    return [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


def slow(state: dict[bytes, bytes]) -> bytes:
    total = [0] * (flat.LATTICE_BYTES // 2)
    for key, value in state.items():
        total = [
            (left + right) % 2**16 for left, right in zip(total, vector(key, value), strict=True)
        ]
    return b"".join(lane.to_bytes(2, "little") for lane in total)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_lane_by_lane_sum_of_all_pairs(seed: int) -> None:
    rng = random.Random(seed)
    commitment, state = made(), dict[bytes, bytes]()
    for _ in range(20):
        changes: dict[bytes, tuple[bytes | None, bytes | None]] = {}
        for key in {bytes([rng.randrange(12)]) for _ in range(rng.randrange(6))}:
            value = rng.choice([None, rng.randbytes(3)])
            changes[key] = (state.get(key), value)
            state.pop(key, None)
            if value is not None:
                state[key] = value
        commitment.update(changes)
        assert commitment.dump() == slow(state)


def test_the_order_of_changes_does_not_matter_and_what_goes_leaves_nothing() -> None:
    first, second = made(), made()
    empty = first.root
    first.update({b"a": (None, b"1"), b"b": (None, b"2")})
    second.update({b"b": (None, b"2")})
    second.update({b"a": (None, b"1")})
    assert first.root == second.root != empty
    first.update({b"a": (b"1", None), b"b": (b"2", None)})
    assert first.root == empty


def test_key_and_value_are_kept_apart() -> None:
    first, second = made(), made()
    first.update({b"ab": (None, b"c")})
    second.update({b"a": (None, b"bc")})
    assert first.root != second.root


def test_more_elements_at_once_than_a_lane_has_room_for_are_added_right() -> None:
    """Lanes have 16 spare bits; random elements fill them after about 2**17."""
    changes: dict[bytes, tuple[bytes | None, bytes | None]] = {
        number.to_bytes(4, "big"): (None, b"") for number in range(2**17 + 2**12)
    }
    at_once, in_parts = made(), made()
    at_once.update(changes)
    keys = list(changes)
    for start in range(0, len(keys), 60_000):
        in_parts.update({key: changes[key] for key in keys[start : start + 60_000]})
    assert at_once.root == in_parts.root


def test_it_continues_from_a_dump_and_refuses_another_length() -> None:
    first, second = made(), made()
    first.update({b"k": (None, b"v")})
    second.load(first.dump())
    assert second.root == first.root
    with pytest.raises(Corrupted):
        second.load(first.dump()[:-1])
