"""A sorted map in memory: for tests and simulations. Nothing survives the process."""

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.interface import EngineClaims, Store

CLAIMS = EngineClaims(source="this project", durable=False)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


class _Memory:
    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._mutex = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        with self._mutex:
            return [self._values.get(key) for key in keys]

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:  # noqa: ARG002 - there is no disk
        with self._mutex:
            for key, value in batch.items():
                if value is None:
                    if self._values.pop(key, None) is not None:
                        del self._keys[bisect_left(self._keys, key)]
                    continue
                if key not in self._values:
                    insort(self._keys, key)
                self._values[key] = bytes(value)

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._mutex:
            first = bisect_left(self._keys, prefix + start)
            keys = []
            for key in self._keys[first:]:
                if not key.startswith(prefix):
                    break
                keys.append(key)
            pairs = [(key, self._values[key]) for key in keys]
        yield from pairs

    def close(self) -> None:
        """Nothing to do."""


def create(options: Options, path: Path) -> Store:  # noqa: ARG001 - there is no disk
    """An empty store."""
    return _Memory()
