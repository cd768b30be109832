"""A disk that lies as real ones do: what was not synced is gone after a power loss."""

from collections.abc import Iterator, Mapping, Sequence

from storage.interface import StorageError, Store


class SimulatedDisk:
    """What one node's store left. Survives the node; `open` gives the store of one run."""

    def __init__(self) -> None:
        self._now: dict[bytes, bytes] = {}
        self._lost_in_a_power_loss: dict[bytes, bytes | None] = {}
        """What the keys that were written without a sync would fall back to."""
        self.full = False
        """While it is, every write fails."""

    def open(self) -> Store:
        """Raises nothing: this disk has no locks."""
        return _SimulatedStore(self)

    def lose_power(self) -> None:
        """Forget what was not synced."""
        for key, value in self._lost_in_a_power_loss.items():
            self._put(key, value)
        self._lost_in_a_power_loss.clear()

    def wipe(self) -> None:
        """An emptied data directory."""
        self._now.clear()
        self._lost_in_a_power_loss.clear()

    def read(self) -> Mapping[bytes, bytes]:
        return self._now

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        """Raises `StorageError` while the disk is full."""
        if self.full:
            raise StorageError("the simulated disk is full")
        for key, value in batch.items():
            if not sync:
                self._lost_in_a_power_loss.setdefault(key, self._now.get(key))
            self._put(key, value)
        if sync:
            self._lost_in_a_power_loss.clear()

    def _put(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._now.pop(key, None)
        else:
            self._now[key] = value


class _SimulatedStore:
    """`storage.interface.Store` on a `SimulatedDisk`."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._failed = False

    def get(self, key: bytes) -> bytes | None:
        return self._disk.read().get(key)

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        content = self._disk.read()
        return [content.get(key) for key in keys]

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        if self._failed:
            raise StorageError("an earlier write failed; restart the node")
        try:
            self._disk.write(batch, sync=sync)
        except StorageError:
            self._failed = True
            raise

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        content = self._disk.read()
        for key in sorted(key for key in content if key.startswith(prefix)):
            if key >= prefix + start:
                yield key, content[key]

    def close(self) -> None:
        """What was written stays with the disk."""
