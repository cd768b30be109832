"""AdHash against a sum that is made by hand."""

import random

import pytest
from blake3 import blake3

from crypto.hashes import sha256
from storage.commitments import flat
from storage.interface import Commitment, Corrupted

HASH = sha256.create(sha256.Options())


def made() -> Commitment:
    return flat.create(flat.Options(), HASH)


def slow(state: dict[bytes, bytes]) -> bytes:
    """Byte by byte with a carry, as one adds by hand."""
    total = bytearray(flat.SUM_BYTES)
    for key, value in state.items():
        raw = blake3(len(key).to_bytes(4, "little") + key + value).digest(flat.SUM_BYTES)
        carry = 0
        for at, byte in enumerate(raw):
            carry, total[at] = divmod(total[at] + byte + carry, 256)
    return bytes(total)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_sum_of_all_pairs(seed: int) -> None:
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


def test_it_continues_from_a_dump_and_refuses_another_length() -> None:
    first, second = made(), made()
    first.update({b"k": (None, b"v")})
    second.load(first.dump())
    assert second.root == first.root
    with pytest.raises(Corrupted):
        second.load(first.dump()[:-1])
