"""The state: a block's writes, a transaction's undo, and nothing of a rejected one."""

import random
from pathlib import Path

import pytest

from crypto.hashes import sha256
from storage.commitments import flat
from storage.engines import memory
from storage.interface import Corrupted, Store
from storage.state import STATE, State

HASH = sha256.create(sha256.Options())


def made(tmp_path: Path) -> tuple[Store, State]:
    store = memory.create(memory.Options(), tmp_path)
    return store, State(store, flat.create(flat.Options(), HASH))


def settle(store: Store, state: State) -> None:
    state.commit_to()
    store.write(state.batch())
    state.settle()


@pytest.mark.parametrize("seed", range(30))
def test_it_agrees_with_a_dictionary_that_undoes_rejected_transactions(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    store, state = made(tmp_path)
    model: dict[bytes, bytes] = {}
    for _ in range(10):
        for _ in range(6):
            state.begin()
            attempt = dict(model)
            for _ in range(rng.randrange(4)):
                key = bytes([rng.randrange(6)])
                value = rng.choice([None, rng.randbytes(2)])
                state.put(key, value)
                attempt.pop(key, None)
                if value is not None:
                    attempt[key] = value
            if rng.random() < 0.4:
                state.rollback()
            else:
                model = attempt
            assert {key: state.get(key) for key in model} == model
        settle(store, state)
        assert dict(state.scan(b"")) == model
        assert dict(State(store, flat.create(flat.Options(), HASH)).scan(b"")) == model


def test_applications_do_not_see_each_other_s_keys(tmp_path: Path) -> None:
    store, state = made(tmp_path)
    kv, payments = state.for_application("kv"), state.for_application("payments")
    kv.put(b"k", b"1")
    payments.put(b"k", b"2")
    settle(store, state)
    assert (kv.get(b"k"), payments.get(b"k")) == (b"1", b"2")
    assert list(kv.scan(b"")) == [(b"k", b"1")]


def test_equal_states_have_equal_roots_however_they_came_about(tmp_path: Path) -> None:
    roots = []
    for path in ([(b"a", b"1"), (b"b", b"2")], [(b"b", b"9"), (b"b", b"2"), (b"a", b"1")]):
        _, state = made(tmp_path)
        for key, value in path:
            state.put(key, value)
        roots.append(state.commit_to())
    assert roots[0] == roots[1]


@pytest.mark.parametrize("position", range(9))
def test_a_flipped_bit_in_a_stored_value_is_never_read(position: int, tmp_path: Path) -> None:
    store, state = made(tmp_path)
    state.put(b"kv/k", b"value")
    settle(store, state)
    raw = bytearray(store.get(STATE + b"kv/k") or b"")
    assert len(raw) == 9
    fresh = State(store, flat.create(flat.Options(), HASH))
    assert fresh.get(b"kv/k") == b"value"
    raw[position] ^= 1
    store.write({STATE + b"kv/k": bytes(raw)})
    fresh = State(store, flat.create(flat.Options(), HASH))
    with pytest.raises(Corrupted, match="kv/k"):
        fresh.get(b"kv/k")
    with pytest.raises(Corrupted, match="kv/k"):
        list(fresh.for_application("kv").scan(b""))
