"""The filter never hides what is stored, and spares the questions that are in vain."""

import random
from collections.abc import Sequence

import pytest

from storage import absences
from storage.absences import Absences
from storage.engines import memory
from storage.interface import Store

PREFIXES = (b"i/", b"s/")


class Asked:
    """A store that notes which keys it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.write, self.scan, self.close = store.write, store.scan, store.close
        self.keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.keys.append(key)
        return self._store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        self.keys.extend(keys)
        return self._store.get_many(keys)


@pytest.fixture
def asked(tmp_path: object) -> Asked:
    return Asked(memory.create(memory.Options(), tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [3, 8, absences.FILTER_BITS])
@pytest.mark.parametrize("seed", range(5))
def test_it_answers_as_the_store_does_however_full_it_is(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, bits: int, seed: int
) -> None:
    monkeypatch.setattr(absences, "FILTER_BITS", bits)
    monkeypatch.setattr(absences, "_MASK", (1 << bits) - 1)
    rng = random.Random(seed)
    filtered, plain = Absences(asked, PREFIXES), dict[bytes, bytes]()
    for _ in range(60):
        keys = [rng.choice([b"i/", b"s/", b"h/", b""]) + rng.randbytes(1) for _ in range(8)]
        batch = {key: rng.choice([None, b"v", b"w"]) for key in keys[:4]}
        filtered.write(batch)
        plain |= {key: value for key, value in batch.items() if value is not None}
        for key in [key for key, value in batch.items() if value is None]:
            plain.pop(key, None)
        assert filtered.get_many(keys) == [plain.get(key) for key in keys]
        assert [filtered.get(key) for key in keys] == [plain.get(key) for key in keys]
        if rng.random() < 0.1:
            filtered = Absences(asked, PREFIXES)  # as after a restart
    assert dict(filtered.scan(b"")) == plain


def test_the_store_is_not_asked_for_what_was_never_there(asked: Asked) -> None:
    asked.write({b"i/old": b"1", b"h/old": b"2"})
    filtered = Absences(asked, PREFIXES)
    filtered.write({b"s/new": b"3"})
    assert filtered.get_many([b"i/none", b"s/none"]) == [None, None]
    assert filtered.get(b"i/nobody") is None
    assert asked.keys == []
    assert filtered.get_many([b"i/old", b"i/none", b"s/new", b"h/old", b"h/none"]) == [
        b"1", None, b"3", b"2", None,
    ]  # fmt: skip
    assert asked.keys == [b"i/old", b"s/new", b"h/old", b"h/none"], "other prefixes are passed on"


@pytest.mark.parametrize(("stored", "sure"), [(3, True), (4, False)])
def test_a_store_with_more_keys_than_are_read_is_always_asked(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, stored: int, sure: bool
) -> None:
    monkeypatch.setattr(absences, "KEYS_READ_MAX", 3)
    asked.write({b"i/%d" % number: b"" for number in range(stored)})
    filtered = Absences(asked, PREFIXES)
    assert filtered.get(b"i/none") is None
    assert filtered.get_many([b"i/0", b"i/none"]) == [b"", None]
    assert (b"i/none" not in asked.keys) is sure
