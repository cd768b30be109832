"""The applications' state: a cache over the store, with a write set and an undo.

The write set lasts for a block, the undo for a transaction.

Reads inside a block see what the block wrote. Nothing reaches the store before the ledger takes
the whole block in one batch (`Ledger.append`). One thread: the ledger lane. Stored values carry a
checksum: a flipped bit raises `Corrupted`.
"""

from collections import OrderedDict
from collections.abc import Iterator

from crypto.interface import Digest
from storage.checksum import with_checksum, without_checksum
from storage.interface import Commitment, Store

STATE = b"s/"
"""Where the state begins in the store's keys."""

CACHE_ENTRIES_MAX = 20_000
CACHE_BYTES_MAX = 8 * 1024 * 1024

_ABSENT = object()


class State:
    """All applications' keys; `for_application` gives each its own part."""

    def __init__(self, store: Store, commitment: Commitment) -> None:
        self._store = store
        self._commitment = commitment
        self._cache: OrderedDict[bytes, bytes | None] = OrderedDict()
        self._cache_bytes = 0
        self._before: dict[bytes, bytes | None] = {}
        self._written: dict[bytes, bytes | None] = {}
        self._undo: dict[bytes, bytes | object | None] = {}

    def for_application(self, name: str) -> "ApplicationState":
        return ApplicationState(self, name.encode() + b"/")

    def get(self, key: bytes) -> bytes | None:
        if key in self._written:
            return self._written[key]
        return self._settled(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        if key not in self._before:
            self._before[key] = self._settled(key)
        if key not in self._undo:
            self._undo[key] = self._written.get(key, _ABSENT)
        self._written[key] = value

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """What is stored; not what the current block wrote."""
        for key, value in self._store.scan(STATE + prefix, start=start):
            yield key[len(STATE) :], without_checksum(value, _what(key))

    def begin(self) -> None:
        """A transaction begins: what it writes can be undone."""
        self._undo.clear()

    def rollback(self) -> None:
        """Undo what was written since `begin`."""
        for key, value in self._undo.items():
            if value is _ABSENT:
                del self._written[key]
            else:
                assert value is None or isinstance(value, bytes)
                self._written[key] = value
        self._undo.clear()

    def commit_to(self) -> Digest:
        """Take the block's changes into the commitment; the new root."""
        self._commitment.update(
            {key: (self._before[key], value) for key, value in self._written.items()}
        )
        return self._commitment.root

    def batch(self) -> dict[bytes, bytes | None]:
        """The block's changes, for the store."""
        return {
            STATE + key: None if value is None else with_checksum(value)
            for key, value in self._written.items()
        }

    def settle(self) -> None:
        """The block's changes are stored: the next block begins."""
        for key, value in self._written.items():
            self._remember(key, value)
        self._before.clear()
        self._written.clear()
        self._undo.clear()

    def _settled(self, key: bytes) -> bytes | None:
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        raw = self._store.get(STATE + key)
        value = None if raw is None else without_checksum(raw, _what(STATE + key))
        self._remember(key, value)
        return value

    def _remember(self, key: bytes, value: bytes | None) -> None:
        before = self._cache.pop(key, None)
        self._cache_bytes += len(value or b"") - len(before or b"")
        self._cache[key] = value
        while len(self._cache) > CACHE_ENTRIES_MAX or self._cache_bytes > CACHE_BYTES_MAX:
            self._cache_bytes -= len(self._cache.popitem(last=False)[1] or b"")


class ApplicationState:
    """One application's part (`apps.interface.State`)."""

    def __init__(self, state: State, prefix: bytes) -> None:
        self._state = state
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        return self._state.get(self._prefix + key)

    def put(self, key: bytes, value: bytes | None) -> None:
        self._state.put(self._prefix + key, value)

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._state.scan(self._prefix + prefix, start=start):
            yield key[len(self._prefix) :], value


def _what(key: bytes) -> str:
    return f"the state at {key[len(STATE) :][:40]!r}"
