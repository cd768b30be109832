"""Knows of most keys that are not stored, so that nobody has to look for them.

Almost every transaction asks a log-structured store twice for what is not there: its id and the
key it makes. Such a question goes through all levels, and LevelDB compacts tables that are asked in
vain, so that it cost more than writing did. A Bloom filter (Bloom, CACM 13(7), 1970) answers it
from memory. It never says absent of a key that is stored.

Memory is fixed. At opening the keys are read once, up to `KEYS_READ_MAX`; a store with more is
always asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from storage.interface import Store

FILTER_BITS = 25
"""2**25 bits, 4 MiB: of a million keys 1 in 1,500 that are absent is looked for."""

KEYS_READ_MAX = 2_000_000
"""About three seconds at opening."""

_MASK = (1 << FILTER_BITS) - 1


class Absences:
    """The store, with a filter over the keys that begin with one of `prefixes`.

    As the store: one writer at a time; a reader beside it may find a key absent until the write
    that makes it has returned.
    """

    def __init__(self, store: Store, prefixes: Sequence[bytes]) -> None:
        """Raises `StorageError` where reading the keys does."""
        self._store = store
        self._prefixes = tuple(prefixes)
        self._bits = bytearray(1 << (FILTER_BITS - 3))
        keys = (key for prefix in prefixes for key, _ in store.scan(prefix))
        for key in islice(keys, KEYS_READ_MAX):
            self._add(key)
        self._complete = next(keys, None) is None

    def get(self, key: bytes) -> bytes | None:
        return None if self._absent(key) else self._store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        present = [key for key in keys if not self._absent(key)]
        if not present:
            return [None] * len(keys)
        found = dict(zip(present, self._store.get_many(present), strict=True))
        return [found.get(key) for key in keys]

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        for key in batch:
            if key.startswith(self._prefixes):
                self._add(key)
        self._store.write(batch, sync=sync)

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(prefix, start=start)

    def close(self) -> None:
        self._store.close()

    def _absent(self, key: bytes) -> bool:
        if not self._complete or not key.startswith(self._prefixes):
            return False
        bits = self._bits
        # Why Python's own hash: its secret seed keeps clients from choosing keys that collide.
        number = hash(key)
        first = number & _MASK
        if not bits[first >> 3] & 1 << (first & 7):
            return True
        second = (number >> FILTER_BITS) & _MASK
        third = (first + 3 * second) & _MASK
        return not (bits[second >> 3] & 1 << (second & 7) and bits[third >> 3] & 1 << (third & 7))

    def _add(self, key: bytes) -> None:
        bits = self._bits
        number = hash(key)
        first, second = number & _MASK, (number >> FILTER_BITS) & _MASK
        third = (first + 3 * second) & _MASK
        bits[first >> 3] |= 1 << (first & 7)
        bits[second >> 3] |= 1 << (second & 7)
        bits[third >> 3] |= 1 << (third & 7)
